"""In which order are terms added, and to what is every partial sum rounded?

The terms are a sequence of arrays of one shape: the slices of an array along an axis, or the outer
products that a matrix product is made of. Every method adds them elementwise and rounds each
addition once, to a format and in a mode that the adder knows.

Sources: Higham, Accuracy and Stability of Numerical Algorithms (2nd ed., 2002), chapter 4; chunks:
Wang et al., Training deep neural networks with 8-bit floating point numbers (NeurIPS 2018).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import add
from typing import Any, Protocol

import numpy as np

from tinymp.devices import device_of
from tinymp.formats import DType, decode, encode, float32, float64

Array = Any
Adder = Callable[[Array, Array], Array]


class Terms(Protocol):
    """What is added up: as many arrays of one shape as it is long."""

    def __len__(self) -> int:
        """How many terms there are."""

    def __getitem__(self, i: int) -> Array:
        """The term of number `i`."""


def terms_along(
    x: Array, axis: int | tuple[int, ...] | None, keepdims: bool
) -> tuple[Array, tuple[int, ...]]:
    """What a sum of `x` over `axis` adds up, along a first axis in C order; and the sum's shape."""
    axes = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    summed = sorted(a % x.ndim for a in axes)
    kept = [a for a in range(x.ndim) if a not in summed]
    shape = tuple(x.shape[a] for a in kept)
    count = int(np.prod([x.shape[a] for a in summed], dtype=np.int64))
    terms = x.transpose(*summed, *kept).reshape(count, *shape) if x.ndim else x.reshape(1)
    if keepdims:
        shape = tuple(1 if a in summed else n for a, n in enumerate(x.shape))
    return terms, shape


class Products:
    """The terms of a matrix product: columns of `x` (..., m, k) times rows of `y` (..., k, n)."""

    def __init__(self, x: Array, y: Array) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return int(self.x.shape[-1])

    def __getitem__(self, i: int) -> Array:
        return self.x[..., :, i, None] * self.y[..., None, i, :]


# The methods. Each starts from `zero`, an array of zeros of the terms' shape, so that a single term
# is rounded too.


def sequential(add: Adder, terms: Terms, zero: Array) -> Array:
    """((t0 + t1) + t2) + …: the error bound grows with the number of terms."""
    total = zero
    for i in range(len(terms)):
        total = add(total, terms[i])
    return total


def chunked(add: Adder, terms: Terms, zero: Array, size: int) -> Array:
    """Chunks of `size` terms, then their sums, both sequentially: size + n/size additions deep."""
    total = zero
    for start in range(0, len(terms), size):
        chunk = zero
        for i in range(start, min(start + size, len(terms))):
            chunk = add(chunk, terms[i])
        total = add(total, chunk)
    return total


def pairwise(add: Adder, terms: Terms, zero: Array) -> Array:
    """Halves, each summed by halves: log2(n) additions deep (Higham, section 4.1)."""

    def part(start: int, stop: int) -> Array:
        if stop - start == 1:
            return add(zero, terms[start])
        middle = (start + stop) // 2
        return add(part(start, middle), part(middle, stop))

    return part(0, len(terms)) if len(terms) else zero


def kahan(add: Adder, terms: Terms, zero: Array) -> Array:
    """Compensated summation: what an addition lost is given to the next one (Higham, alg. 4.2).

    To nearest, the error is 2u + O(n u²) times the sum of magnitudes.
    """
    xp = device_of(zero).xp
    total, lost = zero, zero
    for i in range(len(terms)):
        term = add(add(zero, terms[i]), -lost)
        raised = add(total, term)
        lost = add(add(raised, -total), -term)
        # Nothing can be given back to an infinite sum: infinity - infinity would make it NaN.
        lost = xp.where(xp.isfinite(lost), lost, zero)
        total = raised
    return total


def running(add: Adder, x: Array, axis: int) -> Array:
    """Sums of the values so far along an axis, one value after the other."""
    xp = device_of(x).xp
    sums = xp.empty_like(x)
    values, found = x.swapaxes(axis, 0), sums.swapaxes(axis, 0)  # views
    total = xp.zeros(values.shape[1:], x.dtype)
    for i in range(len(values)):
        total = add(total, values[i])
        found[i] = total
    return sums


# Additions that round once.


def adder(dtype: DType, mode: str) -> Adder:
    """Addition of values of `dtype`, or of such a value and a wider one, rounded once to `dtype`.

    What it takes and returns are arrays of values, float32 (float64 for float64), not words.
    """
    native = mode == "nearest_even" and dtype in (float32, float64)
    return partial(_native, dtype.storage) if native else partial(_rounded, dtype, mode)


def _native(wide: np.dtype[Any], x: Array, y: Array) -> Array:
    return add(x.astype(wide, copy=False), y.astype(wide, copy=False))


def _rounded(dtype: DType, mode: str, x: Array, y: Array) -> Array:
    if dtype.precision > float32.precision - 2:
        x = x.astype(np.float64, copy=False)
    return decode(encode(sum_to_odd(x, y), dtype, mode), dtype)


def sum_to_odd(x: Array, y: Array) -> Array:
    """x + y in float32 or float64, an inexact sum rounded to the neighbour whose last bit is odd.

    Rounding that once more, to a format at least two bits shorter, gives what rounding the exact
    sum would have given: an odd last bit says on which side of a midpoint the exact sum lies (Boldo
    & Melquiond, IEEE Trans. Computers 57(4), 2008). An ordinary sum would be rounded twice.
    """
    xp = device_of(x).xp
    total = x + y
    error = two_sum_error(x, y, total)
    word = total.view(f"i{total.dtype.itemsize}")
    away = (error > 0) == (total > 0)  # the exact sum is farther from zero than `total`
    step = xp.where(away, 1, -1).astype(word.dtype)
    even = (xp.abs(error) > 0) & (word & 1 == 0)  # False for the NaN error of an infinite sum
    odd = xp.where(even, word + step, word).view(total.dtype)
    # The word of the largest number is odd: a sum beyond it stays there.
    beyond = xp.isinf(total) & xp.isfinite(x) & xp.isfinite(y)
    return xp.where(beyond, xp.copysign(np.finfo(total.dtype).max, total), odd)


def two_sum_error(x: Array, y: Array, total: Array) -> Array:
    """x + y - total, exactly, for total = x + y rounded to nearest (Knuth's TwoSum).

    Knuth, The Art of Computer Programming, volume 2, section 4.2.2, theorem B.
    """
    y_seen = total - x
    return (x - (total - y_seen)) + (y - y_seen)
