"""Matrix products. Their rules see packed operands, as tensor cores do."""

from __future__ import annotations

from math import prod
from typing import Any

from tinymp.autograd import Op, Tensor, apply
from tinymp.ops.shape import reshape, squeeze, unsqueeze

MATMUL = Op(
    "matmul",
    lambda xp, x, y: xp.matmul(x, y),
    x=lambda xp, g, y: xp.matmul(g, y.mT),
    y=lambda xp, g, x: xp.matmul(x.mT, g),
    forward_on="packed",
    autocast="lower",
)


def _rows(x: Any) -> Any:
    """A stack of vectors as the rows of one matrix."""
    return x.reshape(prod(x.shape[:-1]), x.shape[-1])


def _linear(xp: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    out = xp.matmul(_rows(x), weight.mT)
    if bias is not None:
        out += bias.values()
    return out.reshape(*x.shape[:-1], weight.shape[0])


def _linear_x(xp: Any, g: Any, weight: Any, x_shape: tuple[int, ...]) -> Any:
    return xp.matmul(_rows(g), weight).reshape(x_shape)


def _linear_weight(xp: Any, g: Any, x: Any) -> Any:
    return xp.matmul(_rows(g).mT, _rows(x))


# One operation, so that product and bias are rounded together, once.
LINEAR = Op(
    "linear",
    _linear,
    x=_linear_x,
    weight=_linear_weight,
    bias=lambda xp, g: g.values(),
    forward_on="packed",
    autocast="lower",
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
    _check_floats("matmul", x, y)
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


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x·weightᵀ + bias: (..., in) with a weight of (out, in) and a bias of (out,) gives (..., out).

    Accumulated in float32 and rounded once.

    Raises:
        TypeError: an integer or boolean tensor.
        ValueError: lengths that do not fit.
    """
    _check_floats("linear", x, weight, *([] if bias is None else [bias]))
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear was given an input of shape {x.shape} and a weight of shape {weight.shape}; "
            "the input's last length must equal the weight's second"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"linear was given a bias of shape {bias.shape} for a weight of shape {weight.shape}; "
            f"it must be {weight.shape[:1]}"
        )
    return apply(LINEAR, x, weight, bias)


def _check_floats(name: str, *operands: Tensor) -> None:
    for operand in operands:
        if not operand.dtype.is_float:
            raise TypeError(
                f"{name} was given {operand.dtype.name}; it multiplies floating-point tensors; "
                "convert it first, for example with .to(tinymp.float32)"
            )
