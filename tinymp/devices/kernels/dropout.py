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
from tinymp.devices.kernels.pieces import PIECES
from tinymp.devices.kernels.template import instance, once_a_device
from tinymp.devices.kernels.twin import Target

SOURCE = (
    PIECES
    + r"""
// Philox4x64-10 (Salmon, Moraes, Dror, Shaw, SC 2011, section 3): 8 random words of 32 bits.
__device__ __forceinline__ void philox(uint64 block, uint64 seed, uint64 draw, uint32 (&words)[8]) {
    uint64 c0 = block + 1, c1 = 0, c2 = draw, c3 = 0, k0 = seed, k1 = 0;
    #pragma unroll
    for (int round = 0; round < 10; ++round) {
        const uint64 m0 = 0xD2E7470EE14C6C93ull, m1 = 0xCA5A826395121157ull;
        const uint64 high0 = __umul64hi(m0, c0), low0 = m0 * c0;
        const uint64 high1 = __umul64hi(m1, c2), low1 = m1 * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B97F4A7C15ull;
        k1 += 0xBB67AE8584CAA73Bull;
    }
    const uint64 quarters[4] = {c0, c1, c2, c3};
    #pragma unroll
    for (int i = 0; i < 8; ++i) words[i] = quarters[i / 2] >> i % 2 * 32;
}

// All x / divisor as a division rounds them, in fewer instructions: quotients by the rounded
// reciprocal, corrected twice by their exact remainders (Markstein, IBM J. Res. Dev. 34(1), 1990,
// pages 112-115). Where a step could under- or overflow, which float16 cannot make happen, it is a
// division. The divisor is positive: a zero keeps its sign.
template <int count>
__device__ __forceinline__ void divide(float (&x)[count], float divisor, float reciprocal) {
    bool within = true;
    float quotients[count];
    #pragma unroll
    for (int i = 0; i < count; ++i) {
        float q = x[i] * reciprocal;
        q = fmaf(fmaf(-q, divisor, x[i]), reciprocal, q);
        q = fmaf(fmaf(-q, divisor, x[i]), reciprocal, q);
        quotients[i] = copysignf(q, x[i]);
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

// threshold: the smallest k with k·2^-24 ≥ p. divisor: 1 - p.
extern "C" __global__ void __launch_bounds__(256)
dropout(const X::word *__restrict__ x, Out::word *__restrict__ out, bool *__restrict__ keep,
        long long size, uint64 seed, uint64 draw, uint32 threshold,
        float divisor, float reciprocal) {
    const uint64 block = (uint64)blockIdx.x * 256 + threadIdx.x;
    const long long first = 8 * block;
    if (first >= size) return;
    const bool whole = first + 8 <= size;
    float values[8];
    if (whole) {
        const auto piece = piece_at<X, 8>(x + first);
        #pragma unroll
        for (int i = 0; i < 8; ++i) values[i] = piece[i];
    } else {
        #pragma unroll
        for (int i = 0; i < 8; ++i) values[i] = first + i < size ? decode<X>(x[first + i]) : 0.0f;
    }
    uint32 words[8];
    philox(block, seed, draw, words);
    divide(values, divisor, reciprocal);
    union { bool kept[8]; uint2 word; } mask;
    #pragma unroll
    for (int i = 0; i < 8; ++i) {
        mask.kept[i] = words[i] >> 8 >= threshold;
        values[i] = mask.kept[i] ? values[i] : 0.0f;
    }
    if (whole) {
        write<Out, mode>(out + first, values);
        *reinterpret_cast<uint2 *>(keep + first) = mask.word;
        return;
    }
    #pragma unroll
    for (int i = 0; i < 8; ++i) {
        if (first + i >= size) break;
        keep[first + i] = mask.kept[i];
        out[first + i] = encode<Out, mode>(values[i]);
    }
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
    if kernel is None or size == 0 or not (contiguous(storage) and aligned(storage)):
        return NotImplemented
    out = cupy.empty(storage.shape, target.dtype.storage)
    keep = cupy.empty(storage.shape, np.bool_)
    # A float32 u is compared with p rounded to float32; both times 2^24 are exact.
    threshold = ceil(float(np.float32(p)) * 2.0**24)
    divisor = np.float32(1 - p)
    with np.errstate(divide="ignore"):
        reciprocal = 1 / divisor  # unused where p is 1
    arguments = (
        *(storage, out, keep, np.int64(size), np.uint64(seed), np.uint64(draw)),
        *(np.uint32(threshold), divisor, reciprocal),
    )
    kernel((-(-size // (8 * 256)),), (256,), arguments)
    return out, keep
