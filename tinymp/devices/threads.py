"""Sharing out a long array among threads: NumPy computes without holding the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

# Elements from which a thread more is worth waking: their work takes some 100 µs, waking it 30.
_LONG = 1 << 18
_MOST = 4  # threads; the memory has no more to give


def threads_for(elements: int) -> int:
    """How many threads it takes to do something short to so many elements.

    There are as many as BLAS has: as OMP_NUM_THREADS says, or one a processor.
    """
    return min(_threads(), max(1, elements // _LONG))


def share(work: Callable[[int, int], None], size: int, block: int, weight: int = 1) -> None:
    """Call `work(start, stop)` for parts that cover 0 ... size - 1 once, in `threads_for` them.

    Parts begin at multiples of `block`. `weight`: elements that each of these numbers stands for.
    """
    count = threads_for(size * weight)
    if count == 1:
        work(0, size)
        return
    part = -(-size // (count * block)) * block
    starts = range(part, size, part)
    others = [_pool().submit(work, start, min(start + part, size)) for start in starts]
    work(0, part)
    for other in others:
        other.result()


@cache
def _threads() -> int:
    said = os.environ.get("OMP_NUM_THREADS", "")
    return min(_MOST, int(said) if said.isdecimal() and int(said) else os.cpu_count() or 1)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MOST - 1, thread_name_prefix="tinymp")


if hasattr(os, "register_at_fork"):  # a child process inherits the pool, but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
