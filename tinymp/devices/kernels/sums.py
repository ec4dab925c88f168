"""sum and mean over the leading dimensions, the trailing ones, or all.

    columns   x (rows, n) → (n,)        a bias's gradient
    rows      x (n, length) → (n,)
    all       x → ()

Memory: reads x once. Sums of columns and of all are made in two steps: every block sums a share of
the rows in registers, and the partial sums are added by `columns`, or by a block of the same kind;
where a single block suffices, it rounds and writes the result itself.

Error: γ_d Σ|x|, where d is the largest number of additions that a term passes through: for columns
rows/(16·shares) + shares/16 + 48, where `shares` blocks divide the rows; for rows n/threads + 20;
for all, the elements of a thread + blocks/512 + 42. The order depends on shape and GPU alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.devices.kernels.columns import column_totals
from tinymp.devices.kernels.operands import (
    FLOAT32,
    WIDEST,
    aligned,
    contiguous,
    multiprocessors,
    readable,
    writable,
)
from tinymp.devices.kernels.pieces import PIECES, rows_of_a_block
from tinymp.devices.kernels.rows import ROWS
from tinymp.devices.kernels.template import instance, once_a_device
from tinymp.devices.kernels.twin import Target

# A warp takes a row of 32 pieces at a time, and asks for eight rows before it waits for the first;
# the 16 warps of a block take turns.
COLUMNS = (
    PIECES
    + r"""
constexpr int warps = 16, batch = 8;

extern "C" __global__ void __launch_bounds__(32 * warps)
sum_columns(const X::word *__restrict__ x, Out::word *__restrict__ out,
            long long rows, int n, float divisor) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int column = (blockIdx.x * 32 + lane) * elements;
    const long long stride = (long long)gridDim.y * warps;
    float sums[elements] = {};
    for (long long first = blockIdx.y * warps + warp; first < rows; first += batch * stride) {
        Piece<X, elements> held[batch];
        #pragma unroll
        for (int k = 0; k < batch; ++k) {
            const long long row = first + k * stride;
            if (row < rows && column < n) held[k] = piece_at<X, elements>(x + row * n + column);
        }
        #pragma unroll
        for (int k = 0; k < batch; ++k)
            if (first + k * stride < rows && column < n)
                #pragma unroll
                for (int i = 0; i < elements; ++i) sums[i] += held[k][i];
    }
    __shared__ float parts[warps][elements][32];
    #pragma unroll
    for (int i = 0; i < elements; ++i) parts[warp][i][lane] = sums[i];
    __syncthreads();
    // Warp i adds up what all have for element i of a piece.
    if (warp >= elements || column >= n) return;
    float total = 0;
    #pragma unroll
    for (int w = 0; w < warps; ++w) total += parts[w][warp][lane];
    out[(long long)blockIdx.y * n + column + warp] = encode<Out, mode>(total / divisor);
}
"""
)

ROW_SUMS = (
    PIECES
    + ROWS
    + r"""
constexpr int groups = threads == 32 ? 4 : 1;  // rows of a block
constexpr int count = 16 / sizeof(X::word);

extern "C" __global__ void __launch_bounds__(threads * groups)
sum_rows(const X::word *__restrict__ x, Out::word *__restrict__ out,
         long long rows, int n, float divisor) {
    const long long row = (long long)blockIdx.x * groups + threadIdx.x / threads;
    const int lane = threadIdx.x % threads;
    if (row >= rows) return;  // a whole warp; several warps have a block of their own
    float total = 0;
    for_row<X, threads>(
        x + row * n, n, lane,
        [&](int, const Piece<X, count> &piece) {
            #pragma unroll
            for (int i = 0; i < count; ++i) total += piece[i];
        },
        [&](int, float value) { total += value; });
    total = over_group<Add, threads, groups>(total);
    if (lane == 0) out[row] = encode<Out, mode>(total / divisor);
}
"""
)

ALL = (
    PIECES
    + r"""
constexpr int batch = 8;

extern "C" __global__ void __launch_bounds__(512)
sum_all(const X::word *__restrict__ x, Out::word *__restrict__ out, long long size, float divisor) {
    const long long thread = (long long)blockIdx.x * 512 + threadIdx.x;
    const long long full = size / elements, stride = (long long)gridDim.x * 512;
    float total = 0;
    for (long long first = thread; first < full; first += batch * stride) {
        Piece<X, elements> held[batch];
        #pragma unroll
        for (int k = 0; k < batch; ++k)
            if (first + k * stride < full)
                held[k] = piece_at<X, elements>(x + (first + k * stride) * elements);
        #pragma unroll
        for (int k = 0; k < batch; ++k)
            if (first + k * stride < full)
                #pragma unroll
                for (int i = 0; i < elements; ++i) total += held[k][i];
    }
    if (full * elements + thread < size) total += decode<X>(x[full * elements + thread]);
    total = over_group<Add, 512, 1>(total);
    if (threadIdx.x == 0) out[blockIdx.x] = encode<Out, mode>(total / divisor);
}
"""
)

_SINGLE = 1 << 14  # elements that one block sums by itself
_UNROUNDED = Target(FLOAT32, "nearest_even")


def sum(x: Any, *, dim: tuple[int, ...], keepdim: bool, target: Target) -> Any:
    """Twin of the rule: storage of the sums."""
    return _summed(x, dim, keepdim, target, average=False)


def mean(x: Any, *, dim: tuple[int, ...], keepdim: bool, target: Target) -> Any:
    """Twin of the rule: storage of the means."""
    return _summed(x, dim, keepdim, target, average=True)


def _summed(x: Any, dim: tuple[int, ...], keepdim: bool, target: Target, *, average: bool) -> Any:
    shape, dims = x.storage.shape, sorted(dim)
    if not dims or not _served(x, target):
        return NotImplemented
    first, last = dims[0], dims[-1]
    kept = [n for i, n in enumerate(shape) if i not in dims]
    count = x.storage.size
    for n in kept:
        count //= n
    divisor = count if average else 1
    if len(dims) == len(shape):
        out = _all(x, divisor, target)
    elif last == len(dims) - 1:
        out = _columns(x, count, divisor, target)
    elif first == len(kept) and last == len(shape) - 1:
        out = _rows(x, count, divisor, target)
    else:
        return NotImplemented
    return out.reshape([1 if i in dims else n for i, n in enumerate(shape)] if keepdim else kept)


def column_sums(x: Any, target: Target) -> Any:
    """Storage of the sums of all rows of x (..., n), as for the gradient of a bias."""
    if not _served(x, target):
        return NotImplemented
    return _columns(x, x.storage.size // x.shape[-1], 1, target)


def _served(x: Any, target: Target) -> bool:
    served = readable(x.dtype) and writable(target)
    return served and x.storage.size > 0 and contiguous(x.storage)


@once_a_device
def _sum_columns(x: Any, to: Target, elements: int) -> Any:
    return instance("sum_columns", COLUMNS, X=x, Out=to.dtype, mode=to.mode, elements=elements)


@once_a_device
def _sum_rows(x: Any, to: Target, threads: int) -> Any:
    return instance("sum_rows", ROW_SUMS, X=x, Out=to.dtype, mode=to.mode, threads=threads)


@once_a_device
def _sum_all(x: Any, to: Target, elements: int) -> Any:
    return instance("sum_all", ALL, X=x, Out=to.dtype, mode=to.mode, elements=elements)


def _columns(x: Any, rows: int, divisor: int, target: Target) -> Any:
    """Sums of the columns of x as a matrix of so many rows."""
    import cupy

    n, size = x.storage.size // rows, x.dtype.itemsize
    elements = WIDEST // size if aligned(x.storage) and n * size % WIDEST == 0 else 1
    blocks = -(-n // (32 * elements))
    # Two blocks a multiprocessor, and at least 16 rows for each of a block's 16 warps.
    shares = max(1, min(2 * multiprocessors() // blocks, rows // 256))
    to = target if shares == 1 else _UNROUNDED
    out = cupy.empty(n if shares == 1 else (1, shares, n), to.dtype.storage)
    first_divisor = np.float32(divisor if shares == 1 else 1)
    arguments = (x.storage, out, np.int64(rows), np.int32(n), first_divisor)
    _sum_columns(x.dtype, to, elements)((blocks, shares), (512,), arguments)
    return out if shares == 1 else column_totals(out, target, divisor)


def _rows(x: Any, n: int, divisor: int, target: Target) -> Any:
    """Sums of the rows of x as a matrix of n columns."""
    import cupy

    rows, row_bytes = x.storage.size // n, n * x.dtype.itemsize
    threads = 32 if row_bytes <= 8192 else 256
    out = cupy.empty(rows, target.dtype.storage)
    groups = rows_of_a_block(threads)
    arguments = (x.storage, out, np.int64(rows), np.int32(n), np.float32(divisor))
    run = _sum_rows(x.dtype, target, threads)
    run((-(-rows // groups),), (threads * groups,), arguments)
    return out


def _all(x: Any, divisor: int, target: Target) -> Any:
    """The sum of all elements of x."""
    import cupy

    size = x.storage.size
    elements = WIDEST // x.dtype.itemsize if aligned(x.storage) else 1
    blocks = 1 if size <= _SINGLE else 2 * multiprocessors()
    to = target if blocks == 1 else _UNROUNDED
    out = cupy.empty((1, blocks, 1), to.dtype.storage)
    first_divisor = np.float32(divisor if blocks == 1 else 1)
    arguments = (x.storage, out, np.int64(size), first_divisor)
    _sum_all(x.dtype, to, elements)((blocks,), (512,), arguments)
    if blocks == 1:
        return out
    total = cupy.empty((1, 1, 1), target.dtype.storage)
    arguments = (out, total, np.int64(blocks), np.float32(divisor))
    _sum_all(FLOAT32, target, 1)((1,), (512,), arguments)
    return total
