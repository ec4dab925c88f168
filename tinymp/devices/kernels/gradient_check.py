"""Of all gradients at once: is one infinite or NaN, how large is the largest, what is their norm?

    largest = max |g|  (NaN above all),   found = 1 if that is not finite, else 0
    norm = √ Σ (g / scale)²,   clip = min(1, max_norm / (norm + 1e-6))

The four are left in device memory, where the optimizer's kernel reads them: the host waits for
nothing. Gradients are float32 or of 2 bytes; each is divided by the loss scale in float32, rounded
as `GradScaler.unscale_` rounds it, before its square enters the norm.

Memory: reads every gradient once.

Error: squares of float32 numbers are exact in float64, and their sum has a relative error below
2^-53 times (64 + 13 + the number of chunks / 512). Addition goes by chunks, in a fixed order.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np

from tinymp.devices.kernels.pieces import PIECES
from tinymp.devices.kernels.template import instance, once_a_device
from tinymp.devices.kernels.tensor_lists import TENSOR_LISTS, TensorLists, most_tensors

#: What the four numbers of a check mean, in their order: float64 in device memory.
LARGEST, FOUND, NORM, CLIP = range(4)

_CHUNK = 1 << 14

# A sum and a maximum of words over a block of 512 threads; thread 0 has them.
TOTALS = r"""
__device__ __forceinline__ void over_block(double &sum, uint32 &largest) {
    __shared__ double sums[16];
    __shared__ uint32 maxima[16];
    #pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, distance);
        largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, distance));
    }
    if (threadIdx.x % 32 == 0) {
        sums[threadIdx.x / 32] = sum;
        maxima[threadIdx.x / 32] = largest;
    }
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int i = 1; i < 16; ++i) {
        sum += sums[i];
        largest = max(largest, maxima[i]);
    }
}
"""

OF_CHUNKS = (
    PIECES
    + TENSOR_LISTS
    + TOTALS
    + r"""
extern "C" __global__ void __launch_bounds__(512)
check_chunks(const __grid_constant__ TensorLists lists, const double *__restrict__ scale,
             double *__restrict__ sums, uint32 *__restrict__ maxima) {
    constexpr int elements = 16 / sizeof(G::word);
    const int k = tensor_of_block(lists);
    const G::word *g = (const G::word *)lists.addresses[0][k];
    const long long start = (long long)(blockIdx.x - lists.first_chunk[k]) * chunk;
    const long long end = min(lists.sizes[k], start + chunk);
    const float factor = (float)(1.0 / *scale);
    double sum = 0;
    uint32 largest = 0;
    const auto see = [&](float value) {
        const double unscaled = value * factor;
        sum = fma(unscaled, unscaled, sum);  // the product of two float32 numbers is exact
        largest = max(largest, __float_as_uint(value) & 0x7fffffffu);  // ordered as |values| are
    };
    // Four pieces are asked for before the first is waited for.
    constexpr int batch = 4, stride = 512 * elements;
    const bool aligned = lists.addresses[0][k] % 16 == 0;
    for (long long first = start + threadIdx.x * elements; first < end; first += batch * stride) {
        if (aligned && first + (batch - 1) * stride + elements <= end) {
            Piece<G, elements> held[batch];
            #pragma unroll
            for (int p = 0; p < batch; ++p) held[p] = piece_at<G, elements>(g + first + p * stride);
            #pragma unroll
            for (int p = 0; p < batch; ++p)
                #pragma unroll
                for (int i = 0; i < elements; ++i) see(held[p][i]);
        } else {
            for (int p = 0; p < batch; ++p) {
                const long long begin = first + p * stride, past = begin + elements;
                for (long long i = begin; i < end && i < past; ++i) see(decode<G>(g[i]));
            }
        }
    }
    over_block(sum, largest);
    if (threadIdx.x == 0) {
        sums[blockIdx.x] = sum;
        maxima[blockIdx.x] = largest;
    }
}
"""
)

OF_ALL = (
    TOTALS
    + r"""
extern "C" __global__ void __launch_bounds__(512)
check_totals(const double *__restrict__ sums, const uint32 *__restrict__ maxima,
             double *__restrict__ check, int chunks, double max_norm) {
    double sum = 0;
    uint32 largest = 0;
    #pragma unroll 4
    for (int i = threadIdx.x; i < chunks; i += 512) {
        sum += sums[i];
        largest = max(largest, maxima[i]);
    }
    over_block(sum, largest);
    if (threadIdx.x > 0) return;
    const double norm = sqrt(sum), ratio = max_norm / (norm + 1e-6);
    check[0] = __uint_as_float(largest);
    check[1] = largest >= 0x7f800000u;
    check[2] = norm;
    check[3] = ratio >= 1.0 ? 1.0 : ratio;  // where the norm is NaN, NaN
}
"""
)


@once_a_device
def _check_chunks(dtype: Any) -> Any:
    sizes = {"roles": 1, "most": most_tensors(1), "chunk": _CHUNK}
    return instance("check_chunks", OF_CHUNKS, G=dtype, **sizes)


@once_a_device
def _check_totals() -> Any:
    return instance("check_totals", OF_ALL)


class GradientCheck:
    """A check of gradients with these sizes and formats, to be made in every step.

    `result`: the four numbers, a CuPy array of float64; see `LARGEST`, `FOUND`, `NORM`, `CLIP`.
    """

    def __init__(self, sizes: Sequence[int], dtypes: Sequence[Any]) -> None:
        import cupy

        self._parts: list[tuple[Any, list[int], TensorLists]] = []
        for dtype in dict.fromkeys(dtypes):
            places = [i for i, other in enumerate(dtypes) if other is dtype]
            lists = TensorLists([sizes[i] for i in places], 1, _CHUNK)
            self._parts.append((dtype, places, lists))
        self._chunks = sum(lists.chunks for _, _, lists in self._parts)
        self._unscaled = cupy.ones(1, np.float64)
        self.result = cupy.zeros(4, np.float64)

    def __call__(self, gradients: Sequence[Any], scale: Any = None, max_norm: float = inf) -> Any:
        """Check the `gradients`, storage in the order of the sizes; return `result`.

        `scale`: the loss scale by which they are too large, a float64 CuPy array of one element.
        """
        import cupy

        scale = self._unscaled if scale is None else scale
        sums = cupy.empty(self._chunks, np.float64)
        maxima = cupy.empty(self._chunks, np.uint32)
        done = 0
        for dtype, places, lists in self._parts:
            lists.point(0, [gradients[i] for i in places])
            run = _check_chunks(dtype)
            for parameter, blocks in lists.launches():
                left = (sums[done:], maxima[done:]) if done else (sums, maxima)
                run((blocks,), (512,), (parameter, scale, *left))
                done += blocks
        arguments = (sums, maxima, self.result, np.int32(done), np.float64(max_norm))
        _check_totals()((1,), (512,), arguments)
        return self.result
