"""The gradients of layer_norm and rms_norm with respect to x, weight and bias, in one pass.

    d = g·weight,   y = (x - mean)·rstd
    dx = rstd·(d - mean of d - y·mean of (d·y))      rms_norm: without the mean of d
    dweight = Σ over rows of g·y,   dbias = Σ over rows of g

Memory: reads g and x once, writes dx once. A row is held in the registers of as many threads as it
has pieces of 16 bytes, and the next one is asked for while they sum. A thread has the same columns
of every row: it keeps their sums for dweight and dbias in registers too. They leave the block once,
at the end, and `columns` adds up those of all blocks.

Error: float32 operations in the rule's order, but for that of the sums, which depends on the shapes
and the GPU alone; a product that is added to something is not rounded before, and means are sums
times 1/n, rounded. Nothing is atomic.
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
constexpr int block = threads * groups, warps = threads / 32, held = pieces * elements;

template <bool first, class A, class B> struct Choice { typedef A type; };
template <class A, class B> struct Choice<false, A, B> { typedef B type; };

// A piece in registers of 32 bits: words of 16 would take one each where they are kept for long.
template <class Format> struct alignas(widest(elements * sizeof(typename Format::word))) Kept {
    static constexpr int bytes = elements * sizeof(typename Format::word);
    static constexpr bool narrow = sizeof(typename Format::word) == 2;
    typename Choice<bytes % 4 == 0, uint32, uint16>::type parts[bytes % 4 == 0 ? bytes / 4 : 1];

    __device__ __forceinline__ float operator[](int i) const {
        if constexpr (narrow) return decode<Format>((uint16)(parts[i / 2] >> i % 2 * 16));
        else return __uint_as_float(parts[i]);
    }
};

// What a thread holds of a row as it is stored.
struct Row {
    Kept<G> g[pieces];
    Kept<X> x[pieces];
    float mean, rstd;
};

struct alignas(8) Sums { float shift, scale; };

// The sums over each group's threads.
__device__ __forceinline__ Sums over_row(Sums sums, int turn) {
    #pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        if (centered) sums.shift += __shfl_xor_sync(0xffffffffu, sums.shift, distance);
        sums.scale += __shfl_xor_sync(0xffffffffu, sums.scale, distance);
    }
    if constexpr (warps > 1) {
        __shared__ Sums parts[2][block / 32];  // in turns, so that one barrier does
        if (threadIdx.x % 32 == 0) parts[turn][threadIdx.x / 32] = sums;
        __syncthreads();
        const Sums *mine = parts[turn] + threadIdx.x / threads * warps;
        sums = mine[0];
        #pragma unroll 4
        for (int w = 1; w < warps; ++w) {
            sums.shift += mine[w].shift;
            sums.scale += mine[w].scale;
        }
    }
    return sums;
}

// Adds up what the groups of a block hold, and writes it as a row of partial sums.
__device__ __forceinline__ void keep(const float (&sums)[held], float *row, int n) {
    if constexpr (groups == 1) {
        #pragma unroll
        for (int p = 0; p < pieces; ++p) {
            const int column = (p * threads + threadIdx.x) * elements;
            #pragma unroll
            for (int i = 0; i < elements; ++i)
                if (column + i < n) row[column + i] = sums[p * elements + i];
        }
    } else {  // rows have a single piece a thread
        __shared__ float of_groups[elements][block];
        __syncthreads();
        #pragma unroll
        for (int i = 0; i < elements; ++i) of_groups[i][threadIdx.x] = sums[i];
        __syncthreads();
        for (int j = threadIdx.x; j < elements * threads; j += block) {
            const int i = j / threads, lane = j % threads;
            float total = of_groups[i][lane];
            #pragma unroll
            for (int k = 1; k < groups; ++k) total += of_groups[i][k * threads + lane];
            if (lane * elements + i < n) row[lane * elements + i] = total;
        }
    }
}

extern "C" __global__ void __launch_bounds__(block, resident)
layer_norm_gradient(const G::word *__restrict__ g, const X::word *__restrict__ x,
                    const Weight::word *__restrict__ weight, const float *__restrict__ mean_in,
                    const float *__restrict__ rstd_in, Dx::word *__restrict__ dx,
                    float *__restrict__ partials, long long rows, int n) {
    const int lane = threadIdx.x % threads;
    const auto column_of = [&](int p) { return (p * threads + lane) * elements; };
    const auto ask = [&](long long row) {
        Row asked = {};
        if (row >= rows) return asked;
        #pragma unroll
        for (int p = 0; p < pieces; ++p)
            if (column_of(p) < n) {
                asked.g[p] = *reinterpret_cast<const Kept<G> *>(g + row * n + column_of(p));
                asked.x[p] = *reinterpret_cast<const Kept<X> *>(x + row * n + column_of(p));
            }
        if (centered) asked.mean = mean_in[row];
        asked.rstd = rstd_in[row];
        return asked;
    };
    Piece<Weight, elements> factors[pieces] = {};  // 0 beyond the end of a row, as g is
    #pragma unroll
    for (int p = 0; p < pieces; ++p)
        if (weighted && column_of(p) < n)
            factors[p] = piece_at<Weight, elements>(weight + column_of(p));

    float weight_sums[held] = {}, bias_sums[held] = {};
    const float share = 1.0f / (float)n;
    const long long stride = (long long)gridDim.x * groups;
    long long first = (long long)blockIdx.x * groups, row = first + threadIdx.x / threads;
    Row next = ask(row);
    int turn = 0;
    // All groups go round equally often: they wait for each other in over_row. A group without a
    // row of its own has zeros.
    for (; first < rows; first += stride, row += stride, turn ^= 1) {
        const float mean = next.mean, rstd = next.rstd;
        float d[held], y[held];
        Sums sums = {};
        #pragma unroll
        for (int p = 0; p < pieces; ++p)
            #pragma unroll
            for (int i = 0; i < elements; ++i) {
                const int j = p * elements + i;
                const bool inside = pieces == 1 || column_of(p) < n;
                const float gradient = inside ? next.g[p][i] : 0.0f;
                y[j] = inside ? (next.x[p][i] - mean) * rstd : 0.0f;
                d[j] = weighted && inside ? gradient * factors[p][i] : gradient;
                sums.shift += d[j];
                sums.scale = fmaf(d[j], y[j], sums.scale);
                if (sums_weight) weight_sums[j] = fmaf(gradient, y[j], weight_sums[j]);
                if (sums_bias) bias_sums[j] += gradient;
            }
        next = ask(row + stride);  // on its way while the threads wait for each other
        sums = over_row(sums, turn);
        const float shift = centered ? sums.shift * share : 0.0f, scale = sums.scale * share;
        #pragma unroll
        for (int p = 0; p < pieces; ++p) {
            if (row >= rows || column_of(p) >= n) break;
            float values[elements];
            #pragma unroll
            for (int i = 0; i < elements; ++i) {
                const int j = p * elements + i;
                values[i] = rstd * fmaf(-y[j], scale, centered ? d[j] - shift : d[j]);
            }
            write<Dx, mode>(dx + row * n + column_of(p), values);
        }
    }
    // partials: (dweight, dbias, as far as they are wanted; blocks; n)
    float *own = partials + (long long)blockIdx.x * n;
    if (sums_weight) keep(weight_sums, own, n);
    if (sums_bias) keep(bias_sums, own + (sums_weight ? (long long)gridDim.x * n : 0), n);
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
    return Kernel(run, layout.groups, layout.groups * layout.threads)


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
    sizes = np.int64(rows), np.int32(n)
    arguments = (*arrays, mean, rstd, dx, partials, *sizes)
    kernel.run((blocks,), (kernel.threads,), arguments)
    if len(wanted) > 1 and len(set(wanted)) == 1:
        totals = iter(column_totals(partials, wanted[0]))
    else:
        totals = iter([column_totals(p[None], t) for p, t in zip(partials, wanted, strict=True)])
    return dx, *(None if target is None else next(totals) for target in to_sums)
