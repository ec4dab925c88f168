"""Two sums at once over the threads that share a row, while other groups of the block go their way.

Kernels put `PAIR_SUMS` in front of their source; `threads`, those of a group, and `groups`, at most
15 of several warps to a block, are settings of theirs.
"""

from __future__ import annotations

PAIR_SUMS = r"""
constexpr int warps = threads / 32;  // of a group

// The threads of a group wait for each other, and for no other group.
__device__ __forceinline__ void await_group(int group) {
    asm volatile("bar.sync %0, %1;" :: "r"(group + 1), "n"(threads) : "memory");
}

struct alignas(8) Sums { float of[2]; };

// The sums over a group's threads. The halves of a warp exchange first: then each has one to do.
__device__ __forceinline__ Sums over_row(Sums sums, int group, int turn) {
    const bool upper = threadIdx.x & 16;
    float mine = upper ? sums.of[1] : sums.of[0];
    mine += __shfl_xor_sync(0xffffffffu, upper ? sums.of[0] : sums.of[1], 16);
    #pragma unroll
    for (int distance = 8; distance > 0; distance /= 2)
        mine += __shfl_xor_sync(0xffffffffu, mine, distance);
    if constexpr (warps == 1) {
        const float other = __shfl_xor_sync(0xffffffffu, mine, 16);
        return upper ? Sums{other, mine} : Sums{mine, other};
    }
    __shared__ Sums parts[2][groups * warps];  // in turns, so that one barrier does
    if (threadIdx.x % 16 == 0) parts[turn][threadIdx.x / 32].of[upper] = mine;
    await_group(group);
    const Sums *first = parts[turn] + group * warps;
    sums = first[0];
    #pragma unroll
    for (int w = 1; w < warps; ++w)
        for (int k = 0; k < 2; ++k) sums.of[k] += first[w].of[k];
    return sums;
}
"""
