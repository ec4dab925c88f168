"""Carrying out a formula block by block, so that what lies between stays in the cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from inspect import signature
from math import prod
from typing import Any

import numpy as np

from tinymp.devices.threads import share
from tinymp.formats.quiet import quietly
from tinymp.numerics.packed import Packed

Array = Any
Rule = Callable[..., Array]

# Elements of float32 in 64 KiB: the arrays of a formula with a dozen of them fit into a
# second-level cache together.
_BLOCK = 16 * 1024


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

        share(partial(quietly, part), first.size, _BLOCK)
        return out

    return in_blocks


def rowwise(*names: str) -> Callable[[Rule], Rule]:
    """Let a processor carry out a rule for a few rows at a time that do not depend on others.

    `names`: parameters, arrays or `Packed`, whose first axis counts the rows; others are passed as
    they are. Every array that the rule returns, alone or in a tuple, has a row for each. Formats
    narrower than float32 are seen whole: what a rule rounds on its way may draw random bits.
    """

    def decorate(rule: Rule) -> Rule:
        parameters = list(signature(rule).parameters)[1:]
        named = [i for i, name in enumerate(parameters) if name in names]

        @wraps(rule)
        def in_rows(xp: Any, *arguments: Any, **options: Any) -> Any:
            places = [i for i in named if i < len(arguments) and arguments[i] is not None]
            count, step, weight = _rows([arguments[i] for i in places])
            if step >= count:
                return rule(xp, *arguments, **options)

            def some(rows: slice) -> tuple[Any, ...]:
                parts = [x[rows] if i in places else x for i, x in enumerate(arguments)]
                found = rule(xp, *parts, **options)
                return found if isinstance(found, tuple) else (found,)

            first = some(slice(step))
            results = [
                None if x is None else np.empty((count, *x.shape[1:]), x.dtype) for x in first
            ]

            def keep(rows: slice, found: tuple[Any, ...]) -> None:
                for result, x in zip(results, found, strict=True):
                    if result is not None:
                        result[rows] = x

            def part(begin: int, end: int) -> None:
                for start in range(step + begin, step + end, step):
                    rows = slice(start, min(start + step, step + end))
                    keep(rows, some(rows))

            keep(slice(step), first)
            share(partial(quietly, part), count - step, step, weight)
            return results[0] if len(results) == 1 else tuple(results)

        return in_rows

    return decorate


def _rows(arrays: list[Any]) -> tuple[int, int, int]:
    """How many rows there are, how many make a block, and how many elements a row has."""
    first = arrays[0]
    count = first.shape[0] if first.shape else 1
    weight = prod(first.shape[1:])
    for array in arrays:
        on_processor = isinstance(array.storage if isinstance(array, Packed) else array, np.ndarray)
        matches = len(array.shape) == len(first.shape) and array.shape[:1] == first.shape[:1]
        if not on_processor or not matches or array.dtype.itemsize < 4:
            return count, count, weight
    return count, max(1, _BLOCK // max(1, weight)), weight


def _alike(arrays: tuple[Array, ...]) -> bool:
    """Whether elements that belong together lie in the same places of the arrays."""
    return all(
        array.shape == arrays[0].shape
        and array.dtype == arrays[0].dtype
        and array.flags.c_contiguous
        for array in arrays
    )
