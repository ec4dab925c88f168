"""Choosing elements: by slices, by integer arrays and by masks."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from tinymp.autograd import Op, Tensor, apply
from tinymp.ops.dims import one_dim

Array = Any
Shape = tuple[int, ...]
Basic = int | slice | type(None) | type(...)


def _slice_x(xp: Any, g: Array, x_shape: Shape, index: Any) -> Array:
    gradient = xp.zeros(x_shape, g.dtype)  # the word 0 is the value 0 in every format
    gradient[index] = g
    return gradient


# Slices take no element twice, so both directions only move words.
SLICE = Op("slice", lambda xp, x, *, index: x[index], x=_slice_x, forward_on="words")


def _gather_x(xp: Any, g: Array, x_shape: Shape, index: Any) -> Array:
    positions = xp.arange(prod(x_shape)).reshape(x_shape)[index]
    return scatter_sum(xp, g, positions, x_shape)


# An integer array may take an element many times: its gradient is a sum.
GATHER = Op(
    "gather",
    lambda xp, x, *, index: x[index],
    x=_gather_x,
    forward_on="words",
    backward_on="values",
)


def scatter_sum(xp: Any, values: Array, positions: Array, shape: Shape) -> Array:
    """Zeros of `shape`, and each of `values` added at its position in the flattened result.

    The order in which values that share a position are added depends on the positions alone, so the
    same input gives the same bits on every run. (Atomic additions on a GPU would not.)
    """
    total = xp.zeros(prod(shape), values.dtype)
    if values.size:
        positions = positions.reshape(-1)
        order = xp.argsort(positions, kind="stable")
        positions = positions[order]
        first = xp.flatnonzero(xp.concatenate([xp.ones(1, bool), positions[1:] != positions[:-1]]))
        total[positions[first]] = xp.add.reduceat(values.reshape(-1)[order], first)
    return total.reshape(shape)


def getitem(x: Tensor, index: Any) -> Tensor:
    """`x[index]` as in NumPy: integers, slices, `...`, None, integer arrays, boolean masks.

    Integer arrays and masks may be tensors, NumPy arrays or lists. A basic index shares storage.

    Raises:
        IndexError: an index out of range or of a type that does not index; too many indices.
    """
    parts = index if isinstance(index, tuple) else (index,)
    arrays = tuple(as_index(part, x) for part in parts)
    if not any(part is ... for part in arrays):
        arrays = (*arrays, ...)  # else NumPy makes a scalar, not a view, of a single element
    try:
        if all(isinstance(part, Basic) for part in arrays):
            return apply(SLICE, x, index=arrays)
        # Backward needs the index again: a copy, which nobody changes in the meantime.
        kept = tuple(part if isinstance(part, Basic) else part.copy() for part in arrays)
        return apply(GATHER, x, index=kept)
    except IndexError as error:
        raise IndexError(f"{error}; the tensor has shape {x.shape}") from None


def take_along_dim(x: Tensor, indices: Tensor, dim: int) -> Tensor:
    """Along `dim`, the elements of `x` at `indices` (int64, of the shape of `x` but for `dim`).

    Raises:
        TypeError: indices that are not int64.
        ValueError: indices of another shape.
        IndexError: an index out of range.
    """
    dim = one_dim(dim, x.ndim, "take_along_dim")
    if indices.dtype.kind != "int":
        raise TypeError(
            f"take_along_dim was given {indices.dtype.name} indices; they are positions, int64"
        )
    expected = (*x.shape[:dim], *indices.shape[dim : dim + 1], *x.shape[dim + 1 :])
    if indices.shape != expected:
        raise ValueError(
            f"take_along_dim was given indices of shape {indices.shape} for a tensor of shape "
            f"{x.shape}; apart from dimension {dim} the shapes must be equal"
        )
    grid = list(np.ogrid[tuple(slice(n) for n in indices.shape)])
    xp = x._device.xp
    index = [xp.asarray(axis) for axis in grid]
    index[dim] = indices._array.copy()  # backward needs it again
    return apply(GATHER, x, index=tuple(index))


def as_index(part: Any, x: Tensor) -> Any:
    """One part of an index in the form in which the array module takes it."""
    if isinstance(part, Tensor):
        if part.dtype.kind == "float":
            raise IndexError(
                f"a {part.dtype.name} tensor was given as an index; indices are integers or "
                "booleans; convert it first, e.g. with .to(tinymp.int64)"
            )
        return part._array
    if isinstance(part, bool | list | np.ndarray):
        array = np.asarray(part)
        if array.dtype.kind not in "biu":
            raise IndexError(
                f"an index of {array.dtype} was given; indices are integers or booleans"
            )
        return x._device.asarray(array)
    if isinstance(part, float) or not isinstance(
        part, int | slice | type(None) | type(...) | np.integer
    ):
        raise IndexError(
            f"{part!r} was given as an index; use integers, slices, ..., None, integer arrays or "
            "masks"
        )
    return int(part) if isinstance(part, np.integer) else part
