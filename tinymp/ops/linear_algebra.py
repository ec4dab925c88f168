"""Matrix products. Their rules see packed operands, as tensor cores do."""

from __future__ import annotations

from math import prod
from typing import Any

from tinymp.autograd import Op, Tensor, apply
from tinymp.ops.arithmetic import mul
from tinymp.ops.dims import check_tensors
from tinymp.ops.shape import reshape, squeeze, unsqueeze

MATMUL = Op(
    "matmul",
    lambda xp, x, y: xp.matmul(x, y),
    x=lambda xp, g, y: xp.matmul(g, y.mT),
    y=lambda xp, g, x: xp.matmul(x.mT, g),
    forward_on="matrices",
    takes="floats",
    autocast="lower",
    accumulates="both",
)


def _rows(x: Any) -> Any:
    """A stack of vectors as the rows of one matrix."""
    shape = x.shape
    return x if len(shape) == 2 else x.reshape(prod(shape[:-1]), shape[-1])


def _linear(xp: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    out = xp.matmul(_rows(x), weight.mT)
    if bias is not None:
        out += xp.values(bias)
    shape = x.shape
    return out if len(shape) == 2 else out.reshape(*shape[:-1], weight.shape[0])


def _linear_x(xp: Any, g: Any, weight: Any, x_shape: tuple[int, ...]) -> Any:
    gradient = xp.matmul(_rows(g), weight)
    return gradient if len(x_shape) == 2 else gradient.reshape(x_shape)


def _linear_weight(xp: Any, g: Any, x: Any) -> Any:
    return xp.matmul(_rows(g).mT, _rows(x))


# One operation, so that product and bias are rounded together, once.
LINEAR = Op(
    "linear",
    _linear,
    x=_linear_x,
    weight=_linear_weight,
    bias=lambda xp, g: xp.sum(xp.values(_rows(g)), 0),
    forward_on="matrices",
    takes="floats",
    autocast="lower",
    accumulates="both",
)


# One row times one column. PyTorch's autocast tells it from the other products.
DOT = Op(
    "dot",
    lambda xp, x, y: xp.matmul(x.reshape(1, -1), y.reshape(-1, 1)).reshape(()),
    x=lambda xp, g, y: xp.values(g) * xp.values(y),
    y=lambda xp, g, x: xp.values(g) * xp.values(x),
    forward_on="matrices",
    takes="floats",
    autocast="widest",
    accumulates="forward",
)


def matmul(x: Tensor, y: Tensor) -> Tensor:
    """Matrix product by NumPy's rules: stacks of matrices broadcast, vectors are rows or columns.

    float16 and bfloat16 products are accumulated in float32 and rounded once.

    Raises:
        TypeError: an operand is not a tensor, or an integer or boolean one.
        ValueError: a tensor without dimensions, or inner lengths that differ.
    """
    for operand in (x, y):
        if not isinstance(operand, Tensor):
            raise TypeError(
                f"matmul was given a {type(operand).__name__}; it takes two tensors; use * for a "
                "number"
            )
    if x.ndim == 0 or y.ndim == 0:
        raise ValueError(
            f"matmul was given tensors of shapes {x.shape} and {y.shape}; both need at least one "
            "dimension; use * to multiply by a scalar"
        )
    if x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        raise ValueError(
            f"matmul was given shapes {x.shape} and {y.shape}; the last length of the first must "
            f"equal the {'second to last' if y.ndim > 1 else 'only'} length of the second"
        )
    if y.ndim == 1:
        return squeeze(matmul(x, reshape(y, -1, 1)), -1)
    if x.ndim == 1:
        return squeeze(matmul(unsqueeze(x, 0), y), -2)
    return apply(MATMUL, x, y)


def mm(x: Tensor, y: Tensor) -> Tensor:
    """Product of two matrices: (n, k) and (k, m) give (n, m). See `matmul`.

    Raises:
        ValueError: operands of other than two dimensions, or inner lengths that differ.
    """
    _check_dimensions("mm", (x, 2), (y, 2))
    return matmul(x, y)


def bmm(x: Tensor, y: Tensor) -> Tensor:
    """Products of two stacks of matrices: (b, n, k) and (b, k, m) give (b, n, m). See `matmul`.

    Raises:
        ValueError: operands of other than three dimensions, or lengths that differ.
    """
    _check_dimensions("bmm", (x, 3), (y, 3))
    if x.shape[0] != y.shape[0]:
        raise ValueError(
            f"bmm was given stacks of shapes {x.shape} and {y.shape}; they must be of one length; "
            "matmul repeats a shorter one"
        )
    return matmul(x, y)


def mv(x: Tensor, y: Tensor) -> Tensor:
    """Product of a matrix and a vector: (n, k) and (k,) give (n,). See `matmul`.

    Raises:
        ValueError: operands of other dimensions, or lengths that differ.
    """
    _check_dimensions("mv", (x, 2), (y, 1))
    return matmul(x, y)


def dot(x: Tensor, y: Tensor) -> Tensor:
    """Inner product of two vectors: (n,) and (n,) give a scalar.

    Raises:
        ValueError: operands of other dimensions, or lengths that differ.
    """
    _check_dimensions("dot", (x, 1), (y, 1))
    if x.shape != y.shape:
        raise ValueError(f"dot was given shapes {x.shape} and {y.shape}; they must be equal")
    return apply(DOT, x, y)


def outer(x: Tensor, y: Tensor) -> Tensor:
    """Outer product of two vectors: (n,) and (m,) give (n, m).

    Raises:
        ValueError: operands of other than one dimension.
    """
    _check_dimensions("outer", (x, 1), (y, 1))
    return mul(unsqueeze(x, 1), y)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x·weightᵀ + bias: (..., in) with a weight of (out, in) and a bias of (out,) gives (..., out).

    Accumulated in float32 and rounded once.

    Raises:
        TypeError: an integer or boolean tensor.
        ValueError: lengths that do not fit.
    """
    given, of_weight = x._array.shape, weight._array.shape
    if len(of_weight) != 2 or not given or given[-1] != of_weight[1]:
        raise ValueError(
            f"linear was given an input of shape {given} and a weight of shape {of_weight}; "
            "the input's last length must equal the weight's second"
        )
    if bias is not None and bias._array.shape != of_weight[:1]:
        raise ValueError(
            f"linear was given a bias of shape {bias.shape} for a weight of shape {of_weight}; "
            f"it must be {of_weight[:1]}"
        )
    return apply(LINEAR, x, weight, bias)


def check_floats(name: str, *operands: Tensor) -> None:
    """Refuse operands of a product that are not floats.

    Raises:
        TypeError: there is one.
    """
    check_tensors(name, *operands)
    for operand in operands:
        if not operand.dtype.is_float:
            raise TypeError(
                f"{name} was given {operand.dtype.name}; it takes floating-point tensors; "
                "convert it first, for example with .to(tinymp.float32)"
            )


def _check_dimensions(name: str, *expected: tuple[Tensor, int]) -> None:
    check_tensors(name, *(x for x, _ in expected))
    if any(x.ndim != ndim for x, ndim in expected):
        given = " and ".join(str(x.shape) for x, _ in expected)
        wanted = " and ".join(str(ndim) for _, ndim in expected)
        raise ValueError(f"{name} was given shapes {given}; it takes {wanted} dimensions")
