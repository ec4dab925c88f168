"""Carrying out a formula block by block, so that what lies between stays in the cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import numpy as np

from tinymp.devices.threads import share
from tinymp.formats.quiet import quietly

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


def _alike(arrays: tuple[Array, ...]) -> bool:
    """Whether elements that belong together lie in the same places of the arrays."""
    return all(
        array.shape == arrays[0].shape
        and array.dtype == arrays[0].dtype
        and array.flags.c_contiguous
        for array in arrays
    )
