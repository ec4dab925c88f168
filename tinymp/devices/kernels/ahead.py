"""Pieces asked for ahead of use: they arrive in shared memory, and take no registers meanwhile.

A thread reads what it asked for itself, so no thread waits for another. Kernels put `AHEAD` after
`PIECES`; `elements`, the elements of a piece, and `depth`, the rows under way, are settings of
theirs.
"""

from __future__ import annotations

AHEAD = r"""
template <bool first, class A, class B> struct Choice { typedef A type; };
template <class A, class B> struct Choice<false, A, B> { typedef B type; };

// A piece in registers of 32 bits: words of 16 would take one each where they are kept for long.
template <class Format> struct alignas(widest(elements * sizeof(typename Format::word))) Kept {
    static constexpr int bytes = elements * sizeof(typename Format::word);
    static constexpr bool narrow = sizeof(typename Format::word) == 2;
    typename Choice<bytes % 4 == 0, uint32, uint16>::type parts[bytes % 4 == 0 ? bytes / 4 : 1];

    __device__ __forceinline__ float operator[](int i) const {
        if constexpr (narrow) return decode<Format>((uint16)(parts[i / 2] >> i % 2 * 16));
        else return __uint_as_float(parts[i]);
    }
};

// Asks for a piece, which arrives while the thread goes on. GPUs before Ampere wait for it, and for
// pieces of 2 bytes all do.
template <class Piece> __device__ __forceinline__ void fetch(Piece *to, const void *from) {
#if __CUDA_ARCH__ >= 800
    const uint32 address = (uint32)__cvta_generic_to_shared(to);
    if constexpr (sizeof(Piece) == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"
                     :: "r"(address), "l"(from) : "memory");
        return;
    } else if constexpr (sizeof(Piece) >= 4) {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2;"
                     :: "r"(address), "l"(from), "n"(sizeof(Piece)) : "memory");
        return;
    }
#endif
    *to = *reinterpret_cast<const Piece *>(from);
}

// What has been asked for up to here belongs to one row, even if it is nothing.
__device__ __forceinline__ void end_of_row() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits for all rows that this thread asked for but the last `depth - 1`.
__device__ __forceinline__ void await_row() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" :: "n"(depth - 1) : "memory");
#endif
}
"""
