"""How NumPy-shaped products are said in cuBLAS's terms, by strides alone and without copies.

cuBLAS multiplies matrices in column-major order. A row-major matrix, read as column-major, is its
own transpose, and (A·B)ᵀ = Bᵀ·Aᵀ; so asking for "B times A" in column-major order gives the
row-major A·B. What is left to find for each operand: does it lie in memory by rows or by columns
(the op flag), how far apart are its rows (the leading dimension), and how far apart the matrices of
a stack (the batch stride).

Nothing here touches a GPU: the functions read shapes and strides, of NumPy arrays as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

from tinymp.devices.base import Array


@dataclass(frozen=True)
class Operand:
    """A matrix, or an evenly spaced stack of them. Distances are counted in elements.

    Attributes:
        array: the array whose first element begins the first matrix.
        by_columns: True where the columns, not the rows, are contiguous in memory.
        leading: distance between the starts of neighbouring rows (or columns).
        batch_stride: distance between the starts of neighbouring matrices; 0 repeats one matrix.
    """

    array: Array
    by_columns: bool
    leading: int
    batch_stride: int


@dataclass(frozen=True)
class Gemm:
    """One cuBLAS call: `out[i] = a[i] @ b[i]` for `batch` matrices, (m, k) by (k, n)."""

    m: int
    n: int
    k: int
    batch: int
    a: Operand
    b: Operand
    out: Operand


def product_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the product of stacks of matrices of shapes `a` and `b`.

    Raises:
        ValueError: where the inner dimensions differ, or the stacks do not broadcast.
    """
    batch = []
    rank = max(len(a), len(b)) - 2
    padded = [(1,) * (rank + 2 - len(shape)) + shape[:-2] for shape in (a, b)]
    for x, y in zip(*padded, strict=True):
        batch.append(y if x == 1 else x)
        if x != y and 1 not in (x, y):
            raise ValueError(f"matmul: the stacks of shapes {a} and {b} do not broadcast")
    if a[-1] != b[-2]:
        raise ValueError(
            f"matmul: shapes {a} and {b} do not fit: the first has {a[-1]} columns, "
            f"the second {b[-2]} rows; they must be equal"
        )
    return (*batch, a[-2], b[-1])


def gemms(xp: Any, a: Array, b: Array, out: Array) -> Iterator[Gemm]:
    """Yield the calls that compute `out = a @ b` for stacks of matrices, none of them empty.

    `out` is contiguous and has the shape that `product_shape` gives. An operand is copied only
    where neither its rows nor its columns are contiguous. Stacks that broadcast or are transposed
    in ways that one batch stride cannot say become several calls.
    """
    if b.ndim == 2 and a.ndim > 2 and _even_stride(a.shape[:-1], _strides(a)[:-1]) is not None:
        # One matrix on the right: the stack on the left is a single taller matrix.
        a, out = a.reshape(-1, a.shape[-1]), out.reshape(-1, out.shape[-1])
    a, b = _readable(xp, a), _readable(xp, b)
    stack = out.shape[:-2]
    a = xp.broadcast_to(a, stack + a.shape[-2:])
    b = xp.broadcast_to(b, stack + b.shape[-2:])
    yield from _split(a, b, out)


def _split(a: Array, b: Array, out: Array) -> Iterator[Gemm]:
    left, right, product = _operand(a), _operand(b), _operand(out)
    if left and right and product:
        *stack, m, n = out.shape
        yield Gemm(m, n, a.shape[-1], prod(stack), left, right, product)
    else:
        for matrices in zip(a, b, out, strict=True):
            yield from _split(*matrices)


def _operand(x: Array) -> Operand | None:
    """Describe a readable stack; None where its matrices are not evenly spaced."""
    layout, batch_stride = _layout(x), _even_stride(x.shape[:-2], _strides(x)[:-2])
    return None if layout is None or batch_stride is None else Operand(x, *layout, batch_stride)


def _strides(x: Array) -> tuple[int, ...]:
    return tuple(stride // x.itemsize for stride in x.strides)


def _readable(xp: Any, x: Array) -> Array:
    return xp.ascontiguousarray(x) if _layout(x) is None else x


def _layout(x: Array) -> tuple[bool, int] | None:
    """Return `(by_columns, leading)` of the matrices in `x`; None if cuBLAS cannot read them.

    The stride of an axis of length 1 says nothing and is not read.
    """
    rows, columns = x.shape[-2:]
    down, across = _strides(x)[-2:]
    if columns == 1 or across == 1:
        leading = down if rows > 1 else columns
        if leading >= columns:
            return False, leading
    if rows == 1 or down == 1:
        leading = across if columns > 1 else rows
        if leading >= rows:
            return True, leading
    return None


def _even_stride(shape: tuple[int, ...], strides: tuple[int, ...]) -> int | None:
    """Return the one stride that walks through these axes in order; None if there is none.

    0 stands for no step at all: no axes, axes of length 1, or one element repeated.
    """
    axes = [(length, stride) for length, stride in zip(shape, strides, strict=True) if length > 1]
    if any(outer != inner * length for (_, outer), (length, inner) in pairwise(axes)):
        return None
    return axes[-1][1] if axes else 0
