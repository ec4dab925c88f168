"""embedding, forward: rows of a table, gathered.

    out[i] = weight[tokens[i]]

tokens (...) int64, weight (rows, features) of any format, out (..., features). Words are moved, not
decoded. A token outside 0 ... rows - 1 gives a row of NaN: finding it on the host would mean
waiting for the GPU in every step.

Memory: reads a row and writes a row for each token.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.devices.kernels.operands import WIDEST, contiguous
from tinymp.devices.kernels.template import instance, once_a_device
from tinymp.devices.kernels.twin import Target

# A warp copies a row, `unit` bytes a lane at a time.
SOURCE = r"""
template <int bytes> struct Unit;
template <> struct Unit<1> { typedef uint8 type; };
template <> struct Unit<2> { typedef uint16 type; };
template <> struct Unit<4> { typedef uint32 type; };
template <> struct Unit<8> { typedef uint2 type; };
template <> struct Unit<16> { typedef uint4 type; };

// Every element of a unit is the word `word`, of `bytes` bytes.
template <class T> __device__ __forceinline__ T filled_with(uint64 word, int bytes) {
    union { T unit; uint8 byte[sizeof(T)]; } result;
    for (int i = 0; i < (int)sizeof(T); ++i) result.byte[i] = word >> 8 * (i % bytes);
    return result.unit;
}

extern "C" __global__ void __launch_bounds__(128)
embedding(const long long *__restrict__ tokens, const void *__restrict__ weight,
          void *__restrict__ out, long long count, long long rows, int units,
          uint64 nan_word, int word_bytes) {
    typedef Unit<unit>::type T;
    const long long i = (long long)blockIdx.x * 4 + threadIdx.x / 32;
    if (i >= count) return;
    const long long token = tokens[i];
    const T *from = (const T *)weight + token * units;
    T *to = (T *)out + i * units;
    if (token < 0 || token >= rows) {
        const T nan = filled_with<T>(nan_word, word_bytes);
        for (int u = threadIdx.x % 32; u < units; u += 32) to[u] = nan;
        return;
    }
    constexpr int batch = 4;  // units that are asked for before the first is waited for
    for (int first = threadIdx.x % 32; first < units; first += batch * 32) {
        T held[batch];
        #pragma unroll
        for (int i = 0; i < batch; ++i)
            if (first + i * 32 < units) held[i] = from[first + i * 32];
        #pragma unroll
        for (int i = 0; i < batch; ++i)
            if (first + i * 32 < units) to[first + i * 32] = held[i];
    }
}
"""


@once_a_device
def _kernel(unit: int) -> Any:
    return instance("embedding", SOURCE, unit=unit)


def embedding(tokens: Any, weight: Any, *, target: Target) -> Any:
    """Twin of the rule: storage of the rows."""
    import cupy

    dtype = weight.dtype
    if target.dtype is not dtype or dtype.kind != "float":
        return NotImplemented
    if not contiguous(tokens.storage, weight.storage):
        return NotImplemented
    rows, features = weight.storage.shape
    count, row_bytes = tokens.storage.size, features * dtype.itemsize
    out = cupy.empty((*tokens.storage.shape, features), dtype.storage)
    if out.size == 0 or rows == 0:
        return NotImplemented
    unit = next(u for u in (WIDEST, 8, 4, 2, 1) if (row_bytes | weight.storage.data.ptr) % u == 0)
    arguments = (
        *(tokens.storage, weight.storage, out),
        *(np.int64(count), np.int64(rows), np.int32(row_bytes // unit)),
        *(np.uint64(dtype.nan_word), np.int32(dtype.itemsize)),
    )
    _kernel(unit)((-(-count // 4),), (128,), arguments)
    return out
