"""Order: extremes along dimensions, where they are, the median, and sorting."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinymp.autograd import Op, Tensor, apply
from tinymp.ops.dims import Dims, check_tensors, many_dims, one_dim
from tinymp.ops.indexing import take_along_dim
from tinymp.ops.reductions import Shape, kept, not_empty
from tinymp.ops.shape import reshape, unsqueeze

#: The largest int32, and the bits of a place.
_LAST, _PLACE = 0x7FFFFFFF, 0xFFFFFFFF


def _extreme_x(xp: Any, g: Any, x: Any, out: Any, dim: Shape) -> Any:
    """Elements that are equally extreme share the gradient."""
    chosen = (x == kept(out, x.shape, dim)).astype(x.dtype)
    return kept(g, x.shape, dim) * chosen / xp.sum(chosen, dim, True)


AMAX = Op(
    "amax",
    lambda xp, x, *, dim, keepdim: xp.max(x, axis=dim, keepdims=keepdim),
    x=_extreme_x,
    accumulates="backward",
)
AMIN = Op(
    "amin",
    lambda xp, x, *, dim, keepdim: xp.min(x, axis=dim, keepdims=keepdim),
    x=_extreme_x,
    accumulates="backward",
)
ARGMAX = Op("argmax", lambda xp, x, *, dim: xp.argmax(x, axis=dim), result="int64")
ARGMIN = Op("argmin", lambda xp, x, *, dim: xp.argmin(x, axis=dim), result="int64")


def _places_by_key(xp: Any, x: Any, dim: int, descending: bool) -> Any:
    """Along `dim`, 64-bit integers in the order of the float32 values of `x`, then of the places.

    The upper half is the word as an integer, turned so that larger values have larger integers; the
    lower half is the place. All are different, so any way to sort them is stable, the quickest too.
    """
    word = (x + 0).view(xp.int32)  # -0 becomes 0, its equal
    key = xp.where(x != x, xp.int32(_LAST), word ^ ((word >> 31) & _LAST)).astype(xp.int64)
    if descending:
        key = ~key
    lengths = [1] * x.ndim
    lengths[dim] = x.shape[dim]
    return (key << 32) | xp.arange(x.shape[dim]).reshape(lengths)


def _argsort(xp: Any, x: Any, *, dim: int, descending: bool) -> Any:
    """Stable in both directions; NaN counts as the largest, as in PyTorch."""
    if x.dtype == np.float32:
        return xp.sort(_places_by_key(xp, x, dim, descending), axis=dim) & _PLACE
    if not descending:
        return xp.argsort(x, axis=dim, kind="stable")
    # Backwards twice: once for the order, once for equal elements, which keep theirs.
    order = xp.argsort(xp.flip(x, dim), axis=dim, kind="stable")
    return x.shape[dim] - 1 - xp.flip(order, dim)


def _argtopk(xp: Any, x: Any, *, k: int, dim: int, descending: bool) -> Any:
    """The first k of `_argsort`."""
    first = (slice(None),) * dim + (slice(k),)
    if x.dtype != np.float32 or k == 0:
        return _argsort(xp, x, dim=dim, descending=descending)[first]
    keys = xp.partition(_places_by_key(xp, x, dim, descending), k - 1, axis=dim)[first]
    return xp.sort(keys, axis=dim) & _PLACE


def _argmedian(xp: Any, x: Any, *, dim: int) -> Any:
    order = _argsort(xp, x, dim=dim, descending=False)
    middle = xp.take(order, (x.shape[dim] - 1) // 2, axis=dim)
    last = xp.take(order, -1, axis=dim)  # where a NaN is, if there is one
    largest = xp.max(x, axis=dim)
    return xp.where(largest == largest, middle, last)


ARGSORT = Op("argsort", _argsort, result="int64")
ARGTOPK = Op("argtopk", _argtopk, result="int64")
ARGMEDIAN = Op("argmedian", _argmedian, result="int64")
MEDIAN = Op(
    "median",
    lambda xp, x, *, dim: x.reshape(-1)[_argmedian(xp, x.reshape(-1), dim=0)],
    x=_extreme_x,
    accumulates="backward",
)


class Extreme(NamedTuple):
    """The largest or smallest values along a dimension, and where they are (int64)."""

    values: Tensor
    indices: Tensor


class Sorted(NamedTuple):
    """Values in order along a dimension, and where they were (int64)."""

    values: Tensor
    indices: Tensor


def amax(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Largest value along `dim`; equal ones share the gradient.

    Raises:
        ValueError: there are no elements to choose from.
    """
    dims = not_empty(x, many_dims(dim, x, "amax"), "amax")
    return apply(AMAX, x, dim=dims, keepdim=keepdim)


def amin(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Smallest value along `dim`; equal ones share the gradient.

    Raises:
        ValueError: there are no elements to choose from.
    """
    dims = not_empty(x, many_dims(dim, x, "amin"), "amin")
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
    dim = one_dim(dim, x, "max or min")
    indices = position(x, dim, True)
    values = take_along_dim(x, indices, dim)
    if not keepdim:
        shape = values.shape[:dim] + values.shape[dim + 1 :]
        return Extreme(reshape(values, shape), reshape(indices, shape))
    return Extreme(values, indices)


def _position(op: Op, x: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    check_tensors(op.name, x)
    if dim is None:
        not_empty(x, tuple(range(x.ndim)), op.name)
        found = apply(op, reshape(x, (-1,)), dim=0)
        return reshape(found, (1,) * x.ndim) if keepdim else found
    (dim,) = not_empty(x, (one_dim(dim, x, op.name),), op.name)
    found = apply(op, x, dim=dim)
    return unsqueeze(found, dim) if keepdim else found


def median(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median of all elements; with `dim`, the pair (values, indices) along it.

    Of an even number the lower of the two in the middle; NaN if any element is. With `dim` the
    gradient goes to the chosen element, without it equal elements share it.

    Raises:
        ValueError: there are no elements.
    """
    if dim is not None:
        return _extreme(_middle, x, dim, keepdim)
    check_tensors("median", x)
    return apply(MEDIAN, x, dim=not_empty(x, tuple(range(x.ndim)), "median"))


def _middle(x: Tensor, dim: int, keepdim: bool) -> Tensor:
    return _position(ARGMEDIAN, x, dim, keepdim)


def argsort(x: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Positions (int64) along `dim` of the smallest element, the next one, ...

    NaN counts as the largest. Equal elements keep their order, whether or not `stable` asks for it.
    """
    dim = one_dim(dim, x, "argsort")
    return apply(ARGSORT, x, dim=dim, descending=descending)


def sort(x: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Sorted:
    """The pair (values, indices): elements in order along `dim`; see `argsort`."""
    indices = argsort(x, one_dim(dim, x, "sort"), descending)
    return Sorted(take_along_dim(x, indices, dim), indices)


def topk(x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Sorted:
    """The `k` largest elements along `dim` (or smallest), in order, whether or not `sorted`.

    Raises:
        ValueError: there are fewer than `k` elements, or `k` is negative.
    """
    dim = one_dim(dim, x, "topk")
    if not 0 <= k <= x.shape[dim]:
        raise ValueError(
            f"topk was given k={k} for a tensor of shape {x.shape}; along dimension {dim} it must "
            f"be from 0 to {x.shape[dim]}"
        )
    indices = apply(ARGTOPK, x, k=k, dim=dim, descending=largest)
    return Sorted(take_along_dim(x, indices, dim), indices)
