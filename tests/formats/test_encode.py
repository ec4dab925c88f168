from __future__ import annotations

import warnings

import numpy as np
import pytest

from tinymp.devices import get_device
from tinymp.formats import (
    bfloat16,
    decode,
    encode,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    int64,
    rounding,
)
from tinymp.formats.rule import encode_rule

DETERMINISTIC = ["toward_zero", "nearest_even"]


def every_exponent(seed: int = 0, per_exponent: int = 200):
    """Give float32 values: every sign and exponent, with edge and random significands."""
    rng = np.random.default_rng(seed)
    powers = 1 << np.arange(23)
    edges = np.concatenate([powers, powers - 1, (1 << 23) - powers, [0, 0x3FFFFF, 0x400001]])
    significands = np.concatenate([edges, rng.integers(0, 1 << 23, per_exponent)])
    return (np.arange(512)[:, None] << 23 | significands).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("mode", [*DETERMINISTIC, "stochastic"])
def test_encoding_undoes_decoding(device, narrow, mode, oracle):
    theirs = oracle(narrow)
    with np.errstate(invalid="ignore"):
        values = get_device(device).asarray(theirs.values.astype(np.float32))
    words = get_device(device).to_numpy(encode(values, narrow, mode))
    assert words.dtype == narrow.words
    assert theirs.same(words, theirs.words).all()


@pytest.mark.parametrize("mode", DETERMINISTIC)
@pytest.mark.parametrize("saturate", [False, True])
@pytest.mark.parametrize("floating", [np.float32, np.float64])
def test_values_midpoints_and_their_neighbours_round_exactly(
    device, narrow, mode, saturate, floating, oracle
):
    theirs = oracle(narrow)
    with np.errstate(over="ignore"):
        values = theirs.edges(floating)
    expected = theirs.round(values.astype(np.float64), mode, saturate)
    on = get_device(device)
    words = on.to_numpy(encode(on.asarray(values), narrow, mode, saturate))
    assert theirs.same(words, expected).all()


@pytest.mark.parametrize("mode", DETERMINISTIC)
def test_every_float32_exponent(device, narrow, mode, oracle):
    theirs = oracle(narrow)
    values = every_exponent()
    on = get_device(device)
    words = on.to_numpy(encode(on.asarray(values), narrow, mode))
    with np.errstate(all="ignore"):  # ours must not warn, theirs may
        assert theirs.same(words, theirs.round(values.astype(np.float64), mode)).all()
        if mode == "nearest_even":
            assert theirs.same(words, values.astype(theirs.peer).view(narrow.words)).all()


def test_bfloat16_toward_zero_is_the_upper_half_of_the_float32_word():
    values = every_exponent()
    words = encode(values, bfloat16, "toward_zero")
    upper = (values.view(np.uint32) >> 16).astype(np.uint16)
    np.testing.assert_array_equal(words[~np.isnan(values)], upper[~np.isnan(values)])


def test_nan_stays_nan_with_its_sign(narrow):
    payloads = np.array([0x7F800001, 0x7FFFFFFF, 0x7FC00000, 0x7F80FFFF, 0x7FBFFFFF], np.uint32)
    nans = np.concatenate([payloads, payloads | 0x80000000]).view(np.float32)
    for mode in (*DETERMINISTIC, "stochastic"):
        for saturate in (False, True):
            words = encode(nans, narrow, mode, saturate)
            assert (words[:5] == narrow.nan_word).all()
            assert (words[5:] == narrow.nan_word | narrow.sign_mask).all()


def test_truncating_0x7f800001_gives_nan_not_infinity():
    nan = np.array([0x7F800001], np.uint32).view(np.float32)
    assert np.isnan(decode(encode(nan, bfloat16, "toward_zero"), bfloat16))


def test_rounding_0x7fffffff_gives_nan_not_minus_zero():
    nan = np.array([0x7FFFFFFF], np.uint32).view(np.float32)
    assert np.isnan(decode(encode(nan, bfloat16, "nearest_even"), bfloat16))


@pytest.mark.parametrize(
    ("value", "word"),
    [(np.nextafter(65520.0, 0.0), 0x7BFF), (65520.0, 0x7C00), (65519.99, 0x7BFF), (1e300, 0x7C00)],
)
def test_float64_rounds_once_at_the_overflow_threshold(value, word):
    assert encode(value, float16, "nearest_even") == word


def test_float64_rounds_once_where_float32_would_make_a_tie():
    # 1 + 2^-11 is a midpoint of float16; what lies 2^-40 above it is not, though float32 says so.
    above = 1 + 2.0**-11 + 2.0**-40
    assert np.float32(above) == 1 + 2.0**-11
    assert decode(encode(above, float16, "nearest_even"), float16) == 1 + 2.0**-10


def test_overflow():
    big = np.array([65519.0, 65520.0, 65535.0, 65536.0, 1e38, np.inf], np.float32)
    nearest = decode(encode(big, float16, "nearest_even"), float16)
    assert nearest.tolist() == [65504.0] + [np.inf] * 5
    toward_zero = decode(encode(big, float16, "toward_zero"), float16)
    assert toward_zero.tolist() == [65504.0] * 5 + [np.inf]
    for mode in DETERMINISTIC:
        assert decode(encode(big, float16, mode, True), float16).tolist() == [65504.0] * 6


def test_overflow_of_a_format_without_infinity():
    values = np.array([448.0, 464.0, np.nextafter(np.float32(464), np.float32(500)), np.inf])
    nearest = decode(encode(values, float8_e4m3fn, "nearest_even"), float8_e4m3fn)
    np.testing.assert_array_equal(nearest, [448.0, 448.0, np.nan, np.nan])
    toward_zero = decode(encode(values, float8_e4m3fn, "toward_zero"), float8_e4m3fn)
    np.testing.assert_array_equal(toward_zero, [448.0, 448.0, 448.0, np.nan])
    saturated = decode(encode(-values, float8_e4m3fn, "nearest_even", True), float8_e4m3fn)
    np.testing.assert_array_equal(saturated, [-448.0] * 4)


def test_signed_zeros_and_underflow(narrow):
    half = np.float32(narrow.smallest_subnormal / 2)
    if half == 0:  # half of bfloat16's smallest is a float64 value, not a float32 one
        half = np.float64(narrow.smallest_subnormal / 2)
    values = np.array([0.0, -0.0, half, -half, np.nextafter(half, type(half)(1))])
    words = encode(values.astype(type(half)), narrow, "nearest_even")
    assert words.tolist() == [0, narrow.sign_mask, 0, narrow.sign_mask, 1]


def test_float32_from_float64():
    values = np.random.default_rng(0).integers(0, 1 << 63, 100_000).view(np.float64)
    edges = [3.4028235677973366e38, 3.4028235677973362e38, 1e-46]  # the overflow threshold
    values = np.concatenate([values, -values, edges])
    nan = np.isnan(values)
    with np.errstate(all="ignore"):
        nearest = values.astype(np.float32)
        past = np.abs(nearest.astype(np.float64)) > np.abs(values)
        toward_zero = np.where(past, np.nextafter(nearest, np.float32(0)), nearest)
    for mode, expected in (("nearest_even", nearest), ("toward_zero", toward_zero)):
        words = encode(values, float32, mode)
        np.testing.assert_array_equal(words[~nan], expected[~nan].view(np.uint32))
        assert np.isnan(words[nan].view(np.float32)).all()
    assert np.isfinite(encode(1e300, float32, "nearest_even", True).view(np.float32))


def test_words_of_the_same_format_are_a_view_and_wider_ones_exact():
    values = np.array([1.5, -0.0, np.inf], np.float32)
    assert np.shares_memory(encode(values, float32), values)
    np.testing.assert_array_equal(encode(values, float64).view(np.float64), values)


@pytest.mark.parametrize("mode", DETERMINISTIC)
@pytest.mark.parametrize("saturate", [False, True])
@pytest.mark.parametrize(
    "size", [1, 7, 128, 129, 2048, 2049, 16_384, 16_385, 65_535, 65_536, 65_537, 200_001]
)
def test_any_size_encodes_as_the_rule_does(narrow, mode, saturate, size):
    rng = np.random.default_rng(size)
    common = rng.standard_normal(size).astype(np.float32)
    large = (common * 40_000).astype(np.float32)
    arbitrary = rng.integers(0, 1 << 32, size, dtype=np.uint32).view(np.float32)
    for values in (common, large, arbitrary, common * np.float32(2.0**-16)):
        words = encode(values, narrow, mode, saturate)
        np.testing.assert_array_equal(words, encode_rule(values, narrow, mode, saturate))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (2, 3, 4), (300, 300)])
def test_shape_is_kept(narrow, shape):
    words = encode(np.full(shape, 1.0, np.float32), narrow)
    assert isinstance(words, np.ndarray)
    assert words.shape == shape
    assert words.flags.c_contiguous
    assert (decode(words, narrow) == 1.0).all()


@pytest.mark.parametrize("mode", [*DETERMINISTIC, "stochastic"])
def test_strides_are_followed(narrow, mode):
    values = np.random.default_rng(0).standard_normal((12, 20)).astype(np.float32)
    random = np.random.default_rng(1).integers(0, 1 << 32, (12, 20), dtype=np.uint32)
    chosen = random if mode == "stochastic" else None
    words = encode(values, narrow, mode, random_words=chosen)
    for key in ((slice(None, None, 2), slice(None, None, -3)), (slice(None), 3)):
        part = None if chosen is None else chosen[key]
        np.testing.assert_array_equal(
            encode(values[key], narrow, mode, random_words=part), words[key]
        )
    turned = None if chosen is None else chosen.T
    np.testing.assert_array_equal(encode(values.T, narrow, mode, random_words=turned), words.T)


def test_python_numbers_are_float64_values():
    assert encode(0.1, float16) == 0x2E66
    assert encode([[1, 2.5]], bfloat16).tolist() == [[0x3F80, 0x4020]]
    assert encode(np.float32(1.5), float16) == 0x3E00
    assert encode(np.float16(1.5), bfloat16) == 0x3FC0
    assert encode(np.array([1.5], ">f4"), bfloat16) == [0x3FC0]


def test_the_active_mode_is_taken():
    third = np.float32(1 + 2.0**-8 + 2.0**-9)
    assert encode(third, bfloat16) == 0x3F80
    with rounding("nearest_even"):
        assert encode(third, bfloat16) == 0x3F81


@pytest.mark.parametrize("mode", [*DETERMINISTIC, "stochastic"])
def test_nothing_warns_even_where_everything_is_reported(narrow, mode):
    values = every_exponent(per_exponent=2)
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        for part in (values[::16, :9].copy(), values):
            decode(encode(part, narrow, mode), narrow)
            with np.errstate(all="ignore"):
                wide = part.astype(np.float64) * 1.1
            encode(wide, narrow, mode)
            encode(wide, float32, mode)


def test_bad_arguments_say_what_is_expected():
    with pytest.raises(TypeError, match=r"float32 or float64 values, but int64 was given; convert"):
        encode(np.arange(3), float16)
    with pytest.raises(TypeError, match=r"int64 is none; use one of float64, float32, float16"):
        encode(1.0, int64)
    with pytest.raises(ValueError, match=r"'up'; expected one of toward_zero, nearest_even, stoch"):
        encode(1.0, float16, "up")
    with pytest.raises(TypeError, match=r"unknown dtype 'half'; expected one of float64, float32"):
        encode(1.0, "half")
    with pytest.raises(ValueError, match=r"values' shape \(2,\), but uint16 of shape \(3,\)"):
        encode([1.0, 2.0], float8_e5m2, "stochastic", random_words=np.zeros(3, np.uint16))
