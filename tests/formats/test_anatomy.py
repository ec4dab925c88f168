from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymp.formats import (
    DTYPES,
    bfloat16,
    bool_,
    encode,
    float8_e4m3fn,
    float16,
    float32,
    float64,
    rounding,
)
from tinymp.formats.anatomy import examine, round_fraction, shortest_decimal

FLOATS = [dtype for dtype in DTYPES if dtype.is_float]


def test_one_tenth_in_float16():
    it = examine("0.1", float16)
    assert (it.sign_bit, it.exponent_bits, it.significand_bits) == ("0", "01011", "1001100110")
    assert it.word == 0x2E66
    assert it.given == Fraction(1, 10)
    assert it.value == 0.0999755859375
    assert it.exact == Fraction(1638, 16384)
    assert it.shortest == "0.1"
    assert it.kind == "normal"
    assert it.rounding == "nearest_even"
    assert it.ulp == Fraction(1, 2**14)
    assert it.error_ulps == Fraction(-2, 5)
    assert (it.below, it.above) == (0.09991455078125, 0.10003662109375)


def test_the_float_is_not_the_decimal():
    assert examine(0.1, float64).error_ulps == 0
    assert examine("0.1", float64).error_ulps == Fraction(2, 5)
    assert examine(0.1, float64).value == 0.1


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
def test_special_values(dtype):
    zero = examine("-0.0", dtype)
    assert (zero.kind, zero.shortest, zero.error_ulps) == ("zero", "-0.0", 0)
    assert (zero.below, zero.above) == (-dtype.smallest_subnormal, dtype.smallest_subnormal)
    nan = examine("nan", dtype)
    assert (nan.kind, nan.word, nan.exact, nan.error_ulps) == ("nan", dtype.nan_word, None, None)
    assert nan.below is nan.above is None
    infinity = examine("-inf", dtype)
    assert infinity.word == dtype.sign_mask | (dtype.infinity_word or dtype.nan_word)
    if dtype.has_infinity:
        assert (infinity.kind, infinity.value) == ("infinity", -math.inf)
        assert (infinity.below, infinity.above) == (None, -dtype.max)
    largest = examine(dtype.max, dtype)
    assert largest.above == (math.inf if dtype.has_infinity else None)
    assert examine(dtype.smallest_subnormal, dtype).kind == "subnormal"
    assert examine(dtype.smallest_subnormal, dtype).below == 0
    assert examine(-dtype.smallest_normal, dtype).kind == "normal"
    assert examine(-dtype.smallest_normal, dtype).above == -(
        dtype.smallest_normal - dtype.smallest_subnormal
    )


def test_overflow_has_no_error_in_ulps():
    it = examine(10**400, float16)
    assert (it.kind, it.given, it.error_ulps) == ("infinity", Fraction(10**400), None)
    truncated = examine(10**400, float16, "toward_zero")
    assert truncated.value == 65504.0
    assert truncated.ulp == 32  # beyond the last binade its unit goes on
    assert examine("inf", float16, saturate=True).value == 65504.0
    assert examine(500, float8_e4m3fn).kind == "nan"
    assert examine(500, float8_e4m3fn, saturate=True).value == 448.0


@pytest.mark.parametrize(
    ("text", "value"),
    [("1/3", Fraction(1, 3)), ("-3e-5", Fraction(-3, 10**5)), ("0x1.8p-3", Fraction(3, 16))],
)
def test_strings_are_exact(text, value):
    assert examine(text, float32).given == value


def test_the_active_mode_is_taken():
    assert examine("0.1", "bfloat16").rounding == "toward_zero"
    with rounding("nearest_even"):
        assert examine("0.1", bfloat16).value == 0.10009765625
    with rounding("stochastic"):
        seen = {examine("0.1", bfloat16).value for _ in range(100)}
    assert seen == {0.099609375, 0.10009765625}


@pytest.mark.parametrize("mode", ["toward_zero", "nearest_even"])
@pytest.mark.parametrize("dtype", FLOATS[1:], ids=lambda dtype: dtype.name)
@given(number=st.floats() | st.integers(-600, 600).map(lambda n: n / 8) | st.floats(-1e-4, 1e-4))
def test_it_rounds_as_encode_does(dtype, mode, number):
    assert examine(number, dtype, mode).word == encode(np.float64(number), dtype, mode)


@pytest.mark.parametrize("dtype", FLOATS[1:], ids=lambda dtype: dtype.name)
@given(number=st.floats(-1e6, 1e6) | st.floats(-1e-4, 1e-4), word=st.integers(0, 2**64 - 1))
def test_it_rounds_as_stochastic_encode_does(dtype, number, word):
    magnitude = round_fraction(
        abs(Fraction(number)), dtype, "stochastic", random=Fraction(word, 2**64)
    )
    random_words = np.array(word, np.uint64)
    encoded = encode(np.float64(number), dtype, "stochastic", random_words=random_words)
    # The 62 leading random bits decide; more would matter to differences below 2^-62 units.
    assert magnitude == int(encoded) & (dtype.sign_mask - 1)


def test_the_shortest_decimal_is_numpys():
    for word in range(1, 0x7C00, 37):
        value = np.uint16(word).view(np.float16)
        assert float(shortest_decimal(word, float16)) == float(str(value))
    assert shortest_decimal(0x3DCCCCCD, float32) == "0.1"


def test_bad_arguments_say_what_is_expected():
    with pytest.raises(ValueError, match=r"cannot read 'one' as a number; write a decimal \(0\.1"):
        examine("one", float16)
    with pytest.raises(ValueError, match=r"1e999999999.*exponent is beyond ±5000"):
        examine("1e999999999", float16)
    with pytest.raises(ValueError, match=r"cannot read '1/0' as a number"):
        examine("1/0", float16)
    with pytest.raises(TypeError, match=r"bool is not a floating-point format; use one of float64"):
        examine(1, bool_)
    with pytest.raises(ValueError, match=r"unknown rounding mode 'up'"):
        examine(1, float16, "up")
