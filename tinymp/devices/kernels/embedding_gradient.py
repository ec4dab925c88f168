"""The gradient of embedding with respect to its table: rows of g summed by their token.

    dweight[v] = Σ g[i] over the positions i whose token is v, in the order of i

tokens (...) int64, g (..., features), dweight (rows, features). Sums are of float32 and rounded
once; rows without a token are 0. The tokens are sorted first, so that the positions of each lie
side by side: nothing is added atomically, and the same input gives the same bits.

Memory: reads g once, writes dweight once, and the rows of the tokens that occur a second time: the
first kernel makes zeros of all, in the blocks that it does not sort with. Sorting reads the tokens,
a few kilobytes, many times, out of the cache: a position's rank is the number of smaller ones,
counted. That is quadratic, and the fastest way by far for the thousands of tokens of a step; from
65536 on it is not served.

Error: γ_(k-1) Σ|g| for a token that occurs k times. From `shared_from` occurrences on the warps of
a block sum a part of them each, in order; then the parts are added in order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.devices.kernels.operands import (
    WIDEST,
    aligned,
    contiguous,
    multiprocessors,
    readable,
    writable,
)
from tinymp.devices.kernels.pieces import PIECES
from tinymp.devices.kernels.template import instance, once_a_device
from tinymp.devices.kernels.twin import Target

MOST_TOKENS = 1 << 16

# A block ranks 32 positions, one a lane; its 8 warps compare them with an eighth of all each. The
# blocks after those write zeros, which keeps the memory busy meanwhile.
SORT = r"""
constexpr int tile = 2048;

__device__ __forceinline__ void write_zeros(uint4 *table, long long bytes, int block, int blocks) {
    const long long thread = (long long)block * 256 + threadIdx.x;
    for (long long i = thread; i < bytes / 16; i += (long long)blocks * 256)
        table[i] = make_uint4(0, 0, 0, 0);
    if (thread < bytes % 16) reinterpret_cast<uint8 *>(table + bytes / 16)[thread] = 0;
}

extern "C" __global__ void __launch_bounds__(256)
sort_tokens(const long long *__restrict__ tokens, int *__restrict__ sorted,
            int *__restrict__ positions, int count, int rows,
            uint4 *__restrict__ table, long long bytes, int sorting) {
    if ((int)blockIdx.x >= sorting) {
        write_zeros(table, bytes, blockIdx.x - sorting, gridDim.x - sorting);
        return;
    }
    // Tokens that the table does not have come last, and what lies beyond the end after them.
    const auto number = [&](int i) {
        if (i >= count) return 0x7fffffff;
        const long long token = tokens[i];
        return token >= 0 && token < rows ? (int)token : rows;
    };
    __shared__ int4 others[tile / 4];
    __shared__ int smaller_than[8][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int position = blockIdx.x * 32 + lane, mine = number(position);
    int smaller = 0;
    for (int start = 0; start < count; start += tile) {
        __syncthreads();
        #pragma unroll
        for (int i = threadIdx.x; i < tile; i += 256)
            reinterpret_cast<int *>(others)[i] = number(start + i);
        __syncthreads();
        #pragma unroll 2
        for (int chunk = warp; chunk < tile / 32; chunk += 8) {
            const int first = start + chunk * 32;
            // Of equal tokens the one at the smaller position counts as smaller.
            const int bound = mine + (first < (int)blockIdx.x * 32);
            if (first != blockIdx.x * 32) {
                #pragma unroll
                for (int i = 0; i < 8; ++i) {
                    const int4 four = others[chunk * 8 + i];
                    smaller += (four.x < bound) + (four.y < bound);
                    smaller += (four.z < bound) + (four.w < bound);
                }
            } else {
                for (int i = 0; i < 32; ++i) {
                    const int other = reinterpret_cast<int *>(others)[chunk * 32 + i];
                    smaller += other < mine || (other == mine && i < lane);
                }
            }
        }
    }
    smaller_than[warp][lane] = smaller;
    __syncthreads();
    if (warp > 0 || position >= count) return;
    for (int i = 1; i < 8; ++i) smaller += smaller_than[i][lane];
    sorted[smaller] = mine;
    positions[smaller] = position;
}
"""

# A block has 12 of the sorted positions, one a warp. The warp at which a token begins sums all of
# its gradients; where they are many, all 12 do.
SOURCE = (
    PIECES
    + r"""
constexpr int warps = 12, shared_from = 64, batch = 2;

struct Sums { float of[pieces][elements]; };

// The sums of `pieces` pieces of the gradients at positions[begin ... end - 1], in order.
__device__ __forceinline__ Sums summed(const G::word *__restrict__ g,
                                       const int *__restrict__ positions,
                                       int begin, int end, int first, int n) {
    Sums sums = {};
    for (int k = begin; k < end; k += batch) {
        Piece<G, elements> held[batch][pieces];
        #pragma unroll
        for (int b = 0; b < batch; ++b) {
            if (k + b >= end) break;
            const G::word *row = g + (long long)positions[k + b] * n + first;
            #pragma unroll
            for (int p = 0; p < pieces; ++p)
                if (first + p * 32 * elements < n)
                    held[b][p] = piece_at<G, elements>(row + p * 32 * elements);
        }
        #pragma unroll
        for (int b = 0; b < batch; ++b)
            if (k + b < end)
                #pragma unroll
                for (int p = 0; p < pieces; ++p)
                    if (first + p * 32 * elements < n)
                        #pragma unroll
                        for (int i = 0; i < elements; ++i) sums.of[p][i] += held[b][p][i];
    }
    return sums;
}

// Where the tokens after `begin` that are equal to its own end.
__device__ int end_of_token(const int *__restrict__ sorted, int count, int begin) {
    const int token = sorted[begin];
    if (begin + 1 == count || sorted[begin + 1] != token) return begin + 1;
    int low = begin + 1, high = count;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (sorted[middle] == token) low = middle;
        else high = middle;
    }
    return high;
}

extern "C" __global__ void __launch_bounds__(32 * warps, 2)
embedding_gradient(const G::word *__restrict__ g, const int *__restrict__ sorted,
                   const int *__restrict__ positions, Dw::word *__restrict__ dweight,
                   int count, int rows, int n) {
    __shared__ int ends[warps], tokens[warps];
    __shared__ float parts[warps][elements][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, start = blockIdx.x * warps;
    const int begin = start + warp;
    int token = rows, end = begin;  // no token begins here, or one that the table does not have
    if (begin < count && (begin == 0 || sorted[begin - 1] != sorted[begin])) {
        token = sorted[begin];
        if (token < rows) end = end_of_token(sorted, count, begin);
    }
    if (lane == 0) {
        ends[warp] = end;
        tokens[warp] = token;
    }
    __syncthreads();

    for (int base = 0; base < n; base += 32 * elements * pieces) {
        const int first = base + lane * elements;
        if (end > begin && end - begin < shared_from) {
            const Sums sums = summed(g, positions, begin, end, first, n);
            #pragma unroll
            for (int p = 0; p < pieces; ++p) {
                const int column = first + p * 32 * elements;
                if (column >= n) break;
                write<Dw, mode>(dweight + (long long)token * n + column, sums.of[p]);
            }
        }
        for (int other = 0; other < warps; ++other) {
            const int from = start + other, many = ends[other] - from;
            if (many < shared_from) continue;
            const int part = (many + warps - 1) / warps;
            const int mine = from + min(many, warp * part);
            const int past = from + min(many, (warp + 1) * part);
            const Sums sums = summed(g, positions, mine, past, first, n);
            #pragma unroll
            for (int p = 0; p < pieces; ++p) {
                const int column = first + p * 32 * elements;
                __syncthreads();
                #pragma unroll
                for (int i = 0; i < elements; ++i) parts[warp][i][lane] = sums.of[p][i];
                __syncthreads();
                if (warp > 0 || column >= n) continue;
                float totals[elements] = {};
                for (int w = 0; w < warps; ++w)
                    #pragma unroll
                    for (int i = 0; i < elements; ++i) totals[i] += parts[w][i][lane];
                write<Dw, mode>(dweight + (long long)tokens[other] * n + column, totals);
            }
        }
    }
}
"""
)


@once_a_device
def _kernels(n: int, g: Any, target: Target, aligned: bool) -> tuple[Any, Any] | None:
    """The two kernels for operands of these formats; None where none serve."""
    if not (readable(g) and writable(target)):
        return None
    elements = WIDEST // g.itemsize if aligned and n * g.itemsize % WIDEST == 0 else 1
    formats = {"G": g, "Dw": target.dtype, "mode": target.mode}
    pieces = min(4, -(-n // (32 * elements)))
    return instance("sort_tokens", SORT), instance(
        "embedding_gradient", SOURCE, elements=elements, pieces=pieces, **formats
    )


def embedding_gradient(
    g: Any, tokens: Any, weight_shape: tuple[int, int], *, targets: tuple[Target]
) -> Any:
    """Twin of the rule: gradient of the table."""
    import cupy

    (target,) = targets
    rows, n = weight_shape
    count = tokens.storage.size
    if not (0 < count <= MOST_TOKENS and 0 < rows < 2**31 - 8 and n > 0):
        return NotImplemented
    kernels = _kernels(n, g.dtype, target, aligned(g.storage))
    if kernels is None or not contiguous(g.storage, tokens.storage):
        return NotImplemented
    sort, add = kernels
    in_order = cupy.empty((2, count), np.int32)
    sorted_tokens, positions = in_order[0], in_order[1]
    dweight = cupy.empty(weight_shape, target.dtype.storage)
    sizes, sorting = (np.int32(count), np.int32(rows)), -(-count // 32)
    zeros = dweight, np.int64(dweight.nbytes), np.int32(sorting)
    arguments = tokens.storage, sorted_tokens, positions, *sizes, *zeros
    sort((sorting + 4 * multiprocessors(),), (256,), arguments)
    added = g.storage, sorted_tokens, positions, dweight, *sizes, np.int32(n)
    add((-(-count // 12),), (384,), added)
    return (dweight,)
