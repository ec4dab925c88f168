"""Choosing between two arrays, element by element, without a branch for each element."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any

_FEW = 4096  # elements up to which np.where, a single call, is the faster one
_MANY = 1 << 20  # elements from which a second array costs more than it gains
_WORDS = {n: np.dtype(f"i{n}") for n in (1, 2, 4, 8)}


def where(mask: Array, x: Array, y: Array) -> Array:
    """`np.where(mask, x, y)`: x where the mask holds, y elsewhere, NaN and infinities included.

    np.where decides at every element anew, and where a mask has no pattern, as after a ReLU, the
    processor guesses wrong half of the time. Words can be chosen by their bits, up to eight times
    as fast:

        y ^ ((x ^ y) & choice)      with a choice of all ones or no bit at all
        y · truth                   where x is 0: words as integers, times 1 or 0
    """
    if not isinstance(mask, np.ndarray) or mask.size <= _FEW or mask.dtype != bool:
        return np.where(mask, x, y)
    dtype = np.result_type(x, y)
    if dtype.kind not in "fiu":
        return np.where(mask, x, y)
    words = _WORDS[dtype.itemsize]
    if type(x) is int and x == 0:
        mask, x, y = ~mask, y, x
    if type(y) is int and y == 0:
        return (np.asarray(x, dtype).view(words) * mask.astype(words)).view(dtype)
    left, right = np.asarray(x, dtype).view(words), np.asarray(y, dtype).view(words)
    choice = np.negative(mask.view(np.int8), dtype=words)
    chosen = choice & (left ^ right)
    chosen ^= right
    return chosen.view(dtype)


def maximum(x: Array, y: Array) -> Array:
    """`np.maximum(x, y)`. NumPy is twice as fast with an array of zeros as with the number 0."""
    if type(y) is int and type(x) is np.ndarray and x.dtype.kind == "f" and x.size <= _MANY:
        return np.maximum(x, np.zeros(x.shape, x.dtype) if y == 0 else y)
    return np.maximum(x, y)
