"""All 2^32 float32 words through every 16-bit encoder, in every deterministic mode.

Words of one sign are ordered as their values are, so an encoder is a staircase over them, known by
where its steps are. A run takes about a minute on one core.
"""

from __future__ import annotations

import numpy as np
import pytest

from tinymp.formats import bfloat16, encode, float16
from tinymp.formats.few import FEW

pytestmark = pytest.mark.slow

CHUNK = 1 << 18
INFINITY = 0x7F80_0000


def steps(oracle, mode):
    """Give the float32 words from which on the result is 1, 2, 3, … up to infinity, exactly."""
    # Values, and midpoints too, are float32 values; the last magnitude stands for infinity.
    low, high = oracle.magnitudes[:-1], oracle.magnitudes[1:]
    if mode == "toward_zero":
        words = high[:-1].astype(np.float32).view(np.uint32)
        return np.append(words, np.uint32(INFINITY))
    midpoints = ((low + high) / 2).astype(np.float32)
    np.testing.assert_array_equal(midpoints, (low + high) / 2)
    odd = np.arange(len(low), dtype=np.uint32) % 2  # a tie goes up from an odd word
    return midpoints.view(np.uint32) + 1 - odd


@pytest.mark.parametrize("mode", ["nearest_even", "toward_zero"])
@pytest.mark.parametrize("dtype", [bfloat16, float16], ids=lambda dtype: dtype.name)
def test_every_float32_word(dtype, mode, oracle):
    stairs = steps(oracle(dtype), mode)
    assert (stairs[:-1] < stairs[1:]).all()
    for sign in (0, 1):
        for start in range(0, 1 << 31, CHUNK):
            words = np.arange(start, start + CHUNK, dtype=np.uint32)
            first, last = np.searchsorted(stairs, [start, start + CHUNK])
            expected = np.zeros(CHUNK, np.uint16)
            expected[stairs[first:last] - start] = 1
            expected = np.cumsum(expected, dtype=np.uint16) + np.uint16(first)
            expected[words > INFINITY] = dtype.nan_word
            values, expected = (words | sign << 31).view(np.float32), expected | sign << 15
            np.testing.assert_array_equal(encode(values, dtype, mode), expected)
            few = [encode(part, dtype, mode) for part in values.reshape(-1, FEW)]
            np.testing.assert_array_equal(np.concatenate(few), expected)
