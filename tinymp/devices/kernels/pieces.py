"""Elements side by side, moved as one; and sums and maxima over the threads that share a row.

Kernels put `PIECES` in front of their source. What they add up is added in an order that depends on
the shapes alone: the same input gives the same bits.
"""

from __future__ import annotations

from typing import NamedTuple

from tinymp.devices.kernels.operands import WIDEST

PIECES = r"""
#define infinity __uint_as_float(0x7f800000u)
#define not_a_number __uint_as_float(0x7fc00000u)

__device__ constexpr int widest(int bytes) { return bytes < 16 ? bytes : 16; }

// `count` elements that lie side by side. They are read and written as one, 16 bytes at a time.
template <class Format, int count>
struct alignas(widest(count * sizeof(typename Format::word))) Piece {
    typename Format::word words[count];
    __device__ __forceinline__ float operator[](int i) const { return decode<Format>(words[i]); }
};

template <class Format, int count>
__device__ __forceinline__ const Piece<Format, count> &
piece_at(const typename Format::word *first) {
    return *reinterpret_cast<const Piece<Format, count> *>(first);
}

// Rounded and written. Encoders give a NaN its format's word, which takes them longer than all the
// rest; a piece that holds none, which one comparison an element tells, goes without.
template <class Format, Rounding mode, int count>
__device__ __forceinline__ void write(typename Format::word *first, const float (&values)[count]) {
    Piece<Format, count> piece;
    bool numbers = true;
    #pragma unroll
    for (int i = 0; i < count; ++i) numbers &= values[i] == values[i];
    if (numbers)
        #pragma unroll
        for (int i = 0; i < count; ++i) {
            __builtin_assume(values[i] == values[i]);
            piece.words[i] = encode<Format, mode>(values[i]);
        }
    else
        #pragma unroll
        for (int i = 0; i < count; ++i) piece.words[i] = encode<Format, mode>(values[i]);
    *reinterpret_cast<Piece<Format, count> *>(first) = piece;
}

struct Add {
    static __device__ __forceinline__ float of(float a, float b) { return a + b; }
};
struct Larger {
    static __device__ __forceinline__ float of(float a, float b) { return fmaxf(a, b); }
};

// All `threads` threads of a group give a value and get the combination of all, the same bits each.
// A group is a warp, or several; `groups` of them make a block, and all of it must come here.
template <class Combine, int threads, int groups>
__device__ __forceinline__ float over_group(float value) {
    #pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        value = Combine::of(value, __shfl_xor_sync(0xffffffffu, value, distance));
    if constexpr (threads > 32) {
        constexpr int warps = threads / 32;
        __shared__ float parts[groups * warps];
        __syncthreads();  // what an earlier call left there has been read
        if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
        __syncthreads();
        const float *mine = parts + threadIdx.x / threads * warps;
        value = mine[0];
        #pragma unroll
        for (int i = 1; i < warps; ++i) value = Combine::of(value, mine[i]);
    }
    return value;
}
"""


class RowLayout(NamedTuple):
    """How a row is dealt to threads: each holds `pieces` pieces of `elements` elements."""

    threads: int
    pieces: int
    elements: int


def row_layout(n: int, itemsize: int, aligned: bool, most: int = 16) -> RowLayout | None:
    """A layout that holds rows of `n` elements in registers, or None for rows too long for that.

    `aligned`: whether the first row begins at a multiple of 16 bytes; if all rows do, pieces are so
    wide, otherwise one element. `most`: how many pieces a thread can hold.
    """
    elements = WIDEST // itemsize if aligned and n * itemsize % WIDEST == 0 else 1
    pieces = n // elements
    for threads in (32, 64, 128, 256, 512):
        held = -(-pieces // threads)
        if held <= 4 or (threads == 512 and held <= most):
            return RowLayout(threads, held, elements)
    return None


def rows_of_a_block(threads: int) -> int:
    """How many rows a block has: four if a warp takes a row, one if several warps share it."""
    return 4 if threads == 32 else 1
