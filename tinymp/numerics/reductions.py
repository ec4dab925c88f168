"""Sums and maxima along one axis of NumPy arrays, faster than NumPy's own.

NumPy goes along an axis with a call for every row, or adds a row at a time; neither keeps a
processor busy where rows are short. BLAS multiplies a matrix by a vector of ones, which is a sum of
its columns or rows, up to eight times as fast; and `argmax` looks at a row faster than `max`.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

Array = Any

# The longest rows that BLAS sums. It adds in sequences, a row's elements in a few of them; NumPy
# adds long rows in pairs, with an error that hardly grows. (The rows of a column it adds one after
# the other, as BLAS does.)
_LONGEST = 1024
_KEPT = 1 << 14  # the longest vectors of ones that are worth their memory until the next sum
_FEW = 40  # rows whose maxima one call finds before argmax and what it needs are done


def sum_along(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """What `np.sum(x, axis, keepdims=keepdims)` computes, in another order where that is faster."""
    if axis is None or x.ndim < 2 or x.dtype.char not in "fd":
        return x.sum(axis=axis, keepdims=keepdims)
    if x.ndim == 2 and axis in (0, -2):  # most sums are such: without detours
        total = np.dot(_ones(len(x), x.dtype), x)
        return total[None] if keepdims else total
    if x.ndim == 2 and axis in (1, -1) and x.shape[1] <= _LONGEST:
        total = np.dot(x, _ones(x.shape[1], x.dtype))
        return total[:, None] if keepdims else total

    axes = tuple(sorted(normalize_axis_tuple(axis, x.ndim)))
    first, last = tuple(range(len(axes))), tuple(range(x.ndim - len(axes), x.ndim))
    together = axes in (first, last) and first != last and x.size and x.flags.c_contiguous
    terms = prod(x.shape[i] for i in axes)
    if not together or (axes == last and terms > _LONGEST):
        return x.sum(axis=axis, keepdims=keepdims)
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes)
    if axes == first:
        return sum_along(x.reshape(terms, -1), 0).reshape(kept)
    return sum_along(x.reshape(-1, terms), 1).reshape(kept)


def max_along(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """What `np.max(x, axis, keepdims=keepdims)` computes; a NaN is the maximum of its row."""
    if not _has_short_rows(x, axis) or x.size <= _FEW * x.shape[-1]:
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
        and x.shape[-1] <= _LONGEST
        and x.flags.c_contiguous
    )


def _ones(length: int, dtype: np.dtype[Any]) -> Array:
    return _kept_ones(length, dtype) if length <= _KEPT else np.ones(length, dtype)


@lru_cache(maxsize=64)
def _kept_ones(length: int, dtype: np.dtype[Any]) -> Array:
    ones = np.ones(length, dtype)
    ones.flags.writeable = False
    return ones
