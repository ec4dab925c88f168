"""Sums, means and extremes along dimensions."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from tinymp.autograd import Op, Tensor, apply
from tinymp.formats import int64
from tinymp.ops.dims import Dims, many_dims, one_dim
from tinymp.ops.elementwise import cast
from tinymp.ops.indexing import take_along_dim
from tinymp.ops.shape import reshape, unsqueeze

Shape = tuple[int, ...]


def kept(g: Any, shape: Shape, dim: Shape) -> Any:
    """`g` with the reduced dimensions back, of length 1: it broadcasts against the input."""
    return g.reshape([1 if i in dim else n for i, n in enumerate(shape)])


def count(shape: Shape, dim: Shape) -> int:
    """How many elements each result of a reduction is made of."""
    return prod(shape[i] for i in dim)


SUM = Op(
    "sum",
    lambda xp, x, *, dim, keepdim: xp.sum(x, dim, keepdim),
    x=lambda xp, g, x_shape, dim: xp.broadcast_to(kept(g, x_shape, dim), x_shape),
    autocast="float32",
)
MEAN = Op(
    "mean",
    lambda xp, x, *, dim, keepdim: xp.sum(x, dim, keepdim) / count(x.shape, dim),
    x=lambda xp, g, x_shape, dim: xp.broadcast_to(
        kept(g, x_shape, dim) / count(x_shape, dim), x_shape
    ),
    result="float",
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


VAR = Op("var", _var, x=_var_x, result="float")


def _logsumexp(xp: Any, x: Any, *, dim: Shape, keepdim: bool) -> Any:
    if count(x.shape, dim) == 0:  # the logarithm of an empty sum
        total = xp.log(xp.sum(x, dim, True))
    else:
        highest = xp.max(x, axis=dim, keepdims=True)
        highest = xp.where(xp.isfinite(highest), highest, 0)  # inf - inf would be NaN
        total = xp.log(xp.sum(xp.exp(x - highest), dim, True)) + highest
    out = total if keepdim else total.reshape([n for i, n in enumerate(x.shape) if i not in dim])
    return out, total


# The gradient is softmax. A rounded total would put its error, |total|·u, into the exponent.
LOGSUMEXP = Op(
    "logsumexp",
    _logsumexp,
    x=lambda xp, g, x, total, dim: kept(g, x.shape, dim) * xp.exp(x - total),
    residuals=("total",),
    result="float",
    autocast="float32",
)


def _extreme_x(xp: Any, g: Any, x: Any, out: Any, dim: Shape) -> Any:
    """Elements that are equally extreme share the gradient."""
    chosen = (x == kept(out, x.shape, dim)).astype(x.dtype)
    return kept(g, x.shape, dim) * chosen / xp.sum(chosen, dim, True)


AMAX = Op(
    "amax", lambda xp, x, *, dim, keepdim: xp.max(x, axis=dim, keepdims=keepdim), x=_extreme_x
)
AMIN = Op(
    "amin", lambda xp, x, *, dim, keepdim: xp.min(x, axis=dim, keepdims=keepdim), x=_extreme_x
)
ARGMAX = Op("argmax", lambda xp, x, *, dim: xp.argmax(x, axis=dim), result="int64")
ARGMIN = Op("argmin", lambda xp, x, *, dim: xp.argmin(x, axis=dim), result="int64")


class Extreme(NamedTuple):
    """The largest or smallest values along a dimension, and where they are (int64)."""

    values: Tensor
    indices: Tensor


def sum(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Sum along `dim`, by default over all elements; accumulated in float32, rounded once."""
    if x.dtype.kind == "bool":
        x = cast(x, int64)
    return apply(SUM, x, dim=many_dims(dim, x, "sum"), keepdim=keepdim)


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


def logsumexp(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """log Σ e^x along `dim`, shifted by the largest x so that nothing overflows; -inf for no x."""
    return apply(LOGSUMEXP, x, dim=many_dims(dim, x, "logsumexp"), keepdim=keepdim)


def amax(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Largest value along `dim`; equal ones share the gradient.

    Raises:
        ValueError: there are no elements to choose from.
    """
    dims = _not_empty(x, many_dims(dim, x, "amax"), "amax")
    return apply(AMAX, x, dim=dims, keepdim=keepdim)


def amin(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Smallest value along `dim`; equal ones share the gradient.

    Raises:
        ValueError: there are no elements to choose from.
    """
    dims = _not_empty(x, many_dims(dim, x, "amin"), "amin")
    return apply(AMIN, x, dim=dims, keepdim=keepdim)


def argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Position (int64) of the first largest value along `dim`, or in the flattened tensor."""
    return _position(ARGMAX, x, dim, keepdim)


def argmin(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Position (int64) of the first smallest value along `dim`, or in the flattened tensor."""
    return _position(ARGMIN, x, dim, keepdim)


def max(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Largest of all elements; with `dim`, the pair (values, indices) along it, as in PyTorch.

    With `dim` the gradient goes to the chosen element, without it equal elements share it.
    """
    return amax(x) if dim is None else _extreme(argmax, x, dim, keepdim)


def min(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Smallest of all elements; with `dim`, the pair (values, indices) along it, as in PyTorch."""
    return amin(x) if dim is None else _extreme(argmin, x, dim, keepdim)


def _extreme(position: Any, x: Tensor, dim: int, keepdim: bool) -> Extreme:
    dim = one_dim(dim, x.ndim, "max or min")
    indices = position(x, dim, True)
    values = take_along_dim(x, indices, dim)
    if not keepdim:
        shape = values.shape[:dim] + values.shape[dim + 1 :]
        return Extreme(reshape(values, shape), reshape(indices, shape))
    return Extreme(values, indices)


def _position(op: Op, x: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    if dim is None:
        _not_empty(x, tuple(range(x.ndim)), op.name)
        found = apply(op, reshape(x, (-1,)), dim=0)
        return reshape(found, (1,) * x.ndim) if keepdim else found
    (dim,) = _not_empty(x, (one_dim(dim, x.ndim, op.name),), op.name)
    found = apply(op, x, dim=dim)
    return unsqueeze(found, dim) if keepdim else found


def _not_empty(x: Tensor, dims: Shape, name: str) -> Shape:
    if count(x.shape, dims) == 0:
        raise ValueError(
            f"{name} was given a tensor of shape {x.shape}, which has no elements along dim "
            f"{dims}; it needs at least one"
        )
    return dims
