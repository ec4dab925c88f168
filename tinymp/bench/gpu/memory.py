"""How much of a GPU's memory is in use, and how much was at most?

Three counts of the same thing. Arrays: what is allocated to arrays that live, as a library's
allocator counts it. Pool: what the library has taken from the driver, and keeps for arrays to come
(a captured graph has a pool of its own, which is not in this count). Driver: what all processes on
the GPU have, with the code of kernels and the libraries' own.
"""

from __future__ import annotations

import gc
import sys
from typing import Any, NamedTuple, Self


class Peak(NamedTuple):
    """Bytes at most: of living arrays, of the library's pool, and of the GPU by its driver."""

    arrays: int
    pool: int
    driver: int


def driver_bytes() -> int:
    """Bytes of the current GPU that are not free, of all processes."""
    import cupy

    free, total = cupy.cuda.runtime.memGetInfo()
    return int(total - free)


def give_back() -> None:
    """Return what no array uses to the driver, CuPy's and PyTorch's pools alike."""
    gc.collect()
    cupy: Any = sys.modules.get("cupy")
    torch: Any = sys.modules.get("torch")
    if cupy is not None:
        cupy.get_default_memory_pool().free_all_blocks()
    if torch is not None:
        torch.cuda.empty_cache()


class CupyPeak:
    """The most bytes that CuPy's arrays take at one moment of a `with` block.

    Counting costs some microseconds an allocation, so steps that are timed are not counted.

    Attributes:
        bytes: of arrays, those from before the block included, in units of the pool's 512 bytes.
    """

    def __init__(self) -> None:
        import cupy

        self._pool = cupy.get_default_memory_pool()
        self._now = 0
        self.bytes = 0
        count = self

        class Hook(cupy.cuda.MemoryHook):  # type: ignore[misc]
            name = "CupyPeak"

            def malloc_postprocess(self, **allocation: Any) -> None:
                count.add(allocation["mem_size"])

            def free_postprocess(self, **allocation: Any) -> None:
                count.add(-allocation["mem_size"])

        self._hook = Hook()

    def add(self, size: int) -> None:
        """Count an allocation of so many bytes; less than 0 for one that is freed."""
        self._now += size
        self.bytes = max(self.bytes, self._now)

    def __enter__(self) -> Self:
        self._now = self.bytes = self._pool.used_bytes()
        self._hook.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hook.__exit__(*error)

    def peak(self) -> Peak:
        """The bytes counted, and what pool and driver have now."""
        return Peak(self.bytes, self._pool.total_bytes(), driver_bytes())
