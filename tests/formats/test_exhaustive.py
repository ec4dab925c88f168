"""All 2^32 float32 words through every 16-bit encoder, in every deterministic mode.

A run takes half a minute to two minutes on one core.
"""

from __future__ import annotations

import numpy as np
import pytest

from tinymp.formats import bfloat16, encode, float16

pytestmark = pytest.mark.slow

CHUNK = 1 << 20


def nearest_by_peer(values, oracle):
    return values.astype(oracle.peer).view(np.uint16)


def upper_half(values, oracle):
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def nearest_and_a_step_back(values, oracle):
    """Round by NumPy, and undo what went away from zero."""
    words = values.astype(np.float16)
    past = np.abs(words.astype(np.float32)) > np.abs(values)
    past &= np.isfinite(values)
    return words.view(np.uint16) - past


@pytest.mark.parametrize(
    ("dtype", "mode", "reference"),
    [
        (bfloat16, "nearest_even", nearest_by_peer),
        (bfloat16, "toward_zero", upper_half),
        (float16, "nearest_even", nearest_by_peer),
        (float16, "toward_zero", nearest_and_a_step_back),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_every_float32_word(dtype, mode, reference, oracle):
    theirs = oracle(dtype)
    for start in range(0, 1 << 32, CHUNK):
        values = np.arange(start, start + CHUNK, dtype=np.uint32).view(np.float32)
        words = encode(values, dtype, mode)
        with np.errstate(all="ignore"):
            expected = reference(values, theirs)
        if np.array_equal(words, expected):
            continue
        nan = np.isnan(values)
        np.testing.assert_array_equal(words[~nan], expected[~nan])
        signs = (values[nan].view(np.uint32) >> 16 & 0x8000).astype(np.uint16)
        np.testing.assert_array_equal(words[nan], dtype.nan_word | signs)
