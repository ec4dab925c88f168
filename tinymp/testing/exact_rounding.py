"""Rounding by exact rational arithmetic: a slow reference that shares nothing with the encoders.

It takes one number at a time, a fraction or a name of what is none, and compares it with
powers of two instead of reading an exponent field.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from tinymp.formats import DType

Special = Literal["inf", "-inf", "nan", "-nan", "-0"]


def exact_word(
    x: Fraction | Special,
    dtype: DType,
    mode: str,
    saturate: bool = False,
    random: Fraction = Fraction(0),
) -> int:
    """The word of `dtype` that `x` rounds to.

    Args:
        x: the exact value, or one of the words "inf", "-inf", "nan", "-nan", "-0".
        dtype: the format.
        mode: "toward_zero", "nearest_even" or "stochastic".
        saturate: what exceeds the largest finite value becomes that value.
        random: for stochastic rounding, a number in [0, 1): it rounds away from zero if the part
            cut off, in units of the last place, plus this reaches 1.
    """
    if isinstance(x, str):
        sign = dtype.sign_mask if x.startswith("-") else 0
        if x.endswith("0"):
            return sign
        if x.endswith("inf"):
            return sign | (dtype.max_word if saturate else _overflow(dtype))
        return sign | dtype.nan_word
    if x == 0:
        return 0
    sign, magnitude = (dtype.sign_mask if x < 0 else 0), abs(x)
    # A lower bound to start from, at most one short: a quotient's length from its parts' lengths.
    length = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    exponent = max(dtype.emin, length - 1)
    while magnitude >= Fraction(2) ** (exponent + 1):
        exponent += 1
    unit = Fraction(2) ** (exponent - dtype.significand_bits)
    units, rest = divmod(magnitude / unit, 1)
    if mode == "nearest_even":
        units += rest > Fraction(1, 2) or (rest == Fraction(1, 2) and units % 2 == 1)
    elif mode == "stochastic":
        units += rest + random >= 1
    # 2^precision units carry into the exponent field, which is where the addition takes them.
    word = ((exponent - dtype.emin) << dtype.significand_bits) + int(units)
    if word > dtype.max_word:
        word = dtype.max_word if saturate or mode == "toward_zero" else _overflow(dtype)
    return sign | word


def exact_value(word: int, dtype: DType) -> Fraction | Special:
    """What a word stands for."""
    negative = word & dtype.sign_mask != 0
    magnitude = word & (dtype.sign_mask - 1)
    if magnitude > dtype.max_word:
        name = "inf" if dtype.has_infinity and magnitude == dtype.exponent_mask else "nan"
        return _signed(name, negative)
    field, significand = divmod(magnitude, 1 << dtype.significand_bits)
    if field:
        significand += 1 << dtype.significand_bits
    if negative and significand == 0:
        return "-0"
    value = significand * Fraction(2) ** (max(field, 1) - dtype.bias - dtype.significand_bits)
    return -value if negative else value


def _signed(name: str, negative: bool) -> Special:
    names: dict[str, tuple[Special, Special]] = {"inf": ("inf", "-inf"), "nan": ("nan", "-nan")}
    return names[name][negative]


def _overflow(dtype: DType) -> int:
    return dtype.exponent_mask if dtype.has_infinity else dtype.nan_word
