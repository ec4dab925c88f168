"""A tensor core's dot product in exact fractions: a slow, second reading of the same hardware.

It takes one output at a time and shares nothing with `numerics.tensor_core`: words are taken apart
by hand, and terms are cut by integer division. Tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from tinymp.formats import DType, float32

NAN = 0x7FFFFFFF
INFINITY = 0x7F800000


class Word:
    """What a word of a format stands for.

    Attributes:
        negative: its sign bit.
        kind: "finite", "infinite" or "nan".
        value: the value of a finite one.
        exponent: of the significand's leading place, taken or not: for subnormals the smallest.
    """

    def __init__(self, word: int, dtype: DType) -> None:
        field, significand = divmod(word & (dtype.sign_mask - 1), 1 << dtype.significand_bits)
        all_ones = field == (1 << dtype.exponent_bits) - 1
        self.negative = word & dtype.sign_mask != 0
        self.kind = "finite"
        if all_ones and dtype.has_infinity:
            self.kind = "nan" if significand else "infinite"
        elif all_ones and significand == (1 << dtype.significand_bits) - 1:
            self.kind = "nan"
        if field:
            significand += 1 << dtype.significand_bits
        self.exponent = max(field, 1) - dtype.bias
        magnitude = significand * Fraction(2) ** (self.exponent - dtype.significand_bits)
        self.value = -magnitude if self.negative else magnitude


def exact_dot_product(
    a: Sequence[int], b: Sequence[int], c: int, dtype: DType, fraction_bits: int, precision: int
) -> int:
    """The float32 word that one instruction returns for Σ a_i·b_i + c.

    Args:
        a, b: words of `dtype`, as many as the instruction takes.
        c: the accumulator, a float32 word.
        dtype: the format of `a` and `b`.
        fraction_bits, precision: as in `numerics.DotProduct`.
    """
    start = Word(c, float32)
    nan = start.kind == "nan"
    signs_of_infinities = {start.negative} if start.kind == "infinite" else set()
    terms = [(start.value, start.exponent)] if start.kind == "finite" else []
    for x, y in zip((Word(w, dtype) for w in a), (Word(w, dtype) for w in b), strict=True):
        if "nan" in (x.kind, y.kind):
            nan = True
        elif x.kind == y.kind == "finite":
            terms.append((x.value * y.value, x.exponent + y.exponent))
        elif any(z.kind == "finite" and z.value == 0 for z in (x, y)):
            nan = True
        else:
            signs_of_infinities.add(x.negative != y.negative)
    if nan or len(signs_of_infinities) > 1:
        return NAN
    if signs_of_infinities:
        return INFINITY | signs_of_infinities.pop() << 31
    largest = max([exponent for value, exponent in terms if value != 0] + [-133])
    unit = Fraction(2) ** (largest - fraction_bits)
    return _cut_to_float32(sum(_integer_part(value / unit) for value, _ in terms) * unit, precision)


def _integer_part(x: Fraction) -> int:
    return -(-x // 1) if x < 0 else x // 1


def _cut_to_float32(x: Fraction, precision: int) -> int:
    """The word of `x` cut toward zero to `precision` bits; infinity beyond the largest float32."""
    sign = 1 << 31 if x < 0 else 0
    x, exponent = abs(x), -126
    while x >= Fraction(2) ** (exponent + 1):
        exponent += 1
    if exponent > 127:
        return sign | INFINITY
    spare = 24 - precision
    significand = _integer_part(x / Fraction(2) ** (exponent - 23 + spare)) << spare
    # The implied bit of a normal number adds the missing 1 to the exponent field.
    return sign | (exponent + 126 << 23) + significand if significand else 0
