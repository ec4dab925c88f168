"""What arithmetic in float32 and one rounding give, by vectors with an exact rational reference.

The vectors are made in the manner of Berkeley TestFloat: operands of every kind of trouble, crossed
with each other, and for each the one right answer. Where a law does not hold, a counter-example
stands beside it.
"""

from __future__ import annotations

from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinymp as mp
from tinymp.formats import bfloat16, decode, encode, float16, float32
from tinymp.numerics.summation import two_sum_error
from tinymp.testing import aimed_values
from tinymp.testing.exact_rounding import exact_value, exact_word
from tinymp.testing.laws import exactly

TWO_BYTES = [float16, bfloat16]
two_bytes = pytest.mark.parametrize("dtype", TWO_BYTES, ids=lambda dtype: dtype.name)


def operands(dtype, count, seed):
    """Words of every kind: limits and their neighbours, ones and neighbours, arbitrary bits."""
    m = 1 << dtype.significand_bits
    one = dtype.bias * m
    known = [
        0,
        1,
        m - 1,
        m,
        m + 1,
        one - 1,
        one,
        one + 1,
        one + m,
        dtype.max_word,
        dtype.max_word + 1,
    ]
    known += [dtype.nan_word, 2 * m - 1, one + m // 2, one - 12 * m]
    known += [word | dtype.sign_mask for word in known]
    rng = np.random.default_rng(seed)
    random = rng.integers(0, 1 << 16, count - len(known))
    close = one + rng.integers(-3 * m, 3 * m, count // 2)  # sums that cancel, ties
    random[: len(close) // 2] = close[: len(close) // 2]
    return np.array([*known, *random.tolist()], np.uint16)


def as_tensor(words, dtype):
    return mp.tensor(decode(words, dtype)).to(dtype)


def exact_operation(name, x, y):
    """Exact result of finite operands, or None where there is none that is a fraction."""
    if isinstance(x, str) or isinstance(y, str):
        return None
    if name == "add":
        return x + y
    if name == "sub":
        return x - y
    if name == "mul":
        return x * y
    return x / y if y else None


@two_bytes
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
def test_7_arithmetic_is_correctly_rounded_to_nearest(dtype, name):
    words = operands(dtype, 90, 1)
    left, right = np.repeat(words, len(words)), np.tile(words, len(words))
    with mp.rounding("nearest_even"):
        result = getattr(mp, name)(as_tensor(left, dtype), as_tensor(right, dtype))
    ours = result.storage.view(np.uint16)
    checked = 0
    for a, b, word in zip(left.tolist(), right.tolist(), ours.tolist(), strict=True):
        exact = exact_operation(name, exact_value(a, dtype), exact_value(b, dtype))
        if exact is not None and exact != 0:
            assert word == exact_word(exact, dtype, "nearest_even"), (hex(a), hex(b))
            checked += 1
    assert checked > 4000


@two_bytes
def test_7_square_roots_are_correctly_rounded(dtype):
    words = np.arange(1, dtype.max_word + 1, 7, dtype=np.uint16)
    with mp.rounding("nearest_even"):
        ours = mp.sqrt(as_tensor(words, dtype)).storage.view(np.uint16)
    for word, root in zip(words.tolist(), ours.tolist(), strict=True):
        x = Fraction(exact_value(word, dtype))
        # 100 bits of the root, and one more that says whether it is longer: no tie is misjudged.
        scaled = x * Fraction(4) ** 150
        whole = isqrt(int(scaled))
        sticky = Fraction(whole * whole != scaled, 2)
        assert root == exact_word((whole + sticky) / Fraction(2) ** 150, dtype, "nearest_even")


def test_7_a_truncated_float32_sum_is_not_the_truncated_sum():
    x, y = mp.tensor(1.0).bfloat16(), mp.tensor(-(2.0**-30)).bfloat16()
    with mp.rounding("toward_zero"):
        assert (x + y).item() == 1
    assert exact_word(Fraction(1) - Fraction(1, 2**30), bfloat16, "toward_zero") == 0x3F7F
    assert decode(0x3F7F, bfloat16) == 0.99609375


def test_7_a_fused_multiply_add_through_float32_is_rounded_twice():
    """a·b is a tie of float16, and c, its smallest number, is half a unit of float32 at 1."""
    a, b, c = np.float32(1.5), np.float32(683 / 1024), np.float32(2.0**-24)
    assert all(decode(encode(x, float16), float16) == x for x in (a, b, c))
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    assert decode(exact_word(exact, float16, "nearest_even"), float16) == 1 + 2.0**-10
    assert decode(encode(a * b + c, float16, "nearest_even"), float16) == 1


@two_bytes
def test_8_products_of_two_bytes_are_exact_in_float32(dtype):
    words = operands(dtype, 400, 2)
    x = decode(words, dtype)
    x = x[np.isfinite(x)]
    exact = x[:, None].astype(np.float64) * x.astype(np.float64)
    with np.errstate(all="ignore"):
        product = x[:, None] * x
    size = np.abs(exact)
    inside = (size < float32.max) & ((size >= 2.0**-126) | (dtype is float16))
    assert inside.sum() > 10_000
    np.testing.assert_array_equal(product[inside], exact[inside])


def test_8_bfloat16_products_may_underflow():
    tiny = np.float32(decode(0x0081, bfloat16))  # 2^-126 (1 + 2^-7)
    with np.errstate(under="ignore"):
        assert tiny * tiny == 0


@given(st.integers(0, 2**32 - 1))
def test_9_sterbenz_close_numbers_subtract_exactly(seed):
    for dtype in TWO_BYTES:
        rng = np.random.default_rng(seed)
        y = rng.integers(1, dtype.max_word + 1, 1000).astype(np.uint16)
        x = np.clip(y.astype(int) + rng.integers(-300, 300, 1000), 1, dtype.max_word)
        a, b = decode(x.astype(np.uint16), dtype), decode(y, dtype)
        close = (b / 2 <= a) & (a / 2 <= b)
        difference = a[close].astype(np.float64) - b[close]
        for mode in ("nearest_even", "toward_zero"):
            rounded = decode(encode(difference, dtype, mode), dtype)
            np.testing.assert_array_equal(rounded, difference)


@given(st.integers(0, 2**32 - 1))
def test_9_two_sum_finds_the_whole_error(seed):
    rng = np.random.default_rng(seed)
    x, y = (aimed_values(s, float16, float32) for s in rng.integers(0, 2**32, 2).tolist())
    x, y = x[(np.abs(x) < 1e30)][:900], y[(np.abs(y) < 1e30)][:900]
    n = min(len(x), len(y))
    x, y = x[:n], y[:n]
    total = x + y
    error = two_sum_error(x, y, total)
    for a, b, s, e in zip(x[:50], y[:50], total[:50], error[:50], strict=True):
        assert Fraction(float(a)) + Fraction(float(b)) == Fraction(float(s)) + Fraction(float(e))


def test_9_toward_zero_the_error_need_not_be_a_number_of_the_format():
    """1 - 2^-30 is cut to 1 - 2^-8, and 2^-8 - 2^-30 takes more bits than bfloat16 has."""
    exact = Fraction(1) - Fraction(1, 2**30)
    cut = exact_value(exact_word(exact, bfloat16, "toward_zero"), bfloat16)
    error = exact - Fraction(cut)
    assert exact_value(exact_word(error, bfloat16, "toward_zero"), bfloat16) != error


CONVERSIONS = [
    (float16, "nearest_even"), (float16, "toward_zero"),
    (bfloat16, "nearest_even"), (bfloat16, "toward_zero"),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "mode"), CONVERSIONS, ids=str)
@pytest.mark.parametrize("saturate", [False, True])
def test_conversion_vectors(dtype, mode, saturate):
    """float32 to two bytes, each vector against exact fractions."""
    for seed in range(3):
        x = aimed_values(seed, dtype, float32)
        words = encode(x, dtype, mode, saturate)
        for value, word in zip(x, words.tolist(), strict=True):
            exact = exact_word(exactly(value), dtype, mode, saturate)
            assert word == exact, float(value).hex()
