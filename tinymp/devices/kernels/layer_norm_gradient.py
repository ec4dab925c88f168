"""The gradients of layer_norm and rms_norm with respect to x, weight and bias, in one pass.

    d = g·weight,   y = (x - mean)·rstd
    dx = rstd·(d - mean of d - y·mean of (d·y))      rms_norm: without the mean of d
    dweight = Σ over rows of g·y,   dbias = Σ over rows of g

Memory: reads g and x once, writes dx once. A group of threads takes row after row, and the next
ones are on their way meanwhile (`ahead`). A thread has the same columns of every row: it keeps
their sums for dweight and dbias in registers. They leave the block once, at the end, and `columns`
adds up those of all blocks.

Error: float32 operations in the rule's order, but for that of the sums, which depends on the shapes
and the GPU alone; a product that is added to something is not rounded before, and means are sums
times 1/n, rounded. Nothing is atomic.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinymp.devices.kernels.ahead import AHEAD
from tinymp.devices.kernels.columns import column_totals
from tinymp.devices.kernels.operands import (
    WIDEST,
    aligned,
    allow_shared_memory,
    contiguous,
    format_of,
    multiprocessors,
    readable,
    shared_memory,
    writable,
)
from tinymp.devices.kernels.pair_sums import PAIR_SUMS
from tinymp.devices.kernels.pieces import PIECES
from tinymp.devices.kernels.template import instance, once_a_device
from tinymp.devices.kernels.twin import Target

Targets = tuple[Target | None, Target | None, Target | None]

BLOCK = 768  # threads of a block, if rows are not longer; a multiprocessor has one block
MANY = 16  # rounds of a block's threads from which on two rows a group are under way, not one
OTHER_SHARED = 3 << 10  # bytes of shared memory for sums, and what CUDA keeps for itself

SOURCE = (
    PIECES
    + AHEAD
    + PAIR_SUMS
    + r"""
// So padded, the columns that a warp reads in `keep` lie in 32 banks of shared memory.
constexpr int padded = threads * groups + 32 / elements;
constexpr int block = threads * groups, held = pieces * elements;

extern __shared__ uint4 shared[];

// Adds up what the groups of a block hold, and writes it as a row of partial sums.
__device__ __forceinline__ void keep(const float (&sums)[held], float *row, int n) {
    float *of_groups = reinterpret_cast<float *>(shared);  // (elements, padded)
    #pragma unroll
    for (int p = 0; p < pieces; ++p) {
        __syncthreads();
        #pragma unroll
        for (int i = 0; i < elements; ++i)
            of_groups[i * padded + threadIdx.x] = sums[p * elements + i];
        __syncthreads();
        for (int j = threadIdx.x; j < elements * threads; j += block) {
            const int lane = j / elements, column = p * threads * elements + j;
            const float *first = of_groups + j % elements * padded + lane;
            float total = first[0];
            #pragma unroll
            for (int k = 1; k < groups; ++k) total += first[k * threads];
            if (column < n) row[column] = total;
        }
    }
}

extern "C" __global__ void __launch_bounds__(block, 1)
layer_norm_gradient(const G::word *__restrict__ g, const X::word *__restrict__ x,
                    const Weight::word *__restrict__ weight, const float *__restrict__ mean,
                    const float *__restrict__ rstd, Dx::word *__restrict__ dx,
                    float *__restrict__ partials, long long rows, int n) {
    const int lane = threadIdx.x % threads, group = threadIdx.x / threads;
    const int first_column = lane * elements;
    const auto inside = [&](int p) {
        return fills_row || p * threads * elements + first_column < n;
    };
    // The rows of a group: how many, and where the first lies.
    const long long stride = (long long)gridDim.x * groups;
    const long long row = (long long)blockIdx.x * groups + group, step = stride * n;
    const int own_rows = row < rows ? (uint32)(rows - 1 - row) / (uint32)stride + 1 : 0;
    g += row * n + first_column;
    x += row * n + first_column;
    dx += row * n + first_column;
    mean += row;
    rstd += row;

    // Shared memory holds the next `depth` rows of each group; a thread reads what it asked for.
    Kept<G> *const next_g = reinterpret_cast<Kept<G> *>(shared) + threadIdx.x;
    Kept<X> *const next_x =
        reinterpret_cast<Kept<X> *>(next_g - threadIdx.x + depth * pieces * block) + threadIdx.x;
    const auto ask = [&](bool exists, int slot) {
        #pragma unroll
        for (int p = 0; p < pieces; ++p) {
            if (!exists || !inside(p)) break;
            fetch(next_g + (slot * pieces + p) * block, g + p * threads * elements);
            fetch(next_x + (slot * pieces + p) * block, x + p * threads * elements);
        }
        end_of_row();
        g += step;
        x += step;
    };
    #pragma unroll
    for (int slot = 0; slot < depth; ++slot) ask(row + slot * stride < rows, slot);
    float next_mean = centered && own_rows > 0 ? *mean : 0, next_rstd = own_rows > 0 ? *rstd : 0;
    Piece<Weight, elements> factors[pieces];
    #pragma unroll
    for (int p = 0; p < pieces; ++p)
        if (weighted && inside(p))
            factors[p] = piece_at<Weight, elements>(weight + p * threads * elements + first_column);

    float weight_sums[held] = {}, bias_sums[held] = {};
    const float share = 1.0f / (float)n;
    int slot = 0;
    for (int k = 0; k < own_rows; ++k) {
        const float m = next_mean, r = next_rstd;
        mean += stride;
        rstd += stride;
        if (k + 1 < own_rows) {
            if (centered) next_mean = *mean;
            next_rstd = *rstd;
        }
        await_row();
        float d[held], y[held];
        Sums sums = {};
        #pragma unroll
        for (int p = 0; p < pieces; ++p) {
            const Kept<G> piece_g = next_g[(slot * pieces + p) * block];
            const Kept<X> piece_x = next_x[(slot * pieces + p) * block];
            #pragma unroll
            for (int i = 0; i < elements; ++i) {
                const int j = p * elements + i;
                const float gradient = inside(p) ? piece_g[i] : 0.0f;
                y[j] = inside(p) ? (piece_x[i] - m) * r : 0.0f;
                d[j] = weighted && inside(p) ? gradient * factors[p][i] : gradient;
                if (centered) sums.of[0] += d[j];
                sums.of[1] = fmaf(d[j], y[j], sums.of[1]);
                if (sums_weight) weight_sums[j] = fmaf(gradient, y[j], weight_sums[j]);
                if (sums_bias) bias_sums[j] += gradient;
            }
        }
        ask(k + depth < own_rows, slot);
        slot = slot + 1 < depth ? slot + 1 : 0;
        sums = over_row(sums, group, k % 2);
        const float shift = sums.of[0] * share, scale = sums.of[1] * share;
        #pragma unroll
        for (int p = 0; p < pieces; ++p) {
            if (!inside(p)) break;
            float values[elements];
            #pragma unroll
            for (int i = 0; i < elements; ++i) {
                const int j = p * elements + i;
                values[i] = r * fmaf(-y[j], scale, centered ? d[j] - shift : d[j]);
            }
            write<Dx, mode>(dx + p * threads * elements, values);
        }
        dx += step;
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
    """A compiled kernel, the rows and threads of its blocks, and their bytes of shared memory."""

    run: Any
    rows: int
    threads: int
    shared: int


@once_a_device
def _kernel(
    n: int,
    g: Any,
    x: Any,
    weight: Any,
    targets: Targets,
    aligned: bool,
    centered: bool,
    rows_ahead: int,
) -> Kernel | None:
    """The kernel for operands of these formats; None where none serves."""
    to_x, to_weight, to_bias = targets
    if not (readable(g, x, weight) and writable(*targets)) or n == 0 or to_x is None:
        return None
    layout = layout_of(n, max(g.itemsize, x.itemsize), aligned)
    if layout is None:
        return None
    block = layout.groups * layout.threads
    sums = 4 * (layout.elements * block + 32)
    row = block * layout.pieces * layout.elements * (g.itemsize + x.itemsize)
    depth = min(rows_ahead, (shared_memory() - OTHER_SHARED) // row)
    if depth == 0:
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
        fills_row=layout.threads * layout.pieces * layout.elements == n,
        depth=depth,
        **layout._asdict(),
    )
    shared = max(depth * row, sums)
    allow_shared_memory(run, shared)
    return Kernel(run, layout.groups, block, shared)


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
    many = x.storage.nbytes >= MANY * WIDEST * BLOCK * multiprocessors()
    kernel = _kernel(n, *formats, targets, aligned(*arrays), centered, 2 if many else 1)
    if kernel is None or x.storage.size == 0 or not contiguous(*arrays):
        return NotImplemented
    rows = x.storage.size // n
    if rows >= 2**31:
        return NotImplemented
    blocks = min(multiprocessors(), -(-rows // kernel.rows))
    to_x, *to_sums = targets
    assert to_x is not None
    dx = cupy.empty(shape, to_x.dtype.storage)
    wanted = [target for target in to_sums if target is not None]
    partials = cupy.empty((len(wanted), blocks, n), np.float32)
    sizes = np.int64(rows), np.int32(n)
    arguments = (*arrays, mean, rstd, dx, partials, *sizes)
    kernel.run((blocks,), (kernel.threads,), arguments, shared_mem=kernel.shared)
    if len(wanted) > 1 and len(set(wanted)) == 1:
        totals = iter(column_totals(partials, wanted[0]))
    else:
        totals = iter([column_totals(p[None], t) for p, t in zip(partials, wanted, strict=True)])
    return dx, *(None if target is None else next(totals) for target in to_sums)
