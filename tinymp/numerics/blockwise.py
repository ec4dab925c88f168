"""Carrying out a formula block by block, so that what lies between stays in the cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from inspect import signature
from math import prod
from threading import Lock
from typing import Any

import numpy as np

from tinymp.devices.threads import share, threads_for
from tinymp.formats.quiet import quietly
from tinymp.numerics.packed import Packed

Array = Any
Rule = Callable[..., Array]

# Elements of float32 in 256 KiB: a second-level cache holds a few such arrays.
_BLOCK = 64 * 1024
_WORK = 8  # how much longer such a formula takes than a copy


def blockwise(rule: Rule) -> Rule:
    """Let a processor carry out `rule(xp, *arrays)`, an elementwise formula, block by block.

    NumPy writes each intermediate result of a formula to memory and reads it again. Where those are
    small they stay in the cache, and use the same memory each time; and blocks can be shared out
    among threads. Results are the same: one element has nothing to do with another. A GPU, where a
    formula is one kernel, sees no blocks.
    """

    @wraps(rule)
    def in_blocks(xp: Any, *arrays: Array) -> Array:
        first = arrays[0]
        if not isinstance(first, np.ndarray) or first.size <= _BLOCK or not _alike(arrays):
            return rule(xp, *arrays)
        flat = [array.reshape(-1) for array in arrays]
        out = np.empty(first.shape, first.dtype)
        result = out.reshape(-1)

        def part(begin: int, end: int) -> None:
            for start in range(begin, end, _BLOCK):
                block = slice(start, min(start + _BLOCK, end))
                result[block] = rule(xp, *[array[block] for array in flat])

        share(partial(quietly, part), first.size, _BLOCK, _WORK)
        return out

    return in_blocks


def rowwise(*names: str, work: int = 8) -> Callable[[Rule], Rule]:
    """Share out the rows of a rule among a processor's threads, where none depends on another.

    `names`: parameters, arrays or `Packed`, whose first axis counts the rows; others are passed as
    they are. Every array that the rule returns, alone or in a tuple, has a row for each. `work`:
    how much longer an element takes than in a copy. Formats narrower than float32 are seen whole:
    what a rule rounds on its way may draw random bits.
    """

    def decorate(rule: Rule) -> Rule:
        parameters = list(signature(rule).parameters)[1:]
        named = [i for i, name in enumerate(parameters) if name in names]

        @wraps(rule)
        def in_threads(xp: Any, *arguments: Any, **options: Any) -> Any:
            places = [i for i in named if i < len(arguments) and arguments[i] is not None]
            first = arguments[places[0]]
            weight = work * prod(first.shape[1:])
            if not first.shape or threads_for(first.shape[0] * weight) == 1:
                return rule(xp, *arguments, **options)
            if not _are_rows([arguments[i] for i in places]):
                return rule(xp, *arguments, **options)
            lock, single = Lock(), []
            results: list[Array] = []

            def part(begin: int, end: int) -> None:
                rows = slice(begin, end)
                mine = [x[rows] if i in places else x for i, x in enumerate(arguments)]
                found = rule(xp, *mine, **options)
                with lock:  # who comes first knows what the results look like
                    if not isinstance(found, tuple):
                        single.append(True)
                        found = (found,)
                    if not results:
                        results.extend(_room(x, first.shape[0]) for x in found)
                for result, x in zip(results, found, strict=True):
                    if result is not None:
                        result[rows] = x

            share(partial(quietly, part), first.shape[0], 1, weight)
            return results[0] if single else tuple(results)

        return in_threads

    return decorate


def _room(part: Array, rows: int) -> Array:
    """An array for all rows, of which `part` is some."""
    return None if part is None else np.empty((rows, *part.shape[1:]), part.dtype)


def _are_rows(arrays: list[Any]) -> bool:
    """Whether the first axes of arrays in a processor's memory count the same rows."""
    shape = arrays[0].shape
    for array in arrays:
        packed = isinstance(array, Packed)
        if not isinstance(array.storage if packed else array, np.ndarray):
            return False
        if len(array.shape) != len(shape) or array.shape[0] != shape[0]:
            return False
        if packed and array.dtype.itemsize < 4:
            return False
    return True


def _alike(arrays: tuple[Array, ...]) -> bool:
    """Whether elements that belong together lie in the same places of the arrays."""
    return all(
        array.shape == arrays[0].shape
        and array.dtype == arrays[0].dtype
        and array.flags.c_contiguous
        for array in arrays
    )
