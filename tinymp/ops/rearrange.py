"""Moving elements further: mirrored, rolled, repeated, along and beside the diagonal, in parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.autograd import Op, Tensor, apply
from tinymp.formats import bool_
from tinymp.ops.conversion import clone
from tinymp.ops.dims import Dims, check_tensors, many_dims, one_dim
from tinymp.ops.elementwise import where
from tinymp.ops.indexing import getitem
from tinymp.ops.reductions import sum
from tinymp.ops.shape import (
    Shape,
    expand,
    lengths,
    pad,
    permute,
    reshape,
    split,
    transpose,
    unsqueeze,
)

Array = Any

FLIP = Op(
    "flip",
    lambda xp, x, *, dims: xp.flip(x, dims).copy(),
    x=lambda xp, g, dims: xp.flip(g, dims),
    forward_on="words",
)
ROLL = Op(
    "roll",
    lambda xp, x, *, shifts, dims: xp.roll(x, shifts, dims),
    x=lambda xp, g, shifts, dims: xp.roll(g, tuple(-n for n in shifts), dims),
    forward_on="words",
)
# The word 0 is the value 0 in every format.
TRIL = Op(
    "tril",
    lambda xp, x, *, diagonal: xp.tril(x, diagonal),
    x=lambda xp, g, diagonal: xp.tril(g, diagonal),
    forward_on="words",
)
TRIU = Op(
    "triu",
    lambda xp, x, *, diagonal: xp.triu(x, diagonal),
    x=lambda xp, g, diagonal: xp.triu(g, diagonal),
    forward_on="words",
)


def _diagonal_x(xp: Any, g: Array, x_shape: Shape, offset: int) -> Array:
    gradient = xp.zeros(x_shape, g.dtype)
    along = xp.arange(g.shape[-1])
    gradient[..., along + max(-offset, 0), along + max(offset, 0)] = g
    return gradient


DIAGONAL = Op(
    "diagonal",
    lambda xp, x, *, offset: x.diagonal(offset, -2, -1),
    x=_diagonal_x,
    forward_on="words",
)


def flip(x: Tensor, *dims: int | Shape) -> Tensor:
    """The elements in reverse order along each of `dims`."""
    return apply(FLIP, x, dims=many_dims(lengths(dims), x, "flip"))


def roll(x: Tensor, shifts: int | Shape, dims: Dims = None) -> Tensor:
    """Elements moved by `shifts` places along `dims`, those pushed over the end in at the start.

    Without `dims` they move through the flattened tensor.

    Raises:
        ValueError: not one shift for each dimension.
    """
    check_tensors("roll", x)
    if dims is None:
        return reshape(roll(reshape(x, -1), shifts, 0), x.shape)
    by = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    along = (dims,) if isinstance(dims, int) else tuple(dims)
    if len(by) != len(along):
        raise ValueError(
            f"roll was given shifts={shifts} and dims={dims}; give one shift for each dimension"
        )
    return apply(ROLL, x, shifts=by, dims=tuple(one_dim(d, x, "roll") for d in along))


def repeat(x: Tensor, *sizes: int | Shape) -> Tensor:
    """`x` repeated `sizes[i]` times along dimension i; further sizes make new ones in front.

    Raises:
        ValueError: fewer sizes than dimensions, or a negative one.
    """
    check_tensors("repeat", x)
    times = lengths(sizes)
    if len(times) < x.ndim or any(n < 0 for n in times):
        raise ValueError(
            f"repeat was given sizes {times} for a tensor of shape {x.shape}; it takes numbers ≥ 0,"
            f" at least one for each of its {x.ndim} dimensions"
        )
    shape = (1,) * (len(times) - x.ndim) + x.shape
    between = [n for length in shape for n in (1, length)]
    repeated = [n for pair in zip(times, shape, strict=True) for n in pair]
    return reshape(
        clone(expand(reshape(x, between), repeated)),
        [n * length for n, length in zip(times, shape, strict=True)],
    )


def tile(x: Tensor, dims: int | Shape) -> Tensor:
    """`x` repeated `dims[i]` times along dimension i; missing ones in front count as 1."""
    check_tensors("tile", x)
    times = (dims,) if isinstance(dims, int) else tuple(dims)
    return repeat(x, (1,) * (x.ndim - len(times)) + times)


def tril(x: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle of each matrix, up to and with the given diagonal; 0 above it.

    Raises:
        ValueError: fewer than two dimensions.
    """
    return apply(TRIL, _matrices(x, "tril"), diagonal=diagonal)


def triu(x: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle of each matrix, from the given diagonal on; 0 below it.

    Raises:
        ValueError: fewer than two dimensions.
    """
    return apply(TRIU, _matrices(x, "triu"), diagonal=diagonal)


def diagonal(x: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Elements (i, i + `offset`) of the matrices in `dim1` and `dim2`, as a new last dimension.

    A view that shares storage; NumPy makes it read-only.

    Raises:
        ValueError: `dim1` and `dim2` are the same.
    """
    check_tensors("diagonal", x)
    a, b = (one_dim(d, x, "diagonal") for d in (dim1, dim2))
    if a == b:
        raise ValueError(f"diagonal was given dim1={dim1} and dim2={dim2}; they must be different")
    others = [d for d in range(x.ndim) if d not in (a, b)]
    return apply(DIAGONAL, permute(x, (*others, a, b)), offset=offset)


def diag(x: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix; of a vector, the matrix with that diagonal and zeros elsewhere.

    Raises:
        ValueError: neither one nor two dimensions.
    """
    check_tensors("diag", x)
    if x.ndim == 2:
        return apply(DIAGONAL, x, offset=diagonal)
    if x.ndim != 1:
        raise ValueError(f"diag was given a tensor of shape {x.shape}; it takes 1 or 2 dimensions")
    here = Tensor(x._device.xp.eye(x.size, dtype=bool), bool_)
    square = where(here, unsqueeze(x, 1), False if x.dtype.kind == "bool" else 0)
    left, above = max(diagonal, 0), max(-diagonal, 0)
    return pad(square, (left, above, above, left))


def repeat_interleave(x: Tensor, repeats: int, dim: int | None = None) -> Tensor:
    """Each element repeated `repeats` times next to itself along `dim`, or in the flattened tensor.

    Raises:
        ValueError: a negative number of times.
    """
    check_tensors("repeat_interleave", x)
    if repeats < 0:
        raise ValueError(f"repeat_interleave was given repeats={repeats}; it must be at least 0")
    if dim is None:
        return repeat_interleave(reshape(x, -1), repeats, 0)
    dim = one_dim(dim, x, "repeat_interleave")
    return getitem(x, (slice(None),) * dim + (np.repeat(np.arange(x.shape[dim]), repeats),))


def trace(x: Tensor) -> Tensor:
    """Sum of the diagonal of a matrix.

    Raises:
        ValueError: not two dimensions.
    """
    check_tensors("trace", x)
    if x.ndim != 2:
        raise ValueError(f"trace was given a tensor of shape {x.shape}; it takes one matrix")
    return sum(diagonal(x))


def movedim(x: Tensor, source: int | Shape, destination: int | Shape) -> Tensor:
    """Dimensions `source` moved to the places `destination`, the others in their order.

    Raises:
        ValueError: not as many sources as destinations, or one of them twice.
    """
    check_tensors("movedim", x)
    given = [(n,) if isinstance(n, int) else tuple(n) for n in (source, destination)]
    start, end = ([one_dim(d, x, "movedim") for d in dims] for dims in given)
    if len(start) != len(end) or len(set(start)) < len(start) or len(set(end)) < len(end):
        raise ValueError(
            f"movedim was given source={source} and destination={destination}; name as many "
            "places as dimensions, each once"
        )
    order = [d for d in range(x.ndim) if d not in start]
    for place, dim in sorted(zip(end, start, strict=True)):
        order.insert(place, dim)
    return permute(x, tuple(order))


swapaxes = swapdims = transpose
moveaxis = movedim


def unbind(x: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The parts of `x` along `dim`, without that dimension."""
    dim = one_dim(dim, x, "unbind")
    return tuple(getitem(x, (slice(None),) * dim + (i,)) for i in range(x.shape[dim]))


def chunk(x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """`x` cut along `dim` into at most `chunks` parts of equal length, the last one shorter.

    Raises:
        ValueError: fewer than one part.
    """
    dim = one_dim(dim, x, "chunk")
    if chunks < 1:
        raise ValueError(f"chunk was given chunks={chunks}; it must be at least 1")
    length = x.shape[dim]
    # Of nothing there are as many parts as were asked for, as in PyTorch.
    return split(x, -(-length // chunks) if length else [0] * chunks, dim)


def _matrices(x: Tensor, name: str) -> Tensor:
    check_tensors(name, x)
    if x.ndim < 2:
        raise ValueError(
            f"{name} was given a tensor of shape {x.shape}; it takes matrices, of at least two "
            "dimensions"
        )
    return x
