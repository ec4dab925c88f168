"""When a GPU's memory does not suffice: how much was asked for, held and free, and what to try.

All memory of arrays on a GPU comes through CuPy's allocator, whoever asks: an operation, its
backward, an optimizer, a copy from the CPU. So this one place explains the failures of all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Malloc = Callable[[int], Any]  # bytes to a CuPy MemoryPointer

_ADVICE = (
    "try a smaller batch; the same batch in parts, whose gradients are added up (microbatches); "
    "2-byte formats (policy fp16 or bf16); or recomputing activations (mp.checkpoint)"
)


class OutOfDeviceMemory(MemoryError):
    """An array for which a GPU has no room; the message has the sizes, and what to try."""


def explain_failures(cupy: Any) -> None:
    """From now on, CuPy's allocations fail with an OutOfDeviceMemory.

    Whichever allocator is CuPy's current one goes on to serve.
    """
    current = cupy.cuda.get_allocator()
    if getattr(current, "__name__", "") != _explaining.__name__:
        cupy.cuda.set_allocator(_explaining(cupy, current))


def _explaining(cupy: Any, malloc: Malloc) -> Malloc:
    """An allocator that asks `malloc`, and says what its failures mean."""

    def allocate(size: int) -> Any:
        try:
            return malloc(size)
        except cupy.cuda.memory.OutOfMemoryError as error:
            raise OutOfDeviceMemory(_explanation(cupy, size)) from error

    allocate.__name__ = _explaining.__name__  # by which it is known again
    return allocate


def _explanation(cupy: Any, size: int) -> str:
    free, total = cupy.cuda.runtime.memGetInfo()
    pool = cupy.get_default_memory_pool()
    used, held = pool.used_bytes(), pool.total_bytes()
    return (
        f"out of memory on cuda:{cupy.cuda.runtime.getDevice()}: {_gib(size)} were asked for, but "
        f"of {_gib(total)} only {_gib(free)} are free; this process holds {_gib(held)}, of which "
        f"{_gib(used)} are in use and the rest is too small or in pieces; {_ADVICE}"
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
