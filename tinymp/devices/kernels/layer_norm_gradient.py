"""The gradients of layer_norm and rms_norm with respect to x, weight and bias, in one pass.

    d = g·weight,   y = (x - mean)·rstd
    dx = rstd·(d - mean of d - y·mean of (d·y))      rms_norm: without the mean of d
    dweight = Σ over rows of g·y,   dbias = Σ over rows of g

Memory: reads g and x once, writes dx once. A row is held in the registers of as many threads as it
has pieces of 16 bytes, and each takes two rows at a time. A thread has the same columns of every
row: it keeps their sums for dweight and dbias in registers too. They leave the block once, at the
end, and `columns` adds up those of all blocks.

Error: float32 operations in the rule's order, but for the order of the sums, which depends on the
shapes and the GPU alone. No additions are atomic.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinymp.devices.kernels.columns import column_totals
from tinymp.devices.kernels.operands import (
    WIDEST,
    aligned,
    contiguous,
    format_of,
    multiprocessors,
    readable,
    writable,
)
from tinymp.devices.kernels.pieces import PIECES
from tinymp.devices.kernels.template import instance, once_a_device
from tinymp.devices.kernels.twin import Target

Targets = tuple[Target | None, Target | None, Target | None]

BLOCK = 384  # threads of a block, if rows are not longer or of an odd length
RESIDENT = 2  # blocks that a multiprocessor has at a time

SOURCE = (
    PIECES
    + r"""
constexpr int block = threads * groups, warps = threads / 32;

struct alignas(16) Sums { float shift[2], scale[2]; };

// The sums over each group's threads, for both of its rows.
__device__ __forceinline__ Sums over_rows(Sums sums, int turn) {
    #pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        #pragma unroll
        for (int r = 0; r < 2; ++r) {
            if (centered)
                sums.shift[r] += __shfl_xor_sync(0xffffffffu, sums.shift[r], distance);
            sums.scale[r] += __shfl_xor_sync(0xffffffffu, sums.scale[r], distance);
        }
    if constexpr (warps > 1) {
        __shared__ Sums parts[2][block / 32];  // in turns, so that one barrier does
        if (threadIdx.x % 32 == 0) parts[turn][threadIdx.x / 32] = sums;
        __syncthreads();
        const Sums *mine = parts[turn] + threadIdx.x / threads * warps;
        sums = mine[0];
        #pragma unroll 2
        for (int w = 1; w < warps; ++w) {
            const Sums other = mine[w];
            #pragma unroll
            for (int r = 0; r < 2; ++r) {
                sums.shift[r] += other.shift[r];
                sums.scale[r] += other.scale[r];
            }
        }
    }
    return sums;
}

// Adds up what the groups of a block hold, and writes it as a row of partial sums.
__device__ __forceinline__ void keep(const float (&sums)[pieces * elements], float *row, int n) {
    if constexpr (groups == 1) {
        #pragma unroll
        for (int p = 0; p < pieces; ++p) {
            const int column = (p * threads + threadIdx.x) * elements;
            #pragma unroll
            for (int i = 0; i < elements; ++i)
                if (column + i < n) row[column + i] = sums[p * elements + i];
        }
    } else {  // rows have a single piece a thread
        __shared__ float held[elements][block];
        __syncthreads();
        #pragma unroll
        for (int i = 0; i < elements; ++i) held[i][threadIdx.x] = sums[i];
        __syncthreads();
        for (int j = threadIdx.x; j < elements * threads; j += block) {
            const int i = j / threads, lane = j % threads;
            float total = held[i][lane];
            #pragma unroll
            for (int k = 1; k < groups; ++k) total += held[i][k * threads + lane];
            if (lane * elements + i < n) row[lane * elements + i] = total;
        }
    }
}

extern "C" __global__ void __launch_bounds__(block, resident)
layer_norm_gradient(const G::word *__restrict__ g, const X::word *__restrict__ x,
                    const Weight::word *__restrict__ weight, const float *__restrict__ mean_in,
                    const float *__restrict__ rstd_in, Dx::word *__restrict__ dx,
                    float *__restrict__ dweight, float *__restrict__ dbias,
                    long long rows, int n) {
    const int lane = threadIdx.x % threads, group = threadIdx.x / threads;
    float weight_sums[pieces * elements] = {}, bias_sums[pieces * elements] = {};
    int turn = 0;
    // All groups go round equally often: they wait for each other in over_rows.
    for (long long first = (long long)blockIdx.x * groups * 2; first < rows;
         first += (long long)gridDim.x * groups * 2, turn ^= 1) {
        Piece<G, elements> g_held[2][pieces];
        Piece<X, elements> x_held[2][pieces];
        float mean[2] = {}, rstd[2] = {};
        #pragma unroll
        for (int r = 0; r < 2; ++r) {
            const long long row = first + group * 2 + r;
            #pragma unroll
            for (int p = 0; p < pieces; ++p) {
                const int column = (p * threads + lane) * elements;
                if (row < rows && column < n) {
                    g_held[r][p] = piece_at<G, elements>(g + row * n + column);
                    x_held[r][p] = piece_at<X, elements>(x + row * n + column);
                }
            }
            if (row < rows) {
                if (centered) mean[r] = mean_in[row];
                rstd[r] = rstd_in[row];
            }
        }
        Sums sums = {};
        #pragma unroll
        for (int p = 0; p < pieces; ++p) {
            const int column = (p * threads + lane) * elements;
            if (column >= n) break;
            Piece<Weight, elements> factors;
            if (weighted) factors = piece_at<Weight, elements>(weight + column);
            #pragma unroll
            for (int r = 0; r < 2; ++r)
                if (first + group * 2 + r < rows)
                    #pragma unroll
                    for (int i = 0; i < elements; ++i) {
                        const float gradient = g_held[r][p][i];
                        const float normal = (x_held[r][p][i] - mean[r]) * rstd[r];
                        const float d = weighted ? gradient * factors[i] : gradient;
                        sums.shift[r] += d;
                        sums.scale[r] += d * normal;
                        if (sums_weight) weight_sums[p * elements + i] += gradient * normal;
                        if (sums_bias) bias_sums[p * elements + i] += gradient;
                    }
        }
        sums = over_rows(sums, turn);
        #pragma unroll
        for (int p = 0; p < pieces; ++p) {
            const int column = (p * threads + lane) * elements;
            if (column >= n) break;
            Piece<Weight, elements> factors;
            if (weighted) factors = piece_at<Weight, elements>(weight + column);
            #pragma unroll
            for (int r = 0; r < 2; ++r) {
                const long long row = first + group * 2 + r;
                if (row >= rows) break;
                const float shift = sums.shift[r] / (float)n, scale = sums.scale[r] / (float)n;
                float values[elements];
                #pragma unroll
                for (int i = 0; i < elements; ++i) {
                    const float normal = (x_held[r][p][i] - mean[r]) * rstd[r];
                    const float d = weighted ? g_held[r][p][i] * factors[i] : g_held[r][p][i];
                    const float centred = centered ? d - shift : d;
                    values[i] = rstd[r] * (centred - normal * scale);
                }
                write<Dx, mode>(dx + row * n + column, values);
            }
        }
    }
    if (sums_weight) keep(weight_sums, dweight + (long long)blockIdx.x * n, n);
    if (sums_bias) keep(bias_sums, dbias + (long long)blockIdx.x * n, n);
}
"""
)


class Layout(NamedTuple):
    """How rows are dealt to the threads of a block: to `groups` groups of `threads` each."""

    threads: int
    groups: int
    pieces: int
    elements: int


def layout_of(n: int, itemsize: int, aligned: bool) -> Layout | None:
    """One piece a thread, up to 512 threads a row, then more pieces; None for rows too long."""
    elements = WIDEST // itemsize if aligned and n * itemsize % WIDEST == 0 else 1
    warps = min(16, -(-n // (32 * elements)))
    pieces = -(-n // (32 * warps * elements))
    groups = max(1, BLOCK // (32 * warps))
    return Layout(32 * warps, groups, pieces, elements) if pieces <= 4 else None


class Kernel(NamedTuple):
    """A compiled kernel, and the rows and threads of its blocks."""

    run: Any
    rows: int
    threads: int


@once_a_device
def _kernel(
    n: int, g: Any, x: Any, weight: Any, targets: Targets, aligned: bool, centered: bool
) -> Kernel | None:
    """The kernel for operands of these formats; None where none serves."""
    to_x, to_weight, to_bias = targets
    if not (readable(g, x, weight) and writable(*targets)) or n == 0 or to_x is None:
        return None
    layout = layout_of(n, max(g.itemsize, x.itemsize), aligned)
    if layout is None:
        return None
    run = instance(
        "layer_norm_gradient",
        SOURCE,
        G=g,
        X=x,
        Weight=weight or x,
        Dx=to_x.dtype,
        mode=to_x.mode,
        weighted=weight is not None,
        centered=centered,
        sums_weight=to_weight is not None,
        sums_bias=to_bias is not None,
        resident=RESIDENT if layout.pieces == 1 else 1,
        **layout._asdict(),
    )
    return Kernel(run, 2 * layout.groups, layout.groups * layout.threads)


def layer_norm_gradient(
    g: Any, x: Any, weight: Any, mean: Any, rstd: Any, *, targets: Targets
) -> Any:
    """Twin of the rules: gradients of x, weight and bias."""
    return _gradients(g, x, weight, mean, rstd, targets, True)


def rms_norm_gradient(
    g: Any, x: Any, weight: Any, rrms: Any, *, targets: tuple[Target | None, Target | None]
) -> Any:
    """Twin of the rules: gradients of x and weight."""
    result = _gradients(g, x, weight, None, rrms, (*targets, None), False)
    return result if result is NotImplemented else result[:2]


def _gradients(
    g: Any, x: Any, weight: Any, mean: Any, rstd: Any, targets: Targets, centered: bool
) -> Any:
    import cupy

    if x is None or rstd is None:  # only the bias wants a gradient
        return NotImplemented
    arrays = [g.storage, x.storage, None if weight is None else weight.storage]
    shape, n = x.storage.shape, x.storage.shape[-1]
    formats = g.dtype, x.dtype, format_of(weight)
    kernel = _kernel(n, *formats, targets, aligned(*arrays), centered)
    if kernel is None or x.storage.size == 0 or not contiguous(*arrays):
        return NotImplemented
    rows = x.storage.size // n
    blocks = min(RESIDENT * multiprocessors(), -(-rows // kernel.rows))
    to_x, *to_sums = targets
    assert to_x is not None
    dx = cupy.empty(shape, to_x.dtype.storage)
    wanted = [target for target in to_sums if target is not None]
    partials = cupy.empty((len(wanted), blocks, n), np.float32)
    first, last = (partials[:1], partials[-1:]) if wanted else (None, None)
    sizes = np.int64(rows), np.int32(n)
    arguments = (*arrays, mean, rstd, dx, first, last, *sizes)
    kernel.run((blocks,), (kernel.threads,), arguments)
    if len(set(wanted)) == 1:
        totals = iter(column_totals(partials, wanted[0]))
    else:
        totals = iter([column_totals(p[None], t)[0] for p, t in zip(partials, wanted, strict=True)])
    return dx, *(None if target is None else next(totals) for target in to_sums)
