"""Laws of rounding, on values aimed at trouble: ties, powers of two, subnormals, overflow, NaNs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymp.formats import (
    bfloat16,
    decode,
    encode,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
)

FORMATS = [float32, float16, bfloat16, float8_e4m3fn, float8_e5m2]
MODES = ["toward_zero", "nearest_even", "stochastic"]
seeds = st.integers(0, 2**32 - 1)

every_format = pytest.mark.parametrize("dtype", FORMATS, ids=lambda dtype: dtype.name)
every_mode = pytest.mark.parametrize("mode", MODES)


def aimed(seed, dtype, wide=None):
    """Give 1000 values, float64 or at random float32, of every kind that rounding may get wrong."""
    rng = np.random.default_rng(seed)
    wide = bool(rng.integers(2)) if wide is None else wide
    source = float64 if wide or dtype is float32 else float32
    words = rng.integers(0, 1 << source.bits, 1000, dtype=source.words)
    # Three quarters fall into the format's range and a little beyond.
    exponents = rng.integers(dtype.emin - dtype.precision - 2, dtype.emax + 3, 1000)
    exponents = np.clip(exponents + source.bias, 0, 2 * source.bias).astype(source.words)
    fields = (words & ~source.words.type(source.exponent_mask)) | exponents << source.words.type(
        source.significand_bits
    )
    words = np.where(rng.random(1000) < 0.75, fields, words)
    # Half get a short significand or one next to it: a representable value, a tie, a neighbour.
    keep = source.significand_bits - dtype.significand_bits - rng.integers(-1, 3, 1000)
    short = words >> keep.astype(source.words) << keep.astype(source.words)
    near = short + rng.integers(-1, 2, 1000).astype(source.words)
    words = np.where(rng.random(1000) < 0.5, near, words)
    return words.astype(source.words).view(source.storage)


def rounded(values, dtype, mode, random_words=None):
    """Give the values that ``values`` round to, as float64."""
    with np.errstate(invalid="ignore"):
        words = encode(values, dtype, mode, random_words=random_words)
        return decode(words, dtype).astype(np.float64)


def exact(values):
    with np.errstate(invalid="ignore"):
        return values.astype(np.float64)


def spacing(x, dtype):
    """Give the distance of the format's numbers in the binade of x: one unit in the last place."""
    _, exponent = np.frexp(x)
    exponent = np.clip(exponent - 1, dtype.emin, dtype.emax)
    return np.ldexp(1.0, exponent - dtype.significand_bits)


def within_range(x, dtype):
    return np.abs(x) <= dtype.max


@every_format
@every_mode
@given(seed=seeds)
def test_1_rounding_twice_is_rounding_once(dtype, mode, seed):
    once = rounded(aimed(seed, dtype), dtype, mode)
    np.testing.assert_array_equal(rounded(once, dtype, mode), once)


@every_format
@pytest.mark.parametrize("mode", MODES[:2])
@given(seed=seeds)
def test_2_order_is_kept(dtype, mode, seed):
    x = np.sort(aimed(seed, dtype))
    result = rounded(x, dtype, mode)
    result = result[~np.isnan(result)]  # at the ends, where a format has no infinities
    assert (result[:-1] <= result[1:]).all()


@every_format
@given(seed=seeds, random=st.integers(0, 2**32 - 1))
def test_2_order_is_kept_under_shared_random_bits(dtype, seed, random):
    x = np.sort(aimed(seed, dtype))
    result = rounded(x, dtype, "stochastic", np.full(1000, random, np.uint32))
    result = result[~np.isnan(result)]
    assert (result[:-1] <= result[1:]).all()


@every_format
@every_mode
@given(seed=seeds)
def test_2_negation_commutes_and_zeros_keep_their_sign(dtype, mode, seed):
    x = aimed(seed, dtype)
    random = np.random.default_rng(seed).integers(0, 1 << 32, 1000, dtype=np.uint32)
    positive = encode(x, dtype, mode, random_words=random)
    negative = encode(-x, dtype, mode, random_words=random)
    np.testing.assert_array_equal(negative ^ positive, dtype.sign_mask)
    np.testing.assert_array_equal(np.signbit(x), positive & dtype.sign_mask != 0)


@every_format
@given(seed=seeds)
def test_3_nearest_is_within_half_a_unit_and_ties_go_to_even(dtype, seed):
    values = aimed(seed, dtype)
    x = exact(values)
    words = encode(values, dtype, "nearest_even")
    q = decode(words, dtype).astype(np.float64)
    threshold = (2 - 2.0**-dtype.precision) * 2.0**dtype.emax
    if dtype is float8_e4m3fn:  # its last significand, all ones, is NaN
        threshold = 464.0
    beyond = np.abs(x) > threshold if dtype is float8_e4m3fn else np.abs(x) >= threshold
    assert not np.isfinite(q[beyond]).any()
    inside = ~beyond & ~np.isnan(x)
    x, q, words = x[inside], q[inside], words[inside]
    error = np.abs(x - q)
    unit = spacing(x, dtype)
    assert (error <= unit / 2).all()
    roundoff = dtype.unit_roundoff("nearest_even")
    # The error bound, multiplied out: u|x| would underflow in float64 where |x| is its smallest.
    bound = np.maximum(np.abs(x), dtype.smallest_subnormal / (2 * roundoff))
    assert (error / roundoff <= bound).all()
    tie = (error == unit / 2) & (error > 0)
    assert (words[tie] % 2 == 0).all()


@every_format
@given(seed=seeds)
def test_4_toward_zero_never_grows_and_stays_within_a_unit(dtype, seed):
    values = aimed(seed, dtype)
    x, q = exact(values), rounded(values, dtype, "toward_zero")
    finite = np.isfinite(x)
    assert np.isfinite(q[finite]).all()
    x, q = x[finite], q[finite]
    assert (np.abs(q) <= np.abs(x)).all()
    within = within_range(x, dtype)
    assert (np.abs(x - q)[within] < spacing(x, dtype)[within]).all()
    assert (np.abs(q[~within]) == dtype.max).all()


@given(seed=seeds)
def test_4_bfloat16_toward_zero_is_the_upper_half_of_the_word(seed):
    x = aimed(seed, bfloat16, wide=False)
    words = encode(x, bfloat16, "toward_zero")
    number = ~np.isnan(x)
    np.testing.assert_array_equal(words[number], (x.view(np.uint32) >> 16)[number])


@every_format
@given(seed=seeds)
def test_5_stochastic_takes_one_of_the_two_neighbours(dtype, seed):
    values = aimed(seed, dtype)
    x, q = exact(values), rounded(values, dtype, "stochastic")
    low = rounded(np.abs(values), dtype, "toward_zero")
    within = within_range(x, dtype)
    x, q, low = x[within], q[within], low[within]
    is_low = np.abs(q) == low
    with np.errstate(invalid="ignore"):
        is_high = np.abs(q) == low + spacing(x, dtype)
    at_the_end = low == dtype.max  # what follows the largest value is infinity, or NaN
    assert (is_low | is_high | at_the_end).all()
    assert (is_low | (low < np.abs(x))).all()  # what is representable stays


@every_format
@every_mode
@given(seed=seeds)
def test_6_nan_and_infinity_stay(dtype, mode, seed):
    values = aimed(seed, dtype)
    values[:4] = [np.inf, -np.inf, np.nan, -np.nan]
    q = rounded(values, dtype, mode)
    assert np.isnan(q[np.isnan(values)]).all()
    infinite = np.isinf(values)
    if dtype.has_infinity:
        np.testing.assert_array_equal(q[infinite], exact(values)[infinite])
    else:
        assert np.isnan(q[infinite]).all()


@every_format
@every_mode
@given(seed=seeds, shift=st.integers(-30, 30))
def test_11_powers_of_two_pass_through(dtype, mode, seed, shift):
    values = aimed(seed, dtype, wide=True)
    random = np.random.default_rng(seed).integers(0, 1 << 32, 1000, dtype=np.uint32)
    with np.errstate(all="ignore"):
        scaled = np.ldexp(values, shift)

    def normal(x):
        return (np.abs(x) >= dtype.smallest_normal) & (np.abs(x) <= dtype.max)

    both = normal(values) & normal(scaled)
    q = rounded(values[both], dtype, mode, random[both])
    scaled_q = rounded(scaled[both], dtype, mode, random[both])
    finite = np.isfinite(q) & np.isfinite(scaled_q)  # the last unit below infinity is not normal
    np.testing.assert_array_equal(np.ldexp(q[finite], shift), scaled_q[finite])


def test_11_fails_for_subnormals():
    tiny = 3 * 2.0**-25  # 1.5 units of float16's smallest: a tie, which goes to 2
    assert rounded(np.float64(tiny), float16, "nearest_even") == 2.0**-23
    assert rounded(np.float64(tiny * 2), float16, "nearest_even") == 3 * 2.0**-24 != 2 * 2.0**-23


def test_nearest_is_not_monotone_in_precision():
    """Rounding twice, through a narrower format, is not rounding once."""
    x = 1 + 2.0**-11 + 2.0**-30
    through_float32 = encode(np.float64(x).astype(np.float32), float16, "nearest_even")
    assert encode(np.float64(x), float16, "nearest_even") == through_float32 + 1
