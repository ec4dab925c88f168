"""Stochastic rounding is unbiased, exactly: over all random words the results average to x."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tinymp.devices import get_device, get_rng_state, manual_seed, random_words
from tinymp.formats import (
    bfloat16,
    decode,
    encode,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    pack,
    rounding,
)


def mean_over_all_words(x, dtype, random_words):
    """Give the exact mean of what one value rounds to, and the values that occur."""
    repeated = np.full(random_words.shape, x)
    words = encode(repeated, dtype, "stochastic", random_words=random_words)
    found, counts = np.unique(words, return_counts=True)
    values = decode(found, dtype)
    total = sum(Fraction(float(v)) * int(n) for v, n in zip(values, counts, strict=True))
    return total / random_words.size, values


BFLOAT16_CASES = np.array(
    [
        0x3F800001,  # just above 1
        0x3F80FFFF,  # just below its upper neighbour
        0x3F808000,  # the midpoint
        0x3FFFFFFF,  # the carry runs into the exponent
        0xC0490FDB,  # -pi
        0x00000001,  # the smallest subnormal float32
        0x007FFFFF,  # the largest one: the carry makes it normal
        0x80012345,
        0x7F7E1234,  # below the largest finite value
        0x42F70000,  # representable
    ],
    np.uint32,
).view(np.float32)


@pytest.mark.parametrize("x", BFLOAT16_CASES, ids=lambda x: float(x).hex())
def test_bfloat16_over_all_65536_words(x, device):
    words = get_device(device).asarray(np.arange(1 << 16, dtype=np.uint16))
    on = get_device(device)
    repeated = on.asarray(np.full(1 << 16, x))
    drawn = on.to_numpy(encode(repeated, bfloat16, "stochastic", random_words=words))
    total = sum(map(Fraction, decode(drawn, bfloat16).astype(float).tolist()))
    assert total == (1 << 16) * Fraction(float(x))


@pytest.mark.parametrize("x", BFLOAT16_CASES, ids=lambda x: float(x).hex())
def test_the_fast_spelling_takes_the_same_16_bits_from_words_of_32(x):
    low = np.random.default_rng(0).integers(0, 1 << 16, 1 << 16)
    wide = (np.arange(1 << 16) << 16 | low).astype(np.uint32)
    narrow = np.arange(1 << 16, dtype=np.uint16)
    x = np.full(1 << 16, x)
    np.testing.assert_array_equal(
        encode(x, bfloat16, "stochastic", random_words=wide),
        encode(x, bfloat16, "stochastic", random_words=narrow),
    )


@pytest.mark.parametrize(
    ("dtype", "x", "bits"),
    [
        (float16, 1 + 2.0**-23, 13),
        (float16, -3.1415927410125732, 13),
        (float16, 65503.99609375, 13),
        (float16, 2.0**-14 - 2.0**-37, 13),  # the carry makes it normal
        (float16, 2.0**-24 * 1.2001953125, 16),  # one of the two smallest
        (float16, 2.0**-26, 16),  # a quarter of the smallest: zero three times of four
        (float16, 2.0**-40, 16),
        (float8_e4m3fn, 1.1000000238418579, 20),
        (float8_e4m3fn, -447.99996948242188, 20),
        (float8_e4m3fn, 2.0**-9 * 0.703125, 16),
        (float8_e4m3fn, 2.0**-12, 16),
        (float8_e5m2, 3.1415927410125732, 21),
        (float8_e5m2, -57343.99609375, 21),
        (float8_e5m2, 2.0**-16 * 1.75, 16),
        (bfloat16, 1 + 2.0**-24, 17),  # float64 values need more bits
        (bfloat16, 1 + 2.0**-27, 20),
    ],
)
def test_unbiased_over_all_words(dtype, x, bits):
    words = np.arange(1 << bits, dtype=np.uint64) << np.uint64(64 - bits)
    mean, values = mean_over_all_words(np.float64(x), dtype, words)
    assert len(values) == 2
    assert mean == Fraction(x)


@pytest.mark.parametrize("floating", [np.float32, np.float64])
def test_words_of_any_width_are_fractions(narrow, floating):
    x = np.random.default_rng(0).standard_normal(1000).astype(floating)
    for fraction in (0.0, 0.25, 0.5, 0.75):
        results = [
            encode(
                x,
                narrow,
                "stochastic",
                random_words=np.full(1000, int(fraction * 2**width), f"uint{width}"),
            )
            for width in (8, 16, 32, 64)
        ]
        for result in results[1:]:
            np.testing.assert_array_equal(result, results[0])


def test_zero_bits_truncate_and_half_a_unit_rounds_ties_up(narrow):
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    zeros = np.zeros(1000, np.uint32)
    truncated = encode(x, narrow, "toward_zero")
    np.testing.assert_array_equal(encode(x, narrow, "stochastic", random_words=zeros), truncated)


def test_above_the_largest_value_its_neighbour_is_infinity():
    x = np.full(1 << 16, 65512.0, np.float32)  # a quarter of the way from 65504 to 65536
    words = encode(x, float16, "stochastic", random_words=np.arange(1 << 16, dtype=np.uint16))
    assert np.isinf(decode(words, float16)).mean() == 0.25
    saturated = encode(x, float16, "stochastic", True)
    assert (decode(saturated, float16) == 65504.0).all()


def test_the_generator_is_drawn_from_and_repeats(device, narrow):
    on = get_device(device)
    x = on.asarray(np.linspace(-2, 2, 1000, dtype=np.float32))
    manual_seed(7)
    first = on.to_numpy(encode(x, narrow, "stochastic"))
    second = on.to_numpy(encode(x, narrow, "stochastic"))
    assert get_rng_state() == (7, 2)
    manual_seed(7)
    with rounding("stochastic", narrow):
        again = on.to_numpy(encode(x, narrow))
    assert (first != second).any()
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(("floating", "bits"), [(np.float32, 32), (np.float64, 64)])
def test_as_many_random_bits_are_drawn_as_a_value_has(narrow, floating, bits):
    x = np.random.default_rng(0).standard_normal(1000).astype(floating)
    manual_seed(3)
    drawn = encode(x, narrow, "stochastic")
    manual_seed(3)
    words = random_words(get_device("cpu"), 1000 * bits // 32).view(f"uint{bits}")
    np.testing.assert_array_equal(drawn, encode(x, narrow, "stochastic", random_words=words))


def test_64_random_bits_reach_further_than_32():
    x = np.array([1 + 2.0**-7 * 2.0**-33])  # 2^-33 of a unit above a bfloat16 value
    for random, word in ((2**64 - 1, 0x3F81), (2**64 - 2**31, 0x3F81), (2**64 - 2**31 - 1, 0x3F80)):
        words = np.array([random], np.uint64)
        assert encode(x, bfloat16, "stochastic", random_words=words) == word


def test_drawn_words_give_a_mean_near_x(narrow):
    """Hoeffding: 100,000 draws stray by 0.01 units with a probability below 10^-8."""
    x = np.full(100_000, 1 / 3, np.float32)
    values = decode(pack(x, narrow, "stochastic").view(narrow.words), narrow).astype(np.float64)
    unit = np.ptp(values)
    assert unit > 0
    assert abs(values.mean() - float(np.float32(1 / 3))) < 0.01 * unit
