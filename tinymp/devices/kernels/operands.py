"""Which operands and results the kernels of this folder serve, and how wide they may be read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

#: Bytes that one thread reads or writes at once, where addresses are multiples of it.
WIDEST = 16


@dataclass(frozen=True)
class Format:
    """What a kernel needs to know of a format that it writes as it computes."""

    name: str
    storage: np.dtype[Any]
    kind: str = "float"

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.storage.itemsize


#: Results of the first of two kernels, and sums that are not rounded yet, are of this.
FLOAT32 = Format("float32", np.dtype(np.float32))


def format_of(operand: Any) -> Any:
    """The dtype of an operand, None for one that was left out."""
    return None if operand is None else operand.dtype


def readable(*dtypes: Any) -> bool:
    """Whether all are float32 or a 2-byte float. None, of an operand left out, is."""
    return all(d is None or (d.kind == "float" and _plain(d)) for d in dtypes)


def writable(*targets: Any) -> bool:
    """Whether all are float32, or a 2-byte float rounded without random bits. None is."""
    return all(
        t is None or t.dtype.name == "float32" or (_plain(t.dtype) and t.mode != "stochastic")
        for t in targets
    )


def _plain(dtype: Any) -> bool:
    return bool(dtype.itemsize == 2 or dtype.name == "float32")


def contiguous(*arrays: Any) -> bool:
    """Whether all lie in C order without gaps. None, an operand left out, does."""
    return all([array is None or array.flags.c_contiguous for array in arrays])


def aligned(*arrays: Any) -> bool:
    """Whether all begin at multiples of 16 bytes, as CuPy's own do; a view may begin anywhere."""
    return all([array is None or array.data.ptr % WIDEST == 0 for array in arrays])


def multiprocessors() -> int:
    """How many multiprocessors the current GPU has: a grid of so many blocks keeps all busy."""
    import cupy

    return _multiprocessors(cupy.cuda.runtime.getDevice())


@cache
def _multiprocessors(device: int) -> int:
    import cupy

    return int(cupy.cuda.Device(device).attributes["MultiProcessorCount"])


def shared_memory() -> int:
    """Bytes of shared memory that a block can have on the current GPU, if it asks for them."""
    import cupy

    return _shared_memory(cupy.cuda.runtime.getDevice())


@cache
def _shared_memory(device: int) -> int:
    import cupy

    return int(cupy.cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"])


def allow_shared_memory(kernel: Any, size: int) -> None:
    """Ask for so many bytes for the blocks of a kernel, who get no more than 48 KiB unasked."""
    from cupy_backends.cuda.api import driver

    if size > 40 << 10:  # what a kernel declares itself counts, too
        limit = driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        driver.funcSetAttribute(kernel.ptr, limit, size)
