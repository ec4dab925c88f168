"""In which order does a library add? A question that its results can answer.

Put a huge number M at one place of a dot product, -M at another, and the same tiny number at all
others. Whatever tiny numbers are added to M before it meets -M are swallowed; what is left counts
the others. So each pair of places tells how many terms are added up by the time the two have met,
and from that follows the order of all additions.

Source: Xie, Gao, Wang & Xue, Revealing floating-point accumulation orders in software/hardware
implementations (USENIX ATC 2025, arXiv 2411.00442).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from tinymp.formats import DType, encode, float16

Array = Any
#: Of words (m, k) and (k, n), their product as float32 values, on the host.
Multiply = Callable[[Array, Array], Array]

# Products of one instruction are added at once: places in one such block meet at the same time.
BLOCK = 16


def parts_of(multiply: Multiply, m: int, n: int, k: int, dtype: DType) -> list[slice]:
    """The parts into which a product of (m, k) and (k, n) splits its inner dimension.

    Each part is a chain of tensor-core instructions from its first term to its last; the parts'
    results are added in order. One part is a plain chain.

    Args:
        multiply: the product to ask.
        m, n, k: its shape; libraries choose the order by it.
        dtype: float16 or bfloat16.

    Raises:
        ValueError: terms are added in another order than this; the message says what was seen.
    """
    middles = np.arange(BLOCK // 2, k + BLOCK // 2, BLOCK)
    places = np.minimum(middles, k - 1)  # one of every block, of the last one, too
    if len(places) < 2:
        return [slice(0, k)]
    met = _terms_met(multiply, m, n, k, dtype, np.zeros_like(places), places)
    chain = np.minimum((places // BLOCK + 1) * BLOCK, k)  # where nothing is split
    first = int(np.argmax(met != chain)) if (met != chain).any() else len(places)
    # What lies in a later part has met the first place only when its whole part is added.
    ends = [int(chain[first - 1]), *sorted({int(x) for x in met[first:]})]
    expected = [next((end for end in ends if place < end), None) for place in places[first:]]
    if first == 0 or ends[-1] != k or met[first:].tolist() != expected:
        raise ValueError(
            f"a product of shape {m}×{n}×{k} adds its terms in an order that is no sequence of "
            f"chains: place 0 meets {places[:4].tolist()}, ... after {met[:4].tolist()}, ... terms"
        )
    found = [slice(start, end) for start, end in pairwise([0, *ends])]
    for part in found[1:]:
        later = places[(places > part.start + BLOCK) & (places < part.stop)]
        met = _terms_met(multiply, m, n, k, dtype, np.full_like(later, part.start), later)
        steps = (later - part.start) // BLOCK + 1
        if (met != np.minimum(steps * BLOCK, part.stop - part.start)).any():
            raise ValueError(
                f"a product of shape {m}×{n}×{k} has a part from {part.start} to {part.stop} that "
                f"is no chain: its first place meets the others after {met.tolist()} terms"
            )
    return found


def _terms_met(
    multiply: Multiply, m: int, n: int, k: int, dtype: DType, one: Array, other: Array
) -> Array:
    """How many terms are added up by the time that the places `one` and `other` have met.

    Each row of the product answers for one pair, or each column, whatever there are more of.
    """
    big, tiny = (2.0**15, 2.0**-24) if dtype is float16 else (2.0**100, 2.0**-20)
    huge, minus, small, unit = (int(encode(x, dtype)) for x in (big, -big, tiny, 1.0))
    by_rows = m >= n
    found = np.empty(len(one), np.int64)
    for start in range(0, len(one), max(m, n)):
        i, j = (x[start : start + max(m, n)] for x in (one, other))
        asked = np.full((max(m, n), k), small, dtype.words)
        asked[np.arange(len(i)), i], asked[np.arange(len(j)), j] = huge, minus
        ones = np.full((k, min(m, n)), unit, dtype.words)
        product = multiply(asked, ones) if by_rows else multiply(ones.T, asked.T).T
        left = product[: len(i), 0].astype(np.float64) / tiny
        found[start : start + len(i)] = k - np.rint(left).astype(np.int64)
    return found
