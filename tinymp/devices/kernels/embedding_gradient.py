"""The gradient of embedding with respect to its table: rows of g summed by their token.

    dweight[v] = Σ g[i] over the positions i whose token is v, in the order of i

tokens (...) int64, g (..., features), dweight (rows, features). Sums are of float32 and rounded
once; rows without a token are 0. The tokens are sorted first, so that the positions of each lie
side by side: nothing is added atomically, and the same input gives the same bits.

Memory: reads g once, writes dweight once. Sorting reads the tokens, a few kilobytes, many times,
out of the cache: a position's rank is the number of smaller ones, counted. That is quadratic, and
the fastest way by far for the thousands of tokens of a step; from 65536 on it is not served.

Error: γ_(k-1) Σ|g| for a token that occurs k times. Beyond `shared_from` occurrences the warps of a
block sum a part of them each, in order; then the parts are added in order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.devices.kernels.operands import WIDEST, aligned, contiguous, readable, writable
from tinymp.devices.kernels.pieces import PIECES
from tinymp.devices.kernels.template import instance, once_a_device
from tinymp.devices.kernels.twin import Target

MOST_TOKENS = 1 << 16

# A block ranks 32 positions, one a lane; its 8 warps compare them with an eighth of all each.
SORT = r"""
constexpr int tile = 2048;

extern "C" __global__ void __launch_bounds__(256)
sort_tokens(const long long *__restrict__ tokens, int *__restrict__ sorted,
            int *__restrict__ positions, int count, int rows) {
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

# A block has 8 rows of the table, one a warp; a row with many tokens is the work of all 8.
SOURCE = (
    PIECES
    + r"""
constexpr int shared_from = 64;  // occurrences

// How many of the sorted tokens are below `token`.
__device__ int tokens_below(const int *__restrict__ sorted, int count, int token) {
    int low = 0, high = count;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (sorted[middle] < token) low = middle + 1;
        else high = middle;
    }
    return low;
}

struct Sums { float of[pieces][elements]; };

// The sums of `pieces` pieces of the gradients at positions[begin ... end - 1], in order.
__device__ __forceinline__ Sums summed(const G::word *__restrict__ g,
                                       const int *__restrict__ positions,
                                       int begin, int end, int first, int n) {
    Sums sums = {};
    #pragma unroll 4
    for (int k = begin; k < end; ++k) {
        const G::word *row = g + (long long)positions[k] * n;
        #pragma unroll
        for (int p = 0; p < pieces; ++p) {
            const int column = first + p * 32 * elements;
            if (column < n) {
                const auto piece = piece_at<G, elements>(row + column);
                #pragma unroll
                for (int i = 0; i < elements; ++i) sums.of[p][i] += piece[i];
            }
        }
    }
    return sums;
}

extern "C" __global__ void __launch_bounds__(256)
embedding_gradient(const G::word *__restrict__ g, const int *__restrict__ sorted,
                   const int *__restrict__ positions, Dw::word *__restrict__ dweight,
                   int count, int rows, int n) {
    __shared__ int bounds[9];
    __shared__ float parts[8][elements][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, row = blockIdx.x * 8;
    if (threadIdx.x < 9) {
        const int token = min(row + (int)threadIdx.x, rows);
        bounds[threadIdx.x] = tokens_below(sorted, count, token);
    }
    __syncthreads();

    for (int first = lane * elements; first - lane * elements < n;
         first += 32 * elements * pieces) {
        const int begin = bounds[warp], end = bounds[warp + 1];
        if (row + warp < rows && end - begin < shared_from) {
            const Sums sums = summed(g, positions, begin, end, first, n);
            #pragma unroll
            for (int p = 0; p < pieces; ++p) {
                const int column = first + p * 32 * elements;
                if (column < n)
                    write<Dw, mode>(dweight + (long long)(row + warp) * n + column, sums.of[p]);
            }
        }
        for (int shared = 0; shared < 8; ++shared) {
            const int begin = bounds[shared], many = bounds[shared + 1] - begin;
            if (many < shared_from) continue;
            const int part = (many + 7) / 8, from = begin + min(many, warp * part);
            const int to = begin + min(many, (warp + 1) * part);
            const Sums sums = summed(g, positions, from, to, first, n);
            #pragma unroll
            for (int p = 0; p < pieces; ++p) {
                const int column = first + p * 32 * elements;
                __syncthreads();
                for (int i = 0; i < elements; ++i) parts[warp][i][lane] = sums.of[p][i];
                __syncthreads();
                if (warp > 0 || column >= n) continue;
                float totals[elements] = {};
                for (int w = 0; w < 8; ++w)
                    for (int i = 0; i < elements; ++i) totals[i] += parts[w][i][lane];
                write<Dw, mode>(dweight + (long long)(row + shared) * n + column, totals);
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
    sizes = np.int32(count), np.int32(rows)
    sort((-(-count // 32),), (256,), (tokens.storage, sorted_tokens, positions, *sizes))
    dweight = cupy.empty(weight_shape, target.dtype.storage)
    arguments = (g.storage, sorted_tokens, positions, dweight, *sizes, np.int32(n))
    add((-(-rows // 8),), (256,), arguments)
    return (dweight,)
