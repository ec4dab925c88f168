"""softmax and log_softmax along the last dimension, and the weights of causal attention.

    softmax      out = e^(s - h) / Σ e^(s - h)         s = x·scale, h the largest s of the row
    log_softmax  out = s - h - log Σ e^(s - h)

With `causal`, rows belong to matrices of (queries, n) scores, and query i sees the keys 0 ... i
alone: the other weights are 0, and their scores are not read.

Memory: reads x once, writes out once. A row is held in the registers of a warp or a block; up to
65536 elements of 2 bytes fit.

Error: `exponential` states that of each e^(s - h); no term of the sum passes through more than
n/threads + 5 + threads/32 additions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinymp.devices.kernels.operands import aligned, contiguous, readable, writable
from tinymp.devices.kernels.pieces import PIECES, row_layout, rows_of_a_block
from tinymp.devices.kernels.template import instance, once_a_device
from tinymp.devices.kernels.twin import Target

#: e^x by the GPU's own power of two. Its relative error is at most (4 + 3|x|)·2^-24: that of the
#: power, 2^-22, and the roundings of x·log2(e) and of that constant. Below 2^-126 it is 0.
EXPONENTIAL = r"""
__device__ __forceinline__ float exponential(float x) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * 1.44269504f));
    return power;
}
"""

SOURCE = (
    PIECES
    + EXPONENTIAL
    + r"""
constexpr int groups = threads == 32 ? 4 : 1;  // rows of a block
constexpr bool keeps = pieces <= 4;  // short rows keep their powers, long ones work them out again

extern "C" __global__ void __launch_bounds__(threads * groups)
softmax(const X::word *__restrict__ x, Out::word *__restrict__ out,
        long long rows, int n, long long queries, float scale) {
    const long long row = (long long)blockIdx.x * groups + threadIdx.x / threads;
    const int lane = threadIdx.x % threads;
    if (row >= rows) return;  // a whole warp; several warps have a block of their own
    const int seen = causal ? (int)min((long long)n, row % queries + 1) : n;

    Piece<X, elements> held[pieces];
    const auto column_of = [&](int p) { return (p * threads + lane) * elements; };
    // Of a piece that begins inside all elements are, unless some are hidden.
    const auto visible = [&](int p, int i) { return column_of(p) + (causal ? i : 0) < seen; };
    const auto score = [&](int p, int i) { return scaled ? held[p][i] * scale : held[p][i]; };

    float highest = -infinity;
    #pragma unroll
    for (int p = 0; p < pieces; ++p)
        if (column_of(p) < seen) held[p] = piece_at<X, elements>(x + row * n + column_of(p));
    #pragma unroll
    for (int p = 0; p < pieces; ++p)
        #pragma unroll
        for (int i = 0; i < elements; ++i)
            if (visible(p, i)) highest = fmaxf(highest, score(p, i));
    highest = over_group<Larger, threads, groups>(highest);

    float powers[keeps ? pieces * elements : 1], total = 0;
    #pragma unroll
    for (int p = 0; p < pieces; ++p)
        #pragma unroll
        for (int i = 0; i < elements; ++i) {
            const float power = visible(p, i) ? exponential(score(p, i) - highest) : 0.0f;
            if (keeps) powers[p * elements + i] = power;
            total += power;
        }
    total = over_group<Add, threads, groups>(total);

    const float factor = 1.0f / total, shift = logarithm ? logf(total) : 0.0f;
    #pragma unroll
    for (int p = 0; p < pieces; ++p) {
        if (column_of(p) >= n) break;
        float values[elements];
        #pragma unroll
        for (int i = 0; i < elements; ++i) {
            if (logarithm)
                values[i] = visible(p, i) ? score(p, i) - highest - shift : -infinity;
            else if (keeps)
                values[i] = powers[p * elements + i] * factor;
            else
                values[i] = visible(p, i) ? exponential(score(p, i) - highest) * factor : 0.0f;
        }
        write<Out, mode>(out + row * n + column_of(p), values);
    }
}
"""
)


class Kernel(NamedTuple):
    """A compiled kernel, and the rows and threads of its blocks."""

    run: Any
    rows: int
    threads: int


@once_a_device
def _kernel(
    n: int, x: Any, target: Target, aligned: bool, scaled: bool, causal: bool, logarithm: bool
) -> Kernel | None:
    """The kernel for operands of these formats; None where none serves."""
    layout = row_layout(n, x.itemsize, aligned)
    if not (readable(x) and writable(target)) or n == 0 or layout is None:
        return None
    run = instance(
        "softmax",
        SOURCE,
        X=x,
        Out=target.dtype,
        mode=target.mode,
        scaled=scaled,
        causal=causal,
        logarithm=logarithm,
        **layout._asdict(),
    )
    rows = rows_of_a_block(layout.threads)
    return Kernel(run, rows, rows * layout.threads)


def softmax(x: Any, *, dim: int, target: Target) -> Any:
    """Twin of the rule: storage of the result."""
    return _over_rows(x, target, dim, 1.0, False, False)


def log_softmax(x: Any, *, dim: int, target: Target) -> Any:
    """Twin of the rule: storage of the result."""
    return _over_rows(x, target, dim, 1.0, False, True)


def causal_softmax(scores: Any, *, scale: float, target: Target) -> Any:
    """Storage of the weights of causal attention, from scores (..., queries, keys): see above."""
    return _over_rows(scores, target, scores.storage.ndim - 1, scale, True, False)


def _over_rows(
    x: Any, target: Target, dim: int, scale: float, causal: bool, logarithm: bool
) -> Any:
    import cupy

    storage = x.storage
    if dim != storage.ndim - 1 or storage.size == 0 or not contiguous(storage):
        return NotImplemented
    n = storage.shape[-1]
    kernel = _kernel(n, x.dtype, target, aligned(storage), scale != 1, causal, logarithm)
    if kernel is None:
        return NotImplemented
    rows = storage.size // n
    out = cupy.empty(storage.shape, target.dtype.storage)
    queries = storage.shape[-2] if causal else 1
    sizes = np.int64(rows), np.int32(n), np.int64(queries)
    grid = (-(-rows // kernel.rows),)
    kernel.run(grid, (kernel.threads,), (storage, out, *sizes, np.float32(scale)))
    return out
