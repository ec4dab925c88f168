"""Choosing elements: by slices, by integer arrays and by masks."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from tinymp.autograd import Op, Tensor, apply
from tinymp.autograd.modes import decide, not_for_capture
from tinymp.ops.dims import check_tensors, one_dim

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
    accumulates="backward",
)


def scatter_sum(xp: Any, values: Array, positions: Array, shape: Shape) -> Array:
    """Zeros of `shape`, and each of `values` added at its position in the flattened result."""
    return scatter_rows(xp, values.reshape(-1), positions, prod(shape)).reshape(shape)


def scatter_rows(xp: Any, values: Array, positions: Array, length: int) -> Array:
    """`length` rows of zeros, and each row of `values` added to the one at its position.

    The order in which rows that share a position are added depends on the positions alone, so the
    same input gives the same bits on every run. (Atomic additions on a GPU would not.)
    """
    total = xp.zeros((length, *values.shape[1:]), values.dtype)
    if values.size:
        positions = positions.reshape(-1)
        order = xp.argsort(positions, kind="stable")
        positions = positions[order]
        first = xp.flatnonzero(xp.concatenate([xp.ones(1, bool), positions[1:] != positions[:-1]]))
        total[positions[first]] = xp.segment_sums(values[order], first)
    return total


def _scatter_add(xp: Any, x: Array, index: Array, src: Array, *, dim: int) -> Array:
    used = src[tuple(slice(n) for n in index.shape)]
    positions = xp.arange(x.size).reshape(x.shape)[_along(xp, index, dim)]
    return x + scatter_sum(xp, used, positions, x.shape)


def _scatter_add_src(xp: Any, g: Array, index: Array, src_shape: Shape, dim: int) -> Array:
    gradient = xp.zeros(src_shape, g.dtype)
    gradient[tuple(slice(n) for n in index.shape)] = g[_along(xp, index, dim)]
    return gradient


SCATTER_ADD = Op(
    "scatter_add",
    _scatter_add,
    x=lambda xp, g: g,
    src=_scatter_add_src,
    undecoded=("index",),
    autocast="widest",
    accumulates="forward",
)


def _embedding_weight(xp: Any, g: Array, tokens: Array, weight_shape: Shape) -> Array:
    return scatter_rows(xp, g.reshape(tokens.size, g.shape[-1]), tokens, weight_shape[0])


# Rows, not elements, are gathered and summed: one position for each.
EMBEDDING = Op(
    "embedding",
    lambda xp, tokens, weight: weight[tokens],
    weight=_embedding_weight,
    forward_on="words",
    backward_on="values",
    undecoded=("tokens",),
    accumulates="backward",
)


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
    dim = one_dim(dim, x, "take_along_dim")
    _check_integers("take_along_dim", indices)
    expected = (*x.shape[:dim], *indices.shape[dim : dim + 1], *x.shape[dim + 1 :])
    if indices.shape != expected:
        raise ValueError(
            f"take_along_dim was given indices of shape {indices.shape} for a tensor of shape "
            f"{x.shape}; apart from dimension {dim} the shapes must be equal"
        )
    _check_range("take_along_dim", indices, x.shape[dim])
    # A copy of the indices: backward needs them again.
    return apply(GATHER, x, index=_along(x._device.xp, indices._array.copy(), dim))


def gather(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Element i, j, ... is that of `x` there, but along `dim` the one at `index[i, j, ...]`.

    `index`: int64, of as many dimensions as `x`, nowhere longer but along `dim`.

    Raises:
        TypeError: an index that is not int64.
        ValueError: an index of a shape that does not fit.
        IndexError: an index outside 0 ... n-1.
    """
    dim = one_dim(dim, x, "gather")
    _check_along("gather", index, x, dim)
    return apply(GATHER, x, index=_along(x._device.xp, index._array.copy(), dim))


def scatter_add(x: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """`x`, with each element i, j, ... of `src` added where `gather` would take it from.

    Elements that meet in one place are summed in the compute dtype, in an order that depends on
    `index` alone, and rounded once. `src`: nowhere shorter than `index`; the rest is not used.

    Raises:
        TypeError: an index that is not int64.
        ValueError: an index or a source of a shape that does not fit.
        IndexError: an index outside 0 ... n-1.
    """
    dim = one_dim(dim, x, "scatter_add")
    _check_along("scatter_add", index, x, dim)
    if src.ndim != x.ndim or any(n > m for n, m in zip(index.shape, src.shape, strict=True)):
        raise ValueError(
            f"scatter_add was given a source of shape {src.shape} for an index of shape "
            f"{index.shape}; the source must be at least as long in every dimension"
        )
    return apply(SCATTER_ADD, x, index, src, dim=dim)


def embedding(tokens: Tensor, weight: Tensor) -> Tensor:
    """Row `tokens[...]` of `weight`: int64 tokens (...) and (n, features) give (..., features).

    Backward adds up the gradients of a token that occurs several times before it rounds them.

    Raises:
        TypeError: tokens that are not int64.
        ValueError: a weight that is no table.
        IndexError: a token outside 0 ... n-1.
    """
    if not isinstance(tokens, Tensor) or tokens.dtype.kind != "int":
        given = tokens.dtype.name if isinstance(tokens, Tensor) else type(tokens).__name__
        raise TypeError(
            f"embedding was given {given} tokens; they are row numbers, an int64 tensor"
        )
    check_tensors("embedding", weight)
    if weight.ndim != 2:
        raise ValueError(
            f"embedding was given a weight of shape {weight.shape}; it is a table of shape "
            "(tokens, features)"
        )
    decide(_check_tokens, tokens, weight.shape[0])
    return apply(EMBEDDING, tokens, weight)


def _check_tokens(tokens: Tensor, rows: int) -> None:
    complaint = f"embedding was given the token {{}}; with {rows} rows tokens are 0 to {rows - 1}"
    tokens._device.check_range(tokens._array, 0, rows, IndexError, complaint)


def index_select(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """The parts of `x` along `dim` at the positions `index`, int64 of one dimension.

    Raises:
        TypeError: an index that is not int64.
        ValueError: an index of more than one dimension.
        IndexError: an index outside 0 ... n-1.
    """
    dim = one_dim(dim, x, "index_select")
    _check_integers("index_select", index)
    if index.ndim > 1:
        raise ValueError(
            f"index_select was given an index of shape {index.shape}; it takes one dimension; use "
            "x[index] for more"
        )
    _check_range("index_select", index, x.shape[dim])
    return getitem(x, (slice(None),) * dim + (index.reshape(-1),))


def _along(xp: Any, index: Array, dim: int) -> tuple[Array, ...]:
    """The full index of elements that keep their place but along `dim`."""
    grid = [xp.asarray(axis) for axis in np.ogrid[tuple(slice(n) for n in index.shape)]]
    grid[dim] = index
    return tuple(grid)


def _check_along(name: str, index: Any, x: Tensor, dim: int) -> None:
    _check_integers(name, index)
    fits = index.ndim == x.ndim and all(
        n <= m or d == dim for d, (n, m) in enumerate(zip(index.shape, x.shape, strict=True))
    )
    if not fits:
        raise ValueError(
            f"{name} was given an index of shape {index.shape} for a tensor of shape {x.shape}; it "
            f"must have as many dimensions, and be longer in none but dimension {dim}"
        )
    _check_range(name, index, x.shape[dim])


def _check_integers(name: str, index: Any) -> None:
    if not isinstance(index, Tensor) or index.dtype.kind != "int":
        given = index.dtype.name if isinstance(index, Tensor) else type(index).__name__
        raise TypeError(f"{name} was given {given} indices; they are positions, int64")


def _check_range(name: str, index: Tensor, length: int) -> None:
    complaint = (
        f"{name} was given the index {{}}; with {length} elements indices are 0 to {length - 1}"
    )
    not_for_capture("took elements by an index that is a tensor")
    index._device.check_range(index._array, 0, length, IndexError, complaint)


def as_index(part: Any, x: Tensor) -> Any:
    """One part of an index in the form in which the array module takes it."""
    if isinstance(part, Tensor):
        if part.dtype.kind == "float":
            raise IndexError(
                f"a {part.dtype.name} tensor was given as an index; indices are integers or "
                "booleans; convert it first, e.g. with .to(tinymp.int64)"
            )
        not_for_capture("took elements by an index that is a tensor")
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
