"""Sums, products, means, variances and norms along dimensions, and truth of all or any."""

from __future__ import annotations

import math
from typing import Any

from tinymp.autograd import Op, Tensor, apply
from tinymp.formats import int64
from tinymp.ops.dims import Dims, many_dims
from tinymp.ops.elementwise import cast

Shape = tuple[int, ...]


def kept(g: Any, shape: Shape, dim: Shape) -> Any:
    """`g` with the reduced dimensions back, of length 1: it broadcasts against the input."""
    return g.reshape([1 if i in dim else n for i, n in enumerate(shape)])


def dropped(x: Any, dim: Shape) -> Any:
    """`x` without the reduced dimensions, which are of length 1."""
    return x.reshape([n for i, n in enumerate(x.shape) if i not in dim])


def count(shape: Shape, dim: Shape) -> int:
    """How many elements each result of a reduction is made of."""
    return math.prod(shape[i] for i in dim)


SUM = Op(
    "sum",
    lambda xp, x, *, dim, keepdim: xp.sum(x, dim, keepdim),
    x=lambda xp, g, x_shape, dim: xp.broadcast_to(kept(g, x_shape, dim), x_shape),
    autocast="float32",
    accumulates="forward",
)
MEAN = Op(
    "mean",
    lambda xp, x, *, dim, keepdim: xp.sum(x, dim, keepdim) / count(x.shape, dim),
    x=lambda xp, g, x_shape, dim: xp.broadcast_to(
        kept(g, x_shape, dim) / count(x_shape, dim), x_shape
    ),
    result="float",
    accumulates="forward",
)


def _degrees(shape: Shape, dim: Shape, correction: float) -> float:
    """Degrees of freedom that are left of a variance, at least none."""
    left = count(shape, dim) - correction
    return left if left > 0 else 0


def _var(xp: Any, x: Any, *, dim: Shape, keepdim: bool, correction: float) -> Any:
    n = count(x.shape, dim)
    deviation = x - xp.sum(x, dim, True) / n
    return xp.sum(deviation * deviation, dim, keepdim) / _degrees(x.shape, dim, correction)


def _var_x(xp: Any, g: Any, x: Any, dim: Shape, correction: float) -> Any:
    n = count(x.shape, dim)
    deviation = x - xp.sum(x, dim, True) / n
    return kept(g, x.shape, dim) * deviation * 2 / _degrees(x.shape, dim, correction)


VAR = Op("var", _var, x=_var_x, result="float", accumulates="both")


def _std(xp: Any, x: Any, *, dim: Shape, keepdim: bool, correction: float) -> Any:
    std = xp.sqrt(_var(xp, x, dim=dim, keepdim=True, correction=correction))
    return (std if keepdim else dropped(std, dim)), std


def _std_x(xp: Any, g: Any, x: Any, std: Any, dim: Shape, correction: float) -> Any:
    deviation = x - xp.sum(x, dim, True) / count(x.shape, dim)
    slope = deviation / std / _degrees(x.shape, dim, correction)
    return kept(g, x.shape, dim) * xp.where(std == 0, 0, slope)


STD = Op("std", _std, x=_std_x, residuals=("std",), result="float", accumulates="both")


def _prod_x(xp: Any, g: Any, x: Any, dim: Shape) -> Any:
    """The product of the *other* elements: of those in front of each, times those behind it.

    No division by x, so neither a zero nor an infinity needs care.
    """
    order = [*(i for i in range(x.ndim) if i not in dim), *dim]
    moved = x.transpose(order)
    rows = moved.reshape(-1, count(x.shape, dim)) if x.size else moved.reshape(0, 1)
    one = xp.ones((len(rows), 1), x.dtype)
    front = xp.cumprod(xp.concatenate([one, rows[:, :-1]], 1), axis=1)
    behind = xp.cumprod(xp.concatenate([one, rows[:, :0:-1]], 1), axis=1)[:, ::-1]
    others = (front * behind).reshape(moved.shape)
    return kept(g, x.shape, dim) * others.transpose([order.index(i) for i in range(x.ndim)])


PROD = Op(
    "prod",
    lambda xp, x, *, dim, keepdim: xp.prod(x, axis=dim, keepdims=keepdim),
    x=_prod_x,
    autocast="float32",
)


def _norm(xp: Any, x: Any, *, p: float, dim: Shape, keepdim: bool) -> Any:
    if p == math.inf:
        total = xp.max(xp.abs(x), axis=dim, keepdims=True)
    elif p == -math.inf:
        total = xp.min(xp.abs(x), axis=dim, keepdims=True)
    elif p == 0:
        total = xp.sum((x != 0).astype(x.dtype), dim, True)
    elif p == 2:
        total = xp.sqrt(xp.sum(x * x, dim, True))
    else:
        total = xp.sum(xp.abs(x) ** p, dim, True) ** (1 / p)
    return (total if keepdim else dropped(total, dim)), total


def _norm_x(xp: Any, g: Any, x: Any, total: Any, p: float, dim: Shape) -> Any:
    g = kept(g, x.shape, dim)
    if math.isinf(p):  # elements that are equally extreme share the gradient
        chosen = (xp.abs(x) == total).astype(x.dtype)
        return g * xp.sign(x) * chosen / xp.sum(chosen, dim, True)
    if p == 0:
        return xp.zeros_like(x)
    slope = xp.sign(x) * (xp.abs(x) / total) ** (p - 1)
    return g * xp.where(x == 0, 0, slope)  # at 0 it has a kink, or is 0


NORM = Op(
    "norm",
    _norm,
    x=_norm_x,
    residuals=("total",),
    result="float",
    autocast="float32",
    accumulates="both",
)


def _logsumexp(xp: Any, x: Any, *, dim: Shape, keepdim: bool) -> Any:
    if count(x.shape, dim) == 0:  # the logarithm of an empty sum
        total = xp.log(xp.sum(x, dim, True))
    else:
        highest = xp.max(x, axis=dim, keepdims=True)
        highest = xp.where(xp.isfinite(highest), highest, 0)  # inf - inf would be NaN
        total = xp.log(xp.sum(xp.exp(x - highest), dim, True)) + highest
    return (total if keepdim else dropped(total, dim)), total


# The gradient is softmax. A rounded total would put its error, |total|·u, into the exponent.
LOGSUMEXP = Op(
    "logsumexp",
    _logsumexp,
    x=lambda xp, g, x, total, dim: kept(g, x.shape, dim) * xp.exp(x - total),
    residuals=("total",),
    result="float",
    autocast="float32",
    accumulates="forward",
)


ALL = Op("all", lambda xp, x, *, dim, keepdim: xp.all(x, axis=dim, keepdims=keepdim), result="bool")
ANY = Op("any", lambda xp, x, *, dim, keepdim: xp.any(x, axis=dim, keepdims=keepdim), result="bool")
COUNT_NONZERO = Op(
    "count_nonzero", lambda xp, x, *, dim: xp.count_nonzero(x, axis=dim), result="int64"
)


def sum(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Sum along `dim`, by default over all elements; accumulated in float32, rounded once."""
    dims = many_dims(dim, x, "sum")
    if x.dtype.kind == "bool":
        x = cast(x, int64)
    return apply(SUM, x, dim=dims, keepdim=keepdim)


def mean(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Arithmetic mean along `dim`, by default over all elements; NaN where there are none."""
    return apply(MEAN, x, dim=many_dims(dim, x, "mean"), keepdim=keepdim)


def var(x: Tensor, dim: Dims = None, correction: float = 1, keepdim: bool = False) -> Tensor:
    """Variance along `dim`: the sum of squared deviations over n - `correction`.

    `correction` 1 is unbiased for a sample, 0 the variance of the elements themselves. Infinite or
    NaN where n does not exceed it.
    """
    dims = many_dims(dim, x, "var")
    return apply(VAR, x, dim=dims, keepdim=keepdim, correction=correction)


def std(x: Tensor, dim: Dims = None, correction: float = 1, keepdim: bool = False) -> Tensor:
    """Standard deviation along `dim`: the root of `var`. Its gradient is 0 where it is 0."""
    dims = many_dims(dim, x, "std")
    return apply(STD, x, dim=dims, keepdim=keepdim, correction=correction)


def prod(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Product along `dim`, by default of all elements; 1 where there are none."""
    dims = many_dims(dim, x, "prod")
    if x.dtype.kind == "bool":
        x = cast(x, int64)
    return apply(PROD, x, dim=dims, keepdim=keepdim)


def norm(x: Tensor, p: float | str = "fro", dim: Dims = None, keepdim: bool = False) -> Tensor:
    """(Σ |x|^p)^(1/p) along `dim`, all of them by default; the root of the sum of squares for 2.

    `p`: a number, "fro" (2), inf or -inf (the largest or smallest |x|), 0 (how many are not 0).
    The gradient at x = 0 is 0.

    Raises:
        ValueError: another `p`; no elements to choose the largest or smallest from.
    """
    order = 2.0 if p == "fro" else p
    if isinstance(order, str):
        raise ValueError(f"norm was given p={p!r}; it must be a number or 'fro'")
    dims = many_dims(dim, x, "norm")
    if math.isinf(order):
        not_empty(x, dims, "norm")
    return apply(NORM, x, p=order, dim=dims, keepdim=keepdim)


def logsumexp(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """log Σ e^x along `dim`, shifted by the largest x so that nothing overflows; -inf for no x."""
    return apply(LOGSUMEXP, x, dim=many_dims(dim, x, "logsumexp"), keepdim=keepdim)


def all(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether every element along `dim` is not 0, a bool tensor; true where there are none."""
    return apply(ALL, x, dim=many_dims(dim, x, "all"), keepdim=keepdim)


def any(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether an element along `dim` is not 0, a bool tensor; false where there are none."""
    return apply(ANY, x, dim=many_dims(dim, x, "any"), keepdim=keepdim)


def count_nonzero(x: Tensor, dim: Dims = None) -> Tensor:
    """How many elements along `dim` are not 0, int64; NaN is not 0."""
    return apply(COUNT_NONZERO, x, dim=many_dims(dim, x, "count_nonzero"))


def not_empty(x: Tensor, dims: Shape, name: str) -> Shape:
    """`dims`, along which there is something to choose from.

    Raises:
        ValueError: there is nothing.
    """
    if count(x.shape, dims) == 0:
        raise ValueError(
            f"{name} was given a tensor of shape {x.shape}, which has no elements along dim "
            f"{dims}; it needs at least one"
        )
    return dims
