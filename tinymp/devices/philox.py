"""The GPU's twin of NumPy's Philox4x64-10, bit for bit."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np

from tinymp.devices.base import Array
from tinymp.devices.cpu import CpuDevice

# Philox4x64-10 (Salmon, Moraes, Dror, Shaw, SC 2011, section 3): ten rounds of two 64 x 64 -> 128
# bit products, the key raised by Weyl constants between rounds.
#
# counter = (block + 1, 0, draw, 0), key = (seed, 0): NumPy steps its counter before it uses it.
# One thread makes one block: four 64-bit words, which are eight 32-bit ones, low half first.
_SOURCE = r"""
extern "C" __global__ void philox4x64_10(unsigned long long *out, unsigned long long blocks,
                                         unsigned long long seed, unsigned long long draw) {
    unsigned long long block = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (block >= blocks) return;
    unsigned long long c0 = block + 1, c1 = 0, c2 = draw, c3 = 0;
    unsigned long long k0 = seed, k1 = 0;
    for (int round = 0; round < 10; ++round) {
        const unsigned long long m0 = 0xD2E7470EE14C6C93ull, m1 = 0xCA5A826395121157ull;
        unsigned long long high0 = __umul64hi(m0, c0), low0 = m0 * c0;
        unsigned long long high1 = __umul64hi(m1, c2), low1 = m1 * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B97F4A7C15ull;
        k1 += 0xBB67AE8584CAA73Bull;
    }
    out[4 * block + 0] = c0;
    out[4 * block + 1] = c1;
    out[4 * block + 2] = c2;
    out[4 * block + 3] = c3;
}
"""
_THREADS = 256


def philox_words(count: int, seed: int, draw: int) -> Array:
    """Return a CuPy array of the words that `CpuDevice.philox_words` returns."""
    import cupy

    blocks = -(-count // 8)
    kernel = _kernel()
    if kernel is None or blocks == 0:
        return cupy.asarray(CpuDevice().philox_words(count, seed, draw))
    out = cupy.empty(4 * blocks, dtype=np.uint64)
    arguments = (out, np.uint64(blocks), np.uint64(seed), np.uint64(draw))
    kernel((-(-blocks // _THREADS),), (_THREADS,), arguments)
    return out.view(np.uint32)[:count]


@cache
def _kernel() -> Any:
    """Compile the kernel; None, after a warning, where CUDA's compiler is missing or refuses."""
    import cupy

    kernel = cupy.RawKernel(_SOURCE, "philox4x64_10")
    try:
        kernel.compile()
    except (cupy.cuda.compiler.CompileException, OSError, RuntimeError) as error:
        warnings.warn(
            "random numbers for the GPU are made on the CPU, which is slower but gives the same "
            f"bits, because CUDA's compiler cannot be used: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return kernel
