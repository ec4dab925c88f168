"""In which pieces is a long array cast? Along its memory, in blocks, by several threads.

One NumPy operation over a long array reads and writes main memory; over a block it reads and writes
the cache. An array is walked through in the order of its memory, so a transposed one is neither
copied first nor slower. A small array is one block, where calls are what costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinymp.devices.threads import share

Array = np.ndarray[Any, Any]


class Spelling(NamedTuple):
    """A cast of one block, and how long a block may be.

    `cast(source, result, random, buffers)` fills the block `result`. `random`: random words, or
    None. `buffers`: so many arrays of uint32 for what lies between, or as many None: a block by
    itself makes its own.
    """

    cast: Callable[[Array, Array, Any, Any], None]
    block: int
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
    cast, block, buffers = spelling
    if x.size > block:
        share(lambda begin, end: _cast_part(spelling, x, out, words, begin, end), x.size, block)
    elif x.size:
        cast(x, out, words, (None,) * buffers)
    return result


def _cast_part(
    spelling: Spelling, x: Array, out: Array, random: Array | None, begin: int, end: int
) -> None:
    cast, block, buffers = spelling
    # Used again by every block: a fresh array has to be mapped into memory.
    shared = np.empty((buffers, block), np.uint32)
    for start in range(begin, end, block):
        part = slice(start, min(start + block, end))
        words = None if random is None else random[part]
        cast(x[part], out[part], words, shared[:, : end - start])
