"""The gradients of softmax and log_softmax along the last dimension.

    softmax      dx = scale·out·(g - Σ g·out)
    log_softmax  dx = g - e^out·Σ g

`scale` is that of attention's scores, 1 otherwise. Where causal attention hides a key its weight is
0, so dx is 0 there without a mask.

Memory: reads g and out once, writes dx once. A row is held in the registers of a warp or a block;
up to 16384 elements of 2 bytes fit.

Error: float32 operations in the rule's order, e^out by `exponential` (its bound is there); no term
of the sums passes through more than n/threads + 5 + threads/32 additions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.devices.kernels.operands import aligned, contiguous, readable, writable
from tinymp.devices.kernels.pieces import PIECES, row_layout, rows_of_a_block
from tinymp.devices.kernels.softmax import EXPONENTIAL, Kernel
from tinymp.devices.kernels.template import instance, once_a_device
from tinymp.devices.kernels.twin import Target

SOURCE = (
    PIECES
    + EXPONENTIAL
    + r"""
constexpr int groups = threads == 32 ? 4 : 1;  // rows of a block

extern "C" __global__ void __launch_bounds__(threads * groups)
softmax_gradient(const G::word *__restrict__ g, const Y::word *__restrict__ out,
                 Dx::word *__restrict__ dx, long long rows, int n, float scale) {
    const long long row = (long long)blockIdx.x * groups + threadIdx.x / threads;
    const int lane = threadIdx.x % threads;
    if (row >= rows) return;  // a whole warp; several warps have a block of their own

    Piece<G, elements> g_held[pieces];
    Piece<Y, elements> out_held[pieces];
    #pragma unroll
    for (int p = 0; p < pieces; ++p) {
        const int column = (p * threads + lane) * elements;
        if (column < n) {
            g_held[p] = piece_at<G, elements>(g + row * n + column);
            out_held[p] = piece_at<Y, elements>(out + row * n + column);
        }
    }
    float total = 0;
    #pragma unroll
    for (int p = 0; p < pieces; ++p)
        if ((p * threads + lane) * elements < n)
            #pragma unroll
            for (int i = 0; i < elements; ++i)
                total += logarithm ? g_held[p][i] : g_held[p][i] * out_held[p][i];
    total = over_group<Add, threads, groups>(total);
    #pragma unroll
    for (int p = 0; p < pieces; ++p) {
        const int column = (p * threads + lane) * elements;
        if (column >= n) break;
        float values[elements];
        #pragma unroll
        for (int i = 0; i < elements; ++i) {
            const float gradient = g_held[p][i], y = out_held[p][i];
            values[i] = logarithm ? gradient - exponential(y) * total
                                  : y * (gradient - total) * scale;
        }
        write<Dx, mode>(dx + row * n + column, values);
    }
}
"""
)


@once_a_device
def _kernel(
    n: int, g: Any, out: Any, target: Target, aligned: bool, logarithm: bool
) -> Kernel | None:
    """The kernel for operands of these formats; None where none serves."""
    layout = row_layout(n, max(g.itemsize, out.itemsize), aligned, most=4)
    if not (readable(g, out) and writable(target)) or n == 0 or layout is None:
        return None
    run = instance(
        "softmax_gradient",
        SOURCE,
        G=g,
        Y=out,
        Dx=target.dtype,
        mode=target.mode,
        logarithm=logarithm,
        **layout._asdict(),
    )
    rows = rows_of_a_block(layout.threads)
    return Kernel(run, rows, rows * layout.threads)


def softmax_gradient(g: Any, out: Any, dim: int, *, targets: tuple[Target]) -> Any:
    """Twin of the rule: gradient of x."""
    return _over_rows(g, out, targets[0], dim, 1.0, False)


def log_softmax_gradient(g: Any, out: Any, dim: int, *, targets: tuple[Target]) -> Any:
    """Twin of the rule: gradient of x."""
    return _over_rows(g, out, targets[0], dim, 1.0, True)


def causal_softmax_gradient(g: Any, weights: Any, *, scale: float, target: Target) -> Any:
    """Storage of the gradient of causal attention's scores, from that of its weights."""
    result = _over_rows(g, weights, target, weights.storage.ndim - 1, scale, False)
    return result if result is NotImplemented else result[0]


def _over_rows(g: Any, out: Any, target: Target, dim: int, scale: float, logarithm: bool) -> Any:
    import cupy

    arrays = g.storage, out.storage
    shape = out.storage.shape
    if dim != len(shape) - 1 or out.storage.size == 0 or not contiguous(*arrays):
        return NotImplemented
    n = shape[-1]
    kernel = _kernel(n, g.dtype, out.dtype, target, aligned(*arrays), logarithm)
    if kernel is None:
        return NotImplemented
    rows = out.storage.size // n
    dx = cupy.empty(shape, target.dtype.storage)
    sizes = np.int64(rows), np.int32(n)
    grid = (-(-rows // kernel.rows),)
    kernel.run(grid, (kernel.threads,), (*arrays, dx, *sizes, np.float32(scale)))
    return (dx,)
