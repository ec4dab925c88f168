"""layer_norm and rms_norm: each row of n elements normalised, scaled and shifted.

    out = (x - mean)·rstd·weight + bias,    rstd = 1 / √(mean of (x - mean)² + eps)

rms_norm takes the mean for 0 and has no bias. x, out (..., n); weight, bias (n,); mean and rstd
(..., 1), float32, kept for backward.

Memory: reads x once, writes out once; the statistics are 8 bytes a row, weight and bias come out of
caches. A row is held in the registers of a warp, from 1024 elements of 2 bytes on of several.

Error: float32 operations in the rule's order, but for means, which are sums times 1/n, rounded. The
sums have an order of their own, in which no term passes through more than n/threads + 5 +
threads/32 additions (threads: 32 to 512).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinymp.devices.kernels.operands import aligned, contiguous, format_of, readable, writable
from tinymp.devices.kernels.pieces import PIECES, row_layout, rows_of_a_block
from tinymp.devices.kernels.template import instance, once_a_device
from tinymp.devices.kernels.twin import Target

SOURCE = (
    PIECES
    + r"""
constexpr int groups = threads == 32 ? 4 : 1;  // rows of a block

extern "C" __global__ void __launch_bounds__(threads * groups)
layer_norm(const X::word *__restrict__ x, const Weight::word *__restrict__ weight,
           const Bias::word *__restrict__ bias, Out::word *__restrict__ out,
           float *__restrict__ mean_out, float *__restrict__ rstd_out,
           long long rows, int n, float share, float eps) {
    const long long row = (long long)blockIdx.x * groups + threadIdx.x / threads;
    const int lane = threadIdx.x % threads;
    if (row >= rows) return;  // a whole warp; several warps have a block of their own

    Piece<X, elements> held[pieces];
    #pragma unroll
    for (int p = 0; p < pieces; ++p) {
        const int column = (p * threads + lane) * elements;
        if (column < n) held[p] = piece_at<X, elements>(x + row * n + column);
    }
    float mean = 0;
    if constexpr (centered) {
        float total = 0;
        #pragma unroll
        for (int p = 0; p < pieces; ++p)
            if ((p * threads + lane) * elements < n)
                #pragma unroll
                for (int i = 0; i < elements; ++i) total += held[p][i];
        mean = over_group<Add, threads, groups>(total) * share;
    }
    float squares = 0;
    #pragma unroll
    for (int p = 0; p < pieces; ++p)
        if ((p * threads + lane) * elements < n)
            #pragma unroll
            for (int i = 0; i < elements; ++i) {
                const float deviation = held[p][i] - mean;
                squares += deviation * deviation;
            }
    const float variance = over_group<Add, threads, groups>(squares) * share;
    const float rstd = 1.0f / sqrtf(variance + eps);

    #pragma unroll
    for (int p = 0; p < pieces; ++p) {
        const int column = (p * threads + lane) * elements;
        if (column >= n) break;
        float values[elements];
        #pragma unroll
        for (int i = 0; i < elements; ++i) values[i] = (held[p][i] - mean) * rstd;
        if constexpr (weighted) {
            const auto factors = piece_at<Weight, elements>(weight + column);
            #pragma unroll
            for (int i = 0; i < elements; ++i) values[i] *= factors[i];
        }
        if constexpr (biased) {
            const auto shifts = piece_at<Bias, elements>(bias + column);
            #pragma unroll
            for (int i = 0; i < elements; ++i) values[i] += shifts[i];
        }
        write<Out, mode>(out + row * n + column, values);
    }
    if (lane == 0) {
        if constexpr (centered) mean_out[row] = mean;
        rstd_out[row] = rstd;
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
    n: int, x: Any, weight: Any, bias: Any, target: Target, aligned: bool, centered: bool
) -> Kernel | None:
    """The kernel for operands of these formats; None where none serves."""
    if not (readable(x, weight, bias) and writable(target)) or n == 0:
        return None
    layout = row_layout(n, x.itemsize, aligned)
    if layout is None:
        return None
    run = instance(
        "layer_norm",
        SOURCE,
        X=x,
        Weight=weight or x,
        Bias=bias or x,
        Out=target.dtype,
        mode=target.mode,
        weighted=weight is not None,
        biased=bias is not None,
        centered=centered,
        **layout._asdict(),
    )
    rows = rows_of_a_block(layout.threads)
    return Kernel(run, rows, rows * layout.threads)


def layer_norm(x: Any, weight: Any = None, bias: Any = None, *, eps: float, target: Target) -> Any:
    """Twin of the rule: storage of the result, mean and rstd."""
    return _normalised(x, weight, bias, eps, target, True)


def rms_norm(x: Any, weight: Any = None, *, eps: float, target: Target) -> Any:
    """Twin of the rule: storage of the result, and 1 / rms."""
    result = _normalised(x, weight, None, eps, target, False)
    return result if result is NotImplemented else (result[0], result[2])


def _normalised(x: Any, weight: Any, bias: Any, eps: float, target: Target, centered: bool) -> Any:
    import cupy

    arrays = [x.storage, *[None if p is None else p.storage for p in (weight, bias)]]
    shape, size = x.storage.shape, x.storage.size
    formats = x.dtype, format_of(weight), format_of(bias)
    kernel = _kernel(shape[-1], *formats, target, aligned(*arrays), centered)
    if kernel is None or size == 0 or not contiguous(*arrays):
        return NotImplemented
    rows = size // shape[-1]
    out = cupy.empty(shape, target.dtype.storage)
    mean = cupy.empty((*shape[:-1], 1), np.float32) if centered else None
    rstd = cupy.empty((*shape[:-1], 1), np.float32)
    sizes = np.int64(rows), np.int32(shape[-1]), np.float32(1 / shape[-1])
    grid = (-(-rows // kernel.rows),)
    kernel.run(grid, (kernel.threads,), (*arrays, out, mean, rstd, *sizes, np.float32(eps)))
    return out, mean, rstd
