"""In which pieces is a long array cast? Along its memory, in blocks, by several threads.

One NumPy operation over a long array reads and writes main memory; over a block it reads and writes
the cache. An array is walked through in the order of its memory, so a transposed one is neither
copied first nor slower. A small array is one block, where calls are what costs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinymp.devices.threads import share

Array = np.ndarray[Any, Any]

_LINE = 64  # elements: threads that write next to each other share no line of the cache


class Spelling(NamedTuple):
    """A cast of one block, how long a block may be, and how much longer it takes than a copy.

    `cast(source, result, random, buffers)` fills the block `result`. `random`: random words, or
    None. `buffers`: so many arrays of uint32 for what lies between, or as many None: a block by
    itself makes its own.
    """

    cast: Callable[[Array, Array, Any, Any], None]
    block: int
    weight: int = 1
    buffers: int = 0


def walk(
    spelling: Spelling, source: Array, result_type: np.dtype[Any], random: Array | None = None
) -> Array:
    """Cast all of `source`; the result lies in memory as `source` does.

    With random words, which come in the order of indices, both are walked in that order.
    """
    # An array that repeats elements has no order of memory.
    order: Any = "K" if random is None and 0 not in source.strides else "C"
    result = np.empty_like(source, result_type, order)
    x, out = source.ravel(order), result.ravel(order)
    words = None if random is None else random.ravel()
    if x.size > spelling.block:
        share(partial(_cast_part, spelling, x, out, words), x.size, _LINE, spelling.weight)
    elif x.size:
        spelling.cast(x, out, words, (None,) * spelling.buffers)
    return result


def _cast_part(
    spelling: Spelling, x: Array, out: Array, random: Array | None, begin: int, end: int
) -> None:
    cast, block, _, buffers = spelling
    # Used again by every block: a fresh array has to be mapped into memory.
    shared = np.empty((buffers, block), np.uint32)
    for start in range(begin, end, block):
        part = slice(start, min(start + block, end))
        words = None if random is None else random[part]
        cast(x[part], out[part], words, shared[:, : end - start])
