"""Sums and maxima along one axis of NumPy arrays, faster than NumPy's own.

NumPy goes along an axis with a call for every row, or adds a row at a time; neither keeps a
processor busy where rows are short. BLAS multiplies a matrix by a vector of ones, which is a sum of
its columns or rows, up to eight times as fast; and `argmax` looks at a row faster than `max`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

Array = Any

# The longest rows that BLAS sums. It adds in sequences, a row's elements in a few of them; NumPy
# adds long rows in pairs, with an error that hardly grows. (The rows of a column it adds one after
# the other, as BLAS does.)
_LONGEST = 1024


def sum_along(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """What `np.sum(x, axis, keepdims=keepdims)` computes, in another order where that is faster."""
    if axis is None:
        return x.sum(keepdims=keepdims)
    if type(axis) is int and x.ndim == 2 and x.dtype.char in "fd":
        rows, columns = x.shape
        if axis == 0:
            total = np.dot(_ones(rows, x.dtype), x)
            return total[None] if keepdims else total
        if columns <= _LONGEST:
            total = np.dot(x, _ones(columns, x.dtype))
            return total[:, None] if keepdims else total
    elif _has_short_rows(x, axis):
        total = np.dot(x.reshape(-1, x.shape[-1]), _ones(x.shape[-1], x.dtype))
        return total.reshape(*x.shape[:-1], *[1] * keepdims)
    return x.sum(axis=axis, keepdims=keepdims)


def max_along(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """What `np.max(x, axis, keepdims=keepdims)` computes; a NaN is the maximum of its row."""
    if x.size < 1000 or not _has_short_rows(x, axis):
        return x.max(axis=axis, keepdims=keepdims)
    places = x.argmax(axis=-1, keepdims=keepdims)
    places += np.arange(0, x.size, x.shape[-1]).reshape(places.shape)
    return x.take(places)


def _has_short_rows(x: Array, axis: Any) -> bool:
    """Whether `axis` is the last one of a float array whose rows lie one after the other."""
    return (
        type(axis) is int
        and x.ndim > 1
        and axis in (-1, x.ndim - 1)
        and x.dtype.char in "fd"
        and 0 < x.shape[-1] <= _LONGEST
        and x.flags.c_contiguous
    )


@lru_cache(maxsize=64)
def _ones(length: int, dtype: np.dtype[Any]) -> Array:
    ones = np.ones(length, dtype)
    ones.flags.writeable = False
    return ones
