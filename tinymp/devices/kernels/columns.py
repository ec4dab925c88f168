"""The last step of sums over many rows: the partial sums of blocks, added up and rounded.

    out[k, j] = Σ_i partials[k, i, j] / divisor       partials (k, count, n) float32, out (k, n)

Memory: reads the partial sums once. They were made by at most a few hundred blocks, so they are few
beside what those read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.devices.kernels.operands import multiprocessors
from tinymp.devices.kernels.template import instance, once_a_device
from tinymp.devices.kernels.twin import Target

# A block has 32 columns, and `parts` threads for each, which ask for `batch` rows at a time.
SOURCE = r"""
extern "C" __global__ void __launch_bounds__(32 * parts)
column_totals(const float *__restrict__ partials, Out::word *__restrict__ out,
              int count, int n, float divisor) {
    const int in_block = threadIdx.x % 32, part = threadIdx.x / 32;
    const int column = blockIdx.x * 32 + in_block;
    partials += (long long)blockIdx.y * count * n;
    float total = 0;
    if (column < n) {
        for (int first = part; first < count; first += batch * parts) {
            float held[batch];
            #pragma unroll
            for (int i = 0; i < batch; ++i) {
                const int row = first + i * parts;
                held[i] = row < count ? partials[(long long)row * n + column] : 0.0f;
            }
            #pragma unroll
            for (int i = 0; i < batch; ++i) total += held[i];
        }
    }
    __shared__ float totals[parts][32];
    totals[part][in_block] = total;
    __syncthreads();
    if (part > 0 || column >= n) return;
    #pragma unroll
    for (int i = 1; i < parts; ++i) total += totals[i][in_block];
    out[(long long)blockIdx.y * n + column] = encode<Out, mode>(total / divisor);
}
"""


@once_a_device
def _kernel(target: Target, parts: int, batch: int) -> Any:
    to = {"Out": target.dtype, "mode": target.mode}
    return instance("column_totals", SOURCE, parts=parts, batch=batch, **to)


def column_totals(partials: Any, target: Target, divisor: int = 1) -> Any:
    """Storage of the sums of the columns of matrices `partials`, float32 of (k, count, n): (k, n),
    or (n,) of a single one.

    Adding zeros where there are no more partial sums turns a sum of -0 alone into 0.
    """
    import cupy

    k, count, n = partials.shape
    out = cupy.empty((k, n) if k > 1 else n, target.dtype.storage)
    arguments = (partials, out, np.int32(count), np.int32(n), np.float32(divisor))
    blocks = -(-n // 32)
    # Few blocks with many rows: more threads, which have an H200's 132 rows in a single batch.
    parts, batch = (32, 5) if count > 64 and k * blocks <= multiprocessors() else (16, 8)
    _kernel(target, parts, batch)((blocks, k), (32 * parts,), arguments)
    return out
