"""Random words where they are used: Philox4x64-10 inside a kernel, instead of words in memory.

One thread makes a block of the stream, 8 words of 32 bits (`devices.philox` says which), in the
first two of whose ten rounds most is the same for all blocks: the host does that part. Source:
Salmon, Moraes, Dror, Shaw, Parallel random numbers: as easy as 1, 2, 3 (SC 2011), section 3.
"""

from __future__ import annotations

import numpy as np

#: Elements that a kernel may draw for: the number of a block, plus one, has 32 bits.
MOST = 1 << 34

_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_STEPS = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_ALL_BITS = 2**64 - 1

PARAMETERS = "uint64 seed, uint64 second_0, uint64 second_2, uint64 second_3"

# Counter and key of block i are (i + 1, 0, draw, 0) and (seed, 0). After two rounds, of all four
# numbers only c0, c1 and c2 depend on i.
PHILOX = r"""
struct Stream { uint64 seed, second_0, second_2, second_3; };

__device__ __forceinline__ void philox(uint32 block, Stream stream, uint64 (&quarters)[4]) {
    const uint64 m0 = 0xD2E7470EE14C6C93ull, m1 = 0xCA5A826395121157ull;
    const uint64 number = block + 1u, changed = __umul64hi(m0, number);
    uint64 c0 = __umul64hi(m1, changed) ^ stream.second_0, c1 = m1 * changed;
    uint64 c2 = (m0 * number) ^ stream.second_2, c3 = stream.second_3;
    #pragma unroll
    for (int round = 2; round < 10; ++round) {
        const uint64 high0 = __umul64hi(m0, c0), low0 = m0 * c0;
        const uint64 high1 = __umul64hi(m1, c2), low1 = m1 * c2;
        c0 = high1 ^ c1 ^ (stream.seed + round * 0x9E3779B97F4A7C15ull);
        c1 = low1;
        c2 = high0 ^ c3 ^ (round * 0xBB67AE8584CAA73Bull);
        c3 = low0;
    }
    quarters[0] = c0;
    quarters[1] = c1;
    quarters[2] = c2;
    quarters[3] = c3;
}

__device__ __forceinline__ void philox(uint32 block, Stream stream, uint32 (&words)[8]) {
    uint64 quarters[4];
    philox(block, stream, quarters);
    #pragma unroll
    for (int i = 0; i < 8; ++i) words[i] = quarters[i / 2] >> i % 2 * 32;
}
"""


def stream_arguments(seed: int, draw: int) -> tuple[np.uint64, ...]:
    """What a kernel with `PARAMETERS` is given for this draw: the part all blocks share."""
    high, low = divmod(_MULTIPLIERS[1] * draw, 2**64)
    shared_high, shared_low = divmod(_MULTIPLIERS[0] * (high ^ seed), 2**64)
    second_0 = low ^ ((seed + _STEPS[0]) & _ALL_BITS)
    return tuple(np.uint64(n) for n in (seed, second_0, shared_high ^ _STEPS[1], shared_low))
