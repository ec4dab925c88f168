"""dropout with its random numbers: drawn, compared and used in one pass.

    keep = u ≥ p,   out = x / (1 - p) where keep, else 0

u is what `devices.random.uniform` gives for the same seed and draw, bit for bit: the upper 24 bits
of Philox words, one word an element. keep (bool, a byte an element) is kept for backward.

Memory: reads x once, writes out and keep once. One thread makes the 8 words of a Philox block
(`devices.philox` says which), and handles 8 elements with them.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np

from tinymp.devices.kernels.operands import aligned, contiguous, readable, writable
from tinymp.devices.kernels.philox import MOST, PARAMETERS, PHILOX, stream_arguments
from tinymp.devices.kernels.pieces import PIECES
from tinymp.devices.kernels.template import instance, once_a_device
from tinymp.devices.kernels.twin import Target

SOURCE = (
    PIECES
    + PHILOX
    + r"""
// All x / divisor as a division rounds them, in fewer instructions: quotients by the rounded
// reciprocal, corrected twice by their exact remainders (Markstein, IBM J. Res. Dev. 34(1), 1990,
// pages 112-115). Where a step could under- or overflow, which float16 cannot make happen, it is a
// division. Remainders are taken negative, so that a zero keeps its sign.
template <int count>
__device__ __forceinline__ void divide(float (&x)[count], float divisor, float reciprocal) {
    bool within = true;
    float quotients[count];
    #pragma unroll
    for (int i = 0; i < count; ++i) {
        float q = x[i] * reciprocal;
        q = fmaf(-fmaf(q, divisor, -x[i]), reciprocal, q);
        quotients[i] = fmaf(-fmaf(q, divisor, -x[i]), reciprocal, q);
        const float size = fabsf(x[i]);
        within &= (size > 0x1p-100f || size == 0) && size < 0x1p100f;
    }
    if (within || moderate)
        #pragma unroll
        for (int i = 0; i < count; ++i) x[i] = quotients[i];
    else
        #pragma unroll
        for (int i = 0; i < count; ++i) x[i] = x[i] / divisor;
}

// lowest: the smallest word that keeps its element, if any does. divisor: 1 - p.
extern "C" __global__ void __launch_bounds__(256)
dropout(const X::word *__restrict__ x, Out::word *__restrict__ out, bool *__restrict__ keep,
        long long size, """
    + PARAMETERS
    + r""", uint32 lowest, bool any, float divisor, float reciprocal) {
    const uint32 block = blockIdx.x * 256 + threadIdx.x;
    const long long first = 8ll * block;
    if (first >= size) return;
    const Stream stream = {seed, second_0, second_2, second_3};
    if (first + 8 > size) {
        uint32 words[8];
        philox(block, stream, words);
        #pragma unroll
        for (int i = 0; i < 8; ++i) {
            if (first + i >= size) break;
            float value[1] = {decode<X>(x[first + i])};
            divide(value, divisor, reciprocal);
            const bool kept = words[i] >= lowest && any;
            keep[first + i] = kept;
            out[first + i] = encode<Out, mode>(kept ? value[0] : 0.0f);
        }
        return;
    }
    const auto piece = piece_at<X, 8>(x + first);
    uint32 words[8];
    philox(block, stream, words);
    float values[8];
    #pragma unroll
    for (int i = 0; i < 8; ++i) values[i] = piece[i];
    divide(values, divisor, reciprocal);
    union { bool kept[8]; uint2 word; } mask;
    #pragma unroll
    for (int i = 0; i < 8; ++i) {
        mask.kept[i] = words[i] >= lowest && any;
        values[i] = mask.kept[i] ? values[i] : 0.0f;
    }
    write<Out, mode>(out + first, values);
    *reinterpret_cast<uint2 *>(keep + first) = mask.word;
}
"""
)


@once_a_device
def _kernel(x: Any, target: Target) -> Any:
    """The kernel for these formats; None where none serves."""
    if not (readable(x) and writable(target)):
        return None
    moderate = x.smallest_subnormal > 2.0**-100 and x.max < 2.0**100
    return instance("dropout", SOURCE, X=x, Out=target.dtype, mode=target.mode, moderate=moderate)


def dropout(x: Any, *, p: float, seed: int, draw: int, target: Target) -> Any:
    """Storage of the result, and of the mask: what `uniform(...) >= p` and the rule give."""
    import cupy

    storage = x.storage
    size, kernel = storage.size, _kernel(x.dtype, target)
    if kernel is None or not 0 < size < MOST or not (contiguous(storage) and aligned(storage)):
        return NotImplemented
    out = cupy.empty(storage.shape, target.dtype.storage)
    keep = cupy.empty(storage.shape, np.bool_)
    # A float32 u is compared with p rounded to float32; both times 2^24 are exact.
    lowest = ceil(float(np.float32(p)) * 2.0**24) << 8
    divisor = np.float32(1 - p)
    with np.errstate(divide="ignore"):
        reciprocal = 1 / divisor  # unused where p is 1
    arguments = (
        *(storage, out, keep, np.int64(size), *stream_arguments(seed, draw)),
        *(np.uint32(lowest % 2**32), np.bool_(lowest < 2**32), divisor, reciprocal),
    )
    kernel((-(-size // (8 * 256)),), (256,), arguments)
    return out, keep
