"""The values, by name, that laws of rounding turn on and random floats miss; and what is no law."""

from __future__ import annotations

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

import tinymp as mp
from tinymp.formats import (
    MODES,
    bfloat16,
    decode,
    encode,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    rounding,
)
from tinymp.numerics import accumulator, bounds
from tinymp.testing.exact_rounding import exact_word

NARROW = [float16, bfloat16, float8_e4m3fn, float8_e5m2]
ONE_DTYPE = pytest.mark.parametrize("dtype", NARROW, ids=lambda dtype: dtype.name)


@ONE_DTYPE
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("word", [0x7F800001, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF, 0x7FC00000])
def test_6_nan_stays_nan_whatever_its_payload(dtype, mode, word):
    x = np.full(3, word, np.uint32).view(np.float32)
    random = np.array([0, 0x80000000, 0xFFFFFFFF], np.uint32)
    words = encode(x, dtype, mode, random_words=random if mode == "stochastic" else None)
    assert np.isnan(decode(words, dtype)).all()
    assert ((words & dtype.sign_mask != 0) == (word >> 31 == 1)).all()


def test_6_what_the_naive_spellings_make_of_them():
    cut = np.array([0x7F800001], np.uint32) >> 16
    assert decode(cut.astype(np.uint16), bfloat16) == np.inf
    carried = np.array([0x7FFFFFFF], np.uint32) + np.uint32(0x7FFF) >> 16
    assert carried == 0x8000  # -0


def test_3_where_overflow_begins():
    half_way = [(float16, 65520.0, np.inf), (float8_e5m2, 61440.0, np.inf)]
    for dtype, threshold, beyond in half_way:
        below = np.nextafter(threshold, 0)
        assert decode(encode(threshold, dtype, "nearest_even"), dtype) == beyond
        assert decode(encode(below, dtype, "nearest_even"), dtype) == dtype.max
        assert decode(encode(threshold, dtype, "toward_zero"), dtype) == dtype.max
        assert decode(encode(threshold, dtype, "nearest_even", saturate=True), dtype) == dtype.max
    # E4M3FN: the tie goes to the even 448, and there is no infinity.
    assert decode(encode(464.0, float8_e4m3fn, "nearest_even"), float8_e4m3fn) == 448
    above = np.nextafter(464.0, 500)
    assert np.isnan(decode(encode(above, float8_e4m3fn, "nearest_even"), float8_e4m3fn))
    assert decode(encode(np.inf, float8_e4m3fn, "nearest_even", True), float8_e4m3fn) == 448
    assert np.isnan(decode(encode(np.inf, float8_e4m3fn, "toward_zero"), float8_e4m3fn))


def test_6a_a_float64_rounds_once_and_through_float32_twice():
    x = np.nextafter(65520.0, 0)
    assert decode(encode(x, float16, "nearest_even"), float16) == 65504
    assert np.isinf(decode(encode(np.float32(x), float16, "nearest_even"), float16))
    x = np.array([1 + 2.0**-8 + 2.0**-40])  # just above a tie of bfloat16
    assert decode(encode(x, bfloat16, "nearest_even"), bfloat16) == 1 + 2.0**-7
    assert x.astype(np.float32).astype(ml_dtypes.bfloat16) == 1


def test_7_a_fused_multiply_add_through_float32_is_not_correctly_rounded():
    """What holds for + − × ÷ √ does not for a·b + c: where a·b is a tie of float16, c decides, and
    float32 has forgotten it."""
    c, wrong = Fraction(1, 1 << 24), 0  # the smallest float16
    for i, j in np.ndindex(32, 32):
        product = (1 + Fraction(i, 32)) * (1 + Fraction(j, 32))
        exact = product + c
        assert Fraction(float(exact)) == exact
        fused = np.float32(float(exact))  # what one instruction returns
        for rounded_once, through_float32 in (
            (product, np.float32(float(product))),
            (exact, fused),
        ):
            word = int(encode(through_float32, float16, "nearest_even"))
            right = word == exact_word(rounded_once, float16, "nearest_even")
            assert right or rounded_once is exact  # a product alone is always right
            wrong += not right
    assert wrong > 50


def test_7_truncated_arithmetic_is_not_the_truncated_exact_result():
    one, tiny = mp.tensor(1.0).bfloat16(), mp.tensor(2.0**-30).bfloat16()
    with rounding("toward_zero"):
        assert (one - tiny).item() == 1  # the exact 1 - 2^-30 would be cut to 1 - 2^-8
        third = mp.tensor(1.0).half() / mp.tensor(3.0).half()
    assert exact_word(Fraction(1) - Fraction(1, 1 << 30), bfloat16, "toward_zero") == 0x3F7F
    assert Fraction(third.item()) <= Fraction(1, 3)


def test_10_equal_terms_break_the_square_root_bound_to_nearest():
    """FP16 ones stop at 2048: the errors are all alike, where the bound supposes a random mix."""
    n, u = 8192, float16.unit_roundoff("nearest_even")
    total = accumulator("float16", rounding="nearest_even").sum(np.ones(n, np.float32))
    assert total == 2048
    assert n - total > bounds.probabilistic_gamma(n, u, confidence=6.0) * n
    assert bounds.probability(u, 6.0) > 1 - 1e-7


def test_10_truncation_breaks_the_square_root_bound_for_random_terms():
    n, u = 8192, float32.unit_roundoff("toward_zero")
    x = np.random.default_rng(0).random(n, np.float32)
    total = accumulator("sequential", dtype="float32", rounding="toward_zero").sum(x)
    exact = x.sum(dtype=np.float64)
    assert exact - total > bounds.probabilistic_gamma(n, u, confidence=6.0) * exact
    assert exact - total <= bounds.gamma(n, u) * exact


def test_11_a_scale_that_is_no_power_of_two_rounds():
    x = np.float32(1 + 2.0**-10)
    scaled = decode(encode(x * np.float32(3), float16, "nearest_even"), float16)
    assert scaled != 3 * x
    assert decode(encode(x * np.float32(4), float16, "nearest_even"), float16) == 4 * x
