"""Moving elements: these operations copy or look at stored words and compute nothing."""

from __future__ import annotations

from itertools import accumulate
from math import prod
from typing import Any

import numpy as np

from tinymp.autograd import Op, Tensor, apply
from tinymp.formats import active_rounding, pack, promote
from tinymp.ops.dims import check_tensors, one_dim
from tinymp.ops.elementwise import cast
from tinymp.ops.indexing import getitem

Shape = tuple[int, ...]
Lengths = int | Shape | list[int]

#: NumPy's names of what padding is filled with.
_FILLED = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}

RESHAPE = Op(
    "reshape",
    lambda xp, x, *, shape: x.reshape(shape),
    x=lambda xp, g, x_shape: g.reshape(x_shape),
    forward_on="words",
)
PERMUTE = Op(
    "permute",
    lambda xp, x, *, dims: x.transpose(dims),
    x=lambda xp, g, dims: g.transpose([int(i) for i in np.argsort(dims)]),
    forward_on="words",
)
# The gradient of a repeated element is a sum, so backward computes: the dispatcher undoes
# broadcasting.
EXPAND = Op(
    "expand",
    lambda xp, x, *, shape: xp.broadcast_to(x, shape),
    x=lambda xp, g: g,
    forward_on="words",
    backward_on="values",
    accumulates="backward",
)


def _part(position: int, shapes: list[Shape], dim: int) -> tuple[slice, ...]:
    start = sum(shape[dim] for shape in shapes[:position])
    return (slice(None),) * dim + (slice(start, start + shapes[position][dim]),)


CAT = Op(
    "cat",
    lambda xp, *xs, dim: xp.concatenate(xs, axis=dim),
    xs=lambda xp, g, position, shapes, dim: g[_part(position, shapes, dim)],
    forward_on="words",
)
STACK = Op(
    "stack",
    lambda xp, *xs, dim: xp.stack(xs, axis=dim),
    xs=lambda xp, g, position, dim: g[(slice(None),) * dim + (position,)],
    forward_on="words",
)


def _pad(xp: Any, x: Any, *, widths: tuple[tuple[int, int], ...], word: Any) -> Any:
    out = xp.full([n + a + b for n, (a, b) in zip(x.shape, widths, strict=True)], word, x.dtype)
    out[_inside(x.shape, widths)] = x
    return out


def _inside(shape: Shape, widths: tuple[tuple[int, int], ...]) -> tuple[slice, ...]:
    return tuple(slice(a, a + n) for n, (a, _) in zip(shape, widths, strict=True))


PAD = Op(
    "pad",
    _pad,
    x=lambda xp, g, x_shape, widths: g[_inside(x_shape, widths)],
    forward_on="words",
)


def reshape(x: Tensor, *shape: Lengths) -> Tensor:
    """The same elements in row-major order in another shape; one length may be -1: what is left.

    Shares storage with `x` where NumPy can.

    Raises:
        ValueError: the shape does not hold as many elements.
    """
    try:
        return apply(RESHAPE, x, shape=lengths(shape))
    except ValueError:
        raise ValueError(
            f"reshape was given the shape {lengths(shape)} for a tensor of shape {x.shape}; it "
            f"must hold its {x.size} elements; one length may be -1, for what is left"
        ) from None


view = reshape


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions `start_dim` to `end_dim`, both included, joined into one."""
    check_tensors("flatten", x)
    if x.ndim == 0:
        return reshape(x, 1)
    first = one_dim(start_dim, x, "flatten")
    last = one_dim(end_dim, x, "flatten")
    return reshape(x, (*x.shape[:first], prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))


def permute(x: Tensor, *dims: Lengths) -> Tensor:
    """Dimensions in another order: dimension i of the result is dimension `dims[i]` of `x`.

    Raises:
        ValueError: `dims` does not name every dimension once.
    """
    check_tensors("permute", x)
    order = lengths(dims)
    positive = tuple(one_dim(d, x, "permute") for d in order)
    if sorted(positive) != list(range(x.ndim)):
        raise ValueError(
            f"permute was given dims={order} for a tensor of shape {x.shape}; name each of its "
            f"{x.ndim} dimensions once"
        )
    return apply(PERMUTE, x, dims=positive)


def transpose(x: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions swapped, as in PyTorch."""
    check_tensors("transpose", x)
    dims = list(range(x.ndim))
    a, b = one_dim(dim0, x, "transpose"), one_dim(dim1, x, "transpose")
    dims[a], dims[b] = b, a
    return apply(PERMUTE, x, dims=tuple(dims))


def t(x: Tensor) -> Tensor:
    """A matrix transposed; a tensor of fewer dimensions as it is.

    Raises:
        ValueError: more than two dimensions.
    """
    check_tensors("t", x)
    if x.ndim > 2:
        raise ValueError(
            f"t was given a tensor of shape {x.shape}; it takes at most 2 dimensions; use transpose"
        )
    return apply(PERMUTE, x, dims=tuple(reversed(range(x.ndim))))


def expand(x: Tensor, *shape: Lengths) -> Tensor:
    """Dimensions of length 1 repeated, new ones put in front, without a copy; -1 keeps a length.

    Raises:
        ValueError: a shape to which that of `x` does not broadcast.
    """
    check_tensors("expand", x)
    wanted = lengths(shape)
    added = len(wanted) - x.ndim
    new = tuple(x.shape[i - added] if n == -1 and i >= added else n for i, n in enumerate(wanted))
    fits = all(old in (1, n) for old, n in zip(reversed(x.shape), reversed(new), strict=False))
    if added < 0 or not fits or any(n < 0 for n in new):
        raise ValueError(
            f"expand was given the shape {wanted} for a tensor of shape {x.shape}; only dimensions "
            "of length 1 can be repeated, and new ones stand in front"
        )
    return apply(EXPAND, x, shape=new)


broadcast_to = expand


def squeeze(x: Tensor, dim: int | None = None) -> Tensor:
    """Dimension `dim` dropped if it is of length 1, or every such dimension."""
    check_tensors("squeeze", x)
    drop = range(x.ndim) if dim is None else (one_dim(dim, x, "squeeze"),)
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if n != 1 or i not in drop))


def unsqueeze(x: Tensor, dim: int) -> Tensor:
    """A new dimension of length 1 at `dim`."""
    dim = one_dim(dim, x, "unsqueeze", added=1)
    return reshape(x, (*x.shape[:dim], 1, *x.shape[dim:]))


def cat(tensors: list[Tensor] | tuple[Tensor, ...], dim: int = 0) -> Tensor:
    """Tensors joined along an existing dimension; different dtypes are promoted.

    Raises:
        ValueError: no tensors, or lengths that differ along another dimension.
    """
    tensors = _alike(tensors, "cat")
    dim = one_dim(dim, tensors[0], "cat")
    _check_lengths("cat", tensors, dim)
    return apply(CAT, *tensors, dim=dim)


concatenate = cat


def stack(tensors: list[Tensor] | tuple[Tensor, ...], dim: int = 0) -> Tensor:
    """Tensors of one shape joined along a new dimension; different dtypes are promoted.

    Raises:
        ValueError: no tensors, or shapes that differ.
    """
    tensors = _alike(tensors, "stack")
    _check_lengths("stack", tensors, None)
    return apply(STACK, *tensors, dim=one_dim(dim, tensors[0], "stack", added=1))


def split(x: Tensor, sizes: int | list[int] | tuple[int, ...], dim: int = 0) -> tuple[Tensor, ...]:
    """`x` cut along `dim` into parts of the given lengths, or of one length and a shorter rest.

    Raises:
        ValueError: lengths that are negative or do not add up to that of `x`.
    """
    dim = one_dim(dim, x, "split")
    length = x.shape[dim]
    if isinstance(sizes, int):
        if sizes < 1:
            raise ValueError(f"split was given the length {sizes}; it must be at least 1")
        sizes = [min(sizes, length - start) for start in range(0, max(length, 1), sizes)]
    if sum(sizes) != length or any(n < 0 for n in sizes):
        raise ValueError(
            f"split was given lengths {list(sizes)} for dimension {dim} of a tensor of shape "
            f"{x.shape}; they must be at least 0 and add up to {length}"
        )
    ends = list(accumulate(sizes))
    before = (slice(None),) * dim
    return tuple(
        getitem(x, (*before, slice(end - n, end))) for end, n in zip(ends, sizes, strict=True)
    )


def pad(x: Tensor, pad: Shape, mode: str = "constant", value: float = 0.0) -> Tensor:
    """`x` with something around it: `pad` is (before, after) of the last dimension, then the next.

    `mode`: "constant" is `value`; "reflect" the elements mirrored at the edge, without the edge,
    "replicate" the edge again and again, "circular" the elements from the other end.

    Raises:
        ValueError: an odd number of widths, more than there are dimensions, a negative one, or one
            for which there are too few elements; an unknown mode.
    """
    check_tensors("pad", x)
    if mode not in _FILLED:
        raise ValueError(f"pad was given mode={mode!r}; it must be one of {', '.join(_FILLED)}")
    if len(pad) % 2 or len(pad) > 2 * x.ndim or any(n < 0 for n in pad):
        raise ValueError(
            f"pad was given widths {tuple(pad)} for a tensor of shape {x.shape}; give pairs "
            f"(before, after) of numbers ≥ 0, at most {x.ndim} of them, the last dimension first"
        )
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    widths = ((0, 0),) * (x.ndim - len(pairs)) + tuple(reversed(pairs))
    if mode != "constant":
        return _padded_by_elements(x, widths, mode)
    word = pack(np.asarray(value, np.float64), x.dtype, active_rounding().mode(x.dtype)).item()
    return apply(PAD, x, widths=widths, word=word)


def _padded_by_elements(x: Tensor, widths: tuple[tuple[int, int], ...], mode: str) -> Tensor:
    least = {"reflect": 1, "replicate": -np.inf, "circular": 0}[mode]
    for n, (before, after) in zip(x.shape, widths, strict=True):
        if max(before, after) + least > n or (n == 0 and before + after):
            raise ValueError(
                f"pad was given widths {(before, after)} for a dimension of length {n}; "
                f"mode={mode!r} takes them from the elements that are there"
            )
    places = [
        np.pad(np.arange(n), around, _FILLED[mode])  # type: ignore[call-overload]
        for n, around in zip(x.shape, widths, strict=True)
    ]
    return getitem(x, np.ix_(*places))


def lengths(given: tuple[Any, ...]) -> Shape:
    """Lengths given one by one or as one sequence."""
    if len(given) == 1 and not isinstance(given[0], int):
        given = tuple(given[0])
    return tuple(int(n) for n in given)


def _check_lengths(name: str, tensors: list[Tensor], dim: int | None) -> None:
    """Refuse tensors whose shapes differ in a dimension other than `dim`."""
    shapes = [x.shape for x in tensors]
    if dim is not None:
        shapes = [(len(shape), *shape[:dim], *shape[dim + 1 :]) for shape in shapes]
    if len(set(shapes)) > 1:
        where = "" if dim is None else f", but along dimension {dim}"
        raise ValueError(
            f"{name} was given shapes {', '.join(str(x.shape) for x in tensors)}; they must be "
            f"equal{where}"
        )


def _alike(tensors: list[Tensor] | tuple[Tensor, ...], name: str) -> list[Tensor]:
    if not tensors:
        raise ValueError(f"{name} was given no tensors; it needs at least one")
    check_tensors(name, *tensors)
    dtype = promote(*[x.dtype for x in tensors])
    return [cast(x, dtype) for x in tensors]
