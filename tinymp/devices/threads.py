"""Sharing out a long array among threads: NumPy computes without holding the interpreter's lock."""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock

import numpy as np

# Elements from which a thread more is worth waking if they are only copied: measured, it takes both
# threads some 150 µs of work each to make up for waking one, which is quicker on some systems.
_LONG = 1 << 20
_PARTS = 2  # for each thread
_MOST = 4  # threads; the memory has no more to give


def threads_for(elements: int) -> int:
    """How many threads it takes to copy so many elements, or to do as much work.

    There are as many as BLAS has: as OMP_NUM_THREADS says, or one a processor.
    """
    return min(_threads(), max(1, elements // _LONG))


def share(work: Callable[[int, int], None], size: int, block: int, weight: int = 1) -> None:
    """Call `work(start, stop)` for parts that cover 0 ... size - 1 once, in `threads_for` them.

    Parts begin at multiples of `block`. `weight`: as many copied elements each of these numbers is
    worth.

    Each thread takes the next part when it is done with one. So nobody waits for a thread that the
    system lets start late, because others want the processor, too.
    """
    count = threads_for(size * weight)
    if count == 1:
        work(0, size)
        return
    part = -(-size // (_PARTS * count * block)) * block
    starts = deque([*range(0, size, part), *[size] * count])  # and an end for each thread

    def take_parts() -> None:
        while (start := starts.popleft()) < size:
            work(start, min(start + part, size))

    with _single_blas:
        others = [_pool().submit(take_parts) for _ in range(count - 1)]
        take_parts()
        for other in others:
            if not other.cancel():
                other.result()


class _SingleBlas:
    """While anyone shares work out, each thread multiplies by itself.

    OpenBLAS has one pool of threads, for which several callers would queue.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = self._before = 0

    def __enter__(self) -> None:
        if (switch := _openblas()) is None:
            return
        threads_of, set_threads = switch
        with self._lock:
            if self._inside == 0:
                self._before = threads_of()
                set_threads(1)
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        if (switch := _openblas()) is None:
            return
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                switch[1](self._before)


_single_blas = _SingleBlas()


@cache
def _openblas() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """How many threads NumPy's OpenBLAS uses: to be asked, and to be set. None for another BLAS."""
    try:
        numpy_itself = ctypes.CDLL(np.linalg._umath_linalg.__file__)
    except (AttributeError, OSError):
        return None
    for name in ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads"):
        functions = [getattr(numpy_itself, name.format(verb), None) for verb in ("get", "set")]
        if all(functions):
            return functions[0], functions[1]  # type: ignore[return-value]
    return None


@cache
def _threads() -> int:
    said = os.environ.get("OMP_NUM_THREADS", "")
    return min(_MOST, int(said) if said.isdecimal() and int(said) else os.cpu_count() or 1)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MOST - 1, thread_name_prefix="tinymp")


if hasattr(os, "register_at_fork"):  # a child process inherits the pool, but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
