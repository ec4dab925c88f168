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

Error: γ_(k-1) Σ|g| for a token that occurs k times. From `OFTEN` occurrences on the warps of a
block sum a part of them each, in order; then the parts are added in order.
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
MOST_ROWS = (1 << 24) - 2
OFTEN = 32  # occurrences from which on a token has blocks of its own
BATCH = 4  # rows of g that a warp waits for at a time
ZEROING = 6  # blocks a multiprocessor that write zeros

# A block ranks 32 positions, one a lane; its 8 warps compare them with an eighth of all each. The
# blocks after those write zeros, which keeps the memory busy meanwhile. Tokens are compared as
# floats, exact below 2^24: GPUs subtract floats twice as fast as they compare integers, and the
# difference of two integers, saturated, is 1 where the first is larger, else 0.
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
        if (i >= count) return rows + 2.0f;
        const long long token = tokens[i];
        return (float)(token >= 0 && token < rows ? (int)token : rows);
    };
    __shared__ float4 others[tile / 4];
    __shared__ int smaller_than[8][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int position = blockIdx.x * 32 + lane;
    const float mine = number(position);
    float next[tile / 256];
    #pragma unroll
    for (int i = 0; i < tile / 256; ++i) next[i] = number(i * 256 + threadIdx.x);
    float smaller = 0;
    for (int start = 0; start < count; start += tile) {
        __syncthreads();
        #pragma unroll
        for (int i = 0; i < tile / 256; ++i)
            reinterpret_cast<float *>(others)[i * 256 + threadIdx.x] = next[i];
        __syncthreads();
        #pragma unroll
        for (int i = 0; i < tile / 256; ++i)  // on their way while these are compared
            next[i] = number(start + tile + i * 256 + threadIdx.x);
        #pragma unroll 2
        for (int chunk = warp; chunk < tile / 32; chunk += 8) {
            const int first = start + chunk * 32;
            // Of equal tokens the one at the smaller position counts as smaller.
            const float bound = mine + (first < (int)blockIdx.x * 32 ? 1.0f : 0.0f);
            if (first != blockIdx.x * 32) {
                #pragma unroll
                for (int i = 0; i < 8; ++i) {
                    const float4 four = others[chunk * 8 + i];
                    smaller += __saturatef(bound - four.x);
                    smaller += __saturatef(bound - four.y);
                    smaller += __saturatef(bound - four.z);
                    smaller += __saturatef(bound - four.w);
                }
            } else {
                for (int i = 0; i < 32; ++i) {
                    const float other = reinterpret_cast<float *>(others)[chunk * 32 + i];
                    smaller += other < mine || (other == mine && i < lane);
                }
            }
        }
    }
    smaller_than[warp][lane] = (int)smaller;
    __syncthreads();
    if (warp > 0 || position >= count) return;
    int rank = 0;
    for (int i = 0; i < 8; ++i) rank += smaller_than[i][lane];
    sorted[rank] = (int)mine;
    positions[rank] = position;
}
"""

# A warp has one of the sorted positions: if a token begins there, it sums all of its gradients, in
# a part of the columns. A token that occurs `often` has blocks of its own, which come first.
SOURCE = (
    PIECES
    + r"""
constexpr int warps = 16, often = 32;
constexpr unsigned all_lanes = 0xffffffffu;

// Adds rows of g to the sums, `batch` of them on their way at a time. Lane i has the i-th's number.
template <int batch>
__device__ __forceinline__ void add(float (&sums)[elements], const G::word *__restrict__ g,
                                    int position, int many, int column, int n) {
    for (int k = 0; k < many; k += batch) {
        Piece<G, elements> held[batch];
        #pragma unroll
        for (int b = 0; b < batch; ++b) {
            const int row = __shfl_sync(all_lanes, position, k + b);
            if (k + b < many && column < n)
                held[b] = piece_at<G, elements>(g + (long long)row * n + column);
        }
        #pragma unroll
        for (int b = 0; b < batch; ++b)
            if (k + b < many && column < n)
                #pragma unroll
                for (int i = 0; i < elements; ++i) sums[i] += held[b][i];
    }
}

// A token that occurs often has one of the positions 0, 32, 64, ...; this is the first of them.
__device__ __forceinline__ void sum_together(const G::word *__restrict__ g,
                                             const int *__restrict__ sorted,
                                             const int *__restrict__ positions,
                                             Dw::word *__restrict__ dweight,
                                             int count, int rows, int n, int at, int part) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, token = sorted[at];
    const bool before = at > lane && sorted[at - 1 - lane] == token;
    const int begin = at - __popc(__ballot_sync(all_lanes, before)), last = begin + often - 1;
    if (token >= rows || at - begin == often || last >= count || sorted[last] != token) return;

    const int column = (part * 32 + lane) * elements;
    float sums[elements] = {};
    for (int start = begin + warp * 32; start < count; start += warps * 32) {
        const int i = start + lane, position = i < count ? positions[i] : 0;
        const unsigned same = __ballot_sync(all_lanes, i < count && sorted[i] == token);
        add<8>(sums, g, position, __popc(same), column, n);
        if (same != all_lanes) break;
    }
    __shared__ float parts[warps][elements][32];
    #pragma unroll
    for (int i = 0; i < elements; ++i) parts[warp][i][lane] = sums[i];
    __syncthreads();
    if (warp > 0 || column >= n) return;
    float totals[elements] = {};
    for (int w = 0; w < warps; ++w)
        #pragma unroll
        for (int i = 0; i < elements; ++i) totals[i] += parts[w][i][lane];
    write<Dw, mode>(dweight + (long long)token * n + column, totals);
}

extern "C" __global__ void __launch_bounds__(32 * warps, 2)
embedding_gradient(const G::word *__restrict__ g, const int *__restrict__ sorted,
                   const int *__restrict__ positions, Dw::word *__restrict__ dweight,
                   int count, int rows, int n, int together, int parts) {
    const int block = blockIdx.x - together, lane = threadIdx.x % 32;
    if (block < 0) {
        const int at = blockIdx.x / parts * often;
        sum_together(g, sorted, positions, dweight, count, rows, n, at, blockIdx.x % parts);
        return;
    }
    // Lane i looks at the i-th position from the one before on, and all at the `often`-th.
    const int begin = block / parts * warps + threadIdx.x / 32, i = begin - 1 + lane;
    if (begin >= count) return;
    const int token = sorted[begin], past = begin + often - 1;
    const bool same = i >= 0 && i < count && sorted[i] == token;
    const int position = i >= 0 && i < count ? positions[i] : 0;
    const bool is_often = past < count && sorted[past] == token;
    const unsigned equal = __ballot_sync(all_lanes, same);
    if (token >= rows || equal & 1 || is_often) return;

    const int column = (block % parts * 32 + lane) * elements;
    float sums[elements] = {};
    const int shifted = __shfl_sync(all_lanes, position, lane + 1);  // the first at lane 0
    add<batch>(sums, g, shifted, __popc(equal), column, n);
    if (column < n) write<Dw, mode>(dweight + (long long)token * n + column, sums);
}
"""
)


@once_a_device
def _kernels(n: int, g: Any, target: Target, aligned: bool) -> tuple[Any, Any, int] | None:
    """The two kernels for operands of these formats, and how many columns a warp has.

    None where none serve.
    """
    if not (readable(g) and writable(target)):
        return None
    elements = WIDEST // g.itemsize if aligned and n * g.itemsize % WIDEST == 0 else 1
    formats = {"G": g, "Dw": target.dtype, "mode": target.mode}
    add = instance("embedding_gradient", SOURCE, elements=elements, batch=BATCH, **formats)
    return instance("sort_tokens", SORT), add, 32 * elements


def embedding_gradient(
    g: Any, tokens: Any, weight_shape: tuple[int, int], *, targets: tuple[Target]
) -> Any:
    """Twin of the rule: gradient of the table."""
    import cupy

    (target,) = targets
    rows, n = weight_shape
    count = tokens.storage.size
    if not (0 < count <= MOST_TOKENS and 0 < rows < MOST_ROWS and n > 0):
        return NotImplemented
    kernels = _kernels(n, g.dtype, target, aligned(g.storage))
    if kernels is None or not contiguous(g.storage, tokens.storage):
        return NotImplemented
    sort, add, columns = kernels
    in_order = cupy.empty((2, count), np.int32)
    sorted_tokens, positions = in_order[0], in_order[1]
    dweight = cupy.empty(weight_shape, target.dtype.storage)
    sizes, sorting = (np.int32(count), np.int32(rows)), -(-count // 32)
    zeros = dweight, np.int64(dweight.nbytes), np.int32(sorting)
    arguments = tokens.storage, sorted_tokens, positions, *sizes, *zeros
    sort((sorting + ZEROING * multiprocessors(),), (256,), arguments)
    parts = -(-n // columns)
    together = -(-count // OFTEN) * parts
    added = g.storage, sorted_tokens, positions, dweight, *sizes, np.int32(n)
    blocks = together + -(-count // 16) * parts
    add((blocks,), (512,), (*added, np.int32(together), np.int32(parts)))
    return (dweight,)
