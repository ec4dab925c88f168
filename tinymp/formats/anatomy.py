"""What happens to one number in one format? Its bits, stored value, error and neighbours.

Everything here is exact rational arithmetic on single numbers: slow, and free of any rounding but
the one that is being looked at.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from tinymp.devices import get_device, random_words
from tinymp.formats.decode import decode
from tinymp.formats.dtype import DTYPES, DType, dtype_of
from tinymp.formats.rounding import active_rounding, check_mode

NumberKind = Literal["zero", "subnormal", "normal", "infinity", "nan"]


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One number as one format stores it.

    Attributes:
        dtype: the format.
        rounding: the mode that rounded.
        given: the exact value before rounding; None for infinities and NaN.
        word: the stored word.
        sign_bit: the fields of the word, as strings of 0 and 1: the sign,
        exponent_bits: the exponent field,
        significand_bits: and the significand field.
        kind: zero, subnormal, normal, infinity or nan.
        value: what the word stands for.
        exact: the same as a fraction; None unless finite.
        shortest: the shortest decimal that reads back as this word.
        ulp: unit in the last place: the spacing of the format's numbers at the given value.
        error_ulps: (exact - given) / ulp; None unless both are finite.
        below: the next smaller value; None where the format has none.
        above: the next larger value; None where the format has none.
    """

    dtype: DType
    rounding: str
    given: Fraction | None
    word: int
    sign_bit: str
    exponent_bits: str
    significand_bits: str
    kind: NumberKind
    value: float
    exact: Fraction | None
    shortest: str
    ulp: Fraction | None
    error_ulps: Fraction | None
    below: float | None
    above: float | None


def examine(
    number: int | float | str | Fraction,
    dtype: DType | str,
    rounding: str | None = None,
    saturate: bool = False,
) -> Anatomy:
    """Round a number once, as ``encode`` would, and say everything about the result.

    Args:
        number: taken exactly. A string is a decimal ``"0.1"``, a fraction ``"1/3"``, a hexadecimal
            float ``"0x1.8p-3"``, ``"inf"`` or ``"nan"``.
        dtype: a floating-point format, or its name.
        rounding: a mode; None takes the one in force for this format.
        saturate: as in ``encode``.

    Raises:
        TypeError: for an integer dtype.
        ValueError: for a string that is no number, and for an unknown mode.
    """
    dtype = dtype_of(dtype)
    if not dtype.is_float:
        raise TypeError(
            f"{dtype.name} is not a floating-point format; "
            f"use one of {', '.join(d.name for d in DTYPES if d.is_float)}"
        )
    mode = active_rounding().mode(dtype) if rounding is None else rounding
    check_mode(mode)

    negative, given = _read(number)
    if isinstance(given, Fraction):
        magnitude = round_fraction(given, dtype, mode, saturate)
    elif math.isnan(given):
        magnitude = dtype.nan_word
    else:
        magnitude = dtype.max_word if saturate else _infinity_word(dtype)

    word = magnitude | (dtype.sign_mask if negative else 0)
    bits = f"{word:0{dtype.bits}b}"
    value = value_of(word, dtype)
    exact = Fraction(value) if math.isfinite(value) else None
    signed = None
    ulp = error = None
    if isinstance(given, Fraction):
        signed = -given if negative else given
        ulp = Fraction(2) ** (min(_exponent(given, dtype), dtype.emax) - dtype.significand_bits)
        error = None if exact is None else (exact - signed) / ulp
    below, above = _neighbours(word, dtype)
    return Anatomy(
        dtype=dtype,
        rounding=mode,
        given=signed,
        word=word,
        sign_bit=bits[0],
        exponent_bits=bits[1 : 1 + dtype.exponent_bits],
        significand_bits=bits[1 + dtype.exponent_bits :],
        kind=classify(word, dtype),
        value=value,
        exact=exact,
        shortest=shortest_decimal(word, dtype),
        ulp=ulp,
        error_ulps=error,
        below=below,
        above=above,
    )


def round_fraction(
    magnitude: Fraction,
    dtype: DType,
    mode: str,
    saturate: bool = False,
    random: Fraction | None = None,
) -> int:
    """Return the word of a non-negative rational, rounded once: ``encode`` for exact numbers.

    ``random`` in [0, 1) is what stochastic rounding adds to the part cut off, in units of the last
    place; None draws 64 bits from the default generator.
    """
    if mode == "stochastic" and random is None:
        random = _draw()
    exponent = _exponent(magnitude, dtype)
    scaled = magnitude / Fraction(2) ** (exponent - dtype.significand_bits)
    kept = scaled.numerator // scaled.denominator
    rest = scaled - kept
    if mode == "nearest_even":
        kept += rest > Fraction(1, 2) or (rest == Fraction(1, 2) and kept % 2 == 1)
    elif mode == "stochastic" and random is not None:
        kept += rest + random >= 1
    word = ((exponent - dtype.emin) << dtype.significand_bits) + kept
    if word <= dtype.max_word:
        return word
    return dtype.max_word if saturate or mode == "toward_zero" else _infinity_word(dtype)


def value_of(word: int, dtype: DType) -> float:
    """Return the value of one word, as a Python float, which holds every value of every format."""
    return float(decode(word, dtype))


def classify(word: int, dtype: DType) -> NumberKind:
    """Return the class of a word (IEEE 754-2019, section 5.7.2, signs left out)."""
    magnitude = word & (dtype.sign_mask - 1)
    if magnitude > dtype.max_word:
        return "infinity" if magnitude == dtype.infinity_word else "nan"
    if magnitude == 0:
        return "zero"
    return "normal" if magnitude & dtype.exponent_mask else "subnormal"


def shortest_decimal(word: int, dtype: DType) -> str:
    """Return the first correctly rounded decimal, by length, that reads back as ``word``."""
    value = value_of(word, dtype)
    if value == 0 or not math.isfinite(value):
        return repr(value)
    magnitude = word & (dtype.sign_mask - 1)
    for digits in range(17):
        decimal = f"{value:.{digits}e}"
        if round_fraction(abs(Fraction(decimal)), dtype, "nearest_even") == magnitude:
            return repr(float(decimal))
    raise AssertionError("17 significant digits identify every float64")


_LARGEST_POWER = 5000  # of ten, in a number given as text: exact integers of that size are quick


def _read(number: int | float | str | Fraction) -> tuple[bool, Fraction | float]:
    """Sign and magnitude of a number; the magnitude is exact, or a float where it is not finite."""
    if isinstance(number, str):
        number = _parse(number)
    if isinstance(number, float):
        negative = math.copysign(1.0, number) < 0
        return negative, abs(Fraction(number)) if math.isfinite(number) else abs(number)
    return number < 0, abs(Fraction(number))


def _parse(text: str) -> Fraction | float:
    power = re.search(r"e([+-]?\d+)\s*$", text, re.IGNORECASE)
    if power and abs(int(power[1])) > _LARGEST_POWER:
        raise ValueError(
            f"cannot compute with {text!r} exactly: its exponent is beyond ±{_LARGEST_POWER}, "
            "where every format has long ended; write a smaller one"
        )
    try:
        if "x" in text.lower():
            return float.fromhex(text)
        exact = Fraction(text)
        return exact if exact else float(text.partition("/")[0])  # a float keeps the sign of zero
    except (ValueError, ZeroDivisionError):
        pass
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"cannot read {text!r} as a number; write a decimal (0.1, -3e-5), a fraction (1/3), "
            "a hexadecimal float (0x1.8p-3), inf or nan"
        ) from None


def _exponent(magnitude: Fraction, dtype: DType) -> int:
    """floor(log2(magnitude)), or the format's smallest exponent if that is larger."""
    if magnitude == 0:
        return dtype.emin
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if Fraction(2) ** exponent > magnitude:
        exponent -= 1
    return max(exponent, dtype.emin)


def _infinity_word(dtype: DType) -> int:
    return dtype.nan_word if dtype.infinity_word is None else dtype.infinity_word


def _neighbours(word: int, dtype: DType) -> tuple[float | None, float | None]:
    """Values just below and above; words of one sign are ordered like their values."""
    magnitude = word & (dtype.sign_mask - 1)
    negative = bool(word & dtype.sign_mask)
    if classify(word, dtype) == "nan":
        return None, None
    last = dtype.infinity_word or dtype.max_word
    outward = magnitude + 1 if magnitude < last else None
    if magnitude == 0:
        smallest = value_of(1, dtype)
        return -smallest, smallest
    values = [None if w is None else value_of(w, dtype) for w in (magnitude - 1, outward)]
    if negative:
        values = [None if v is None else -v for v in reversed(values)]
    return values[0], values[1]


def _draw() -> Fraction:
    high, low = (int(word) for word in random_words(get_device("cpu"), 2))
    return Fraction(high << 32 | low, 1 << 64)
