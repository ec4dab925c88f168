"""The laws of rounding, as a suite that any encoder can be put through.

    check_encoder(lambda x: x.astype(ml_dtypes.bfloat16), bfloat16)          []
    check_encoder(my_encoder, float16, "toward_zero", source=float64)        [Violation(...)]

q(x) is what x is rounded to, p the format's precision, u its unit roundoff. Each law is stated
once, in float64 arithmetic that is exact where it matters, and shares no code with the encoders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from tinymp.formats import MODES, DType, decode, dtype_of, float32, float64
from tinymp.testing.aimed import aimed_values
from tinymp.testing.exact_rounding import Special, exact_word

Array = Any  # NumPy arrays
# Of float32 or float64 values (and, for stochastic rounding, one random uint32 word for each), the
# words of the format, or an array of the same bits such as ml_dtypes'.
Encoder = Callable[..., Any]


@dataclass(frozen=True)
class Violation:
    """A law that an encoder breaks, and a value where it does.

    Attributes:
        law: what the law says.
        x: the value.
        word: what the encoder made of it.
        count: how many of the values tried break the law.
    """

    law: str
    x: float
    word: int
    count: int

    def __str__(self) -> str:
        return f"{self.law}: broken by {self.x!r} ({self.x.hex()}) -> {self.word:#x} ({self.count})"


class Case:
    """An encoder and the values that it is tried on.

    Attributes:
        values: as the encoder gets them; x: the same in float64.
        words: what they are rounded to; q: the values of these words, in float64.
    """

    def __init__(
        self, encoder: Encoder, dtype: DType, mode: str, values: Array, seed: int, saturate: bool
    ) -> None:
        self.encoder = encoder
        self.dtype = dtype
        self.mode = mode
        self.saturate = saturate or not dtype.has_nan  # nothing else is there for what overflows
        self.values = values
        self.random = np.random.default_rng(seed).integers(0, 1 << 32, len(values), np.uint32)
        self.x = _float64(values)
        self.words = self.encode(values)
        self.q = _float64(decode(self.words, dtype))

    def encode(self, values: Array, random: Array | None = None) -> Array:
        """Words of other values, under the same random words unless others are given."""
        random = self.random[: len(values)] if random is None else random
        with np.errstate(all="ignore"):
            stochastic = self.mode == "stochastic"
            words = self.encoder(values, random) if stochastic else self.encoder(values)
        return np.asarray(words).view(self.dtype.words)

    def rounded(self, values: Array, random: Array | None = None) -> Array:
        """What other values are rounded to, in float64, under the same random words or others."""
        return _float64(decode(self.encode(values, random), self.dtype))

    @property
    def spacing(self) -> Array:
        """Distance of the format's numbers around each x: a unit in its last place."""
        _, exponent = np.frexp(self.x)
        exponent = np.clip(exponent - 1, self.dtype.emin, self.dtype.emax)
        return np.ldexp(1.0, exponent - self.dtype.significand_bits)

    @property
    def within(self) -> Array:
        """Which x lie between the format's largest values."""
        return np.abs(self.x) <= self.dtype.max


Law = Callable[[Case], Array]
#: Every law by what it says, with the modes that it holds in: the function tells for each value
#: whether the law is broken there.
LAWS: dict[str, tuple[Law, tuple[str, ...]]] = {}


def _law(statement: str, modes: tuple[str, ...] = MODES) -> Callable[[Law], Law]:
    def register(law: Law) -> Law:
        LAWS[statement] = law, modes
        return law

    return register


@_law("q(q(x)) = q(x)")
def _once_is_enough(case: Case) -> Array:
    again = case.encode(case.q.astype(case.values.dtype))
    nan = np.isnan(case.q)
    return np.where(nan, ~np.isnan(_float64(decode(again, case.dtype))), again != case.words)


@_law("a value of the format stays what it is")
def _representable_values_stay(case: Case) -> Array:
    representable = case.within & (case.x % case.spacing == 0)
    return representable & (case.q != case.x)


@_law("x ≤ y ⇒ q(x) ≤ q(y), under stochastic rounding for equal random words")
def _monotone(case: Case) -> Array:
    order = np.argsort(case.x)
    q = case.rounded(case.values[order], np.full(len(order), case.random[0]))
    # Left out: NaNs, and what overflows to NaN where there is no infinity.
    number = np.flatnonzero(~np.isnan(case.x[order]) & ~np.isnan(q))
    broken = np.zeros(len(q), bool)
    falls = q[number][:-1] > q[number][1:]
    broken[order[number[1:][falls]]] = True
    return broken


@_law("q(-x) = -q(x), and zeros keep their sign")
def _odd(case: Case) -> Array:
    negative = case.encode(-case.values)
    number = ~np.isnan(case.x)
    opposite = (negative ^ case.words) == case.dtype.sign_mask
    signed = np.signbit(case.x) == ((case.words & case.dtype.sign_mask) != 0)
    return np.asarray(number & ~(opposite & signed))


@_law(
    "NaN stays NaN where the format has it, and no number becomes NaN but by overflow without "
    "infinity"
)
def _nan(case: Case) -> Array:
    no_infinity = not case.dtype.has_infinity and not case.saturate
    may_be_nan = ~case.within & no_infinity
    lost = ~np.isnan(case.q) & case.dtype.has_nan  # without one, every encoder decides for itself
    return np.where(np.isnan(case.x), lost, np.isnan(case.q) & ~may_be_nan)


@_law("infinity stays infinity where the format has it, else it is NaN, or the largest value")
def _infinity(case: Case) -> Array:
    if case.saturate:
        right = case.q == np.copysign(case.dtype.max, case.x)
    elif case.dtype.has_infinity:
        right = case.q == case.x
    else:
        right = np.isnan(case.q)
    return np.isinf(case.x) & ~right


@_law(
    "nearest: |x - q| ≤ ulp/2 ≤ max(u|x|, η/2), and of two at that distance the even one",
    ("nearest_even",),
)
def _nearest(case: Case) -> Array:
    error = np.abs(case.x - case.q)
    unit, dtype = case.spacing, case.dtype
    u = dtype.unit_roundoff("nearest_even")
    # Multiplied out: u|x| would underflow where |x| is the smallest float64.
    bound = np.maximum(np.abs(case.x), dtype.smallest_subnormal / (2 * u))
    odd_tie = (error == unit / 2) & (error > 0) & (case.words % 2 == 1)
    return case.within & ~((error <= unit / 2) & (error / u <= bound) & ~odd_tie)


@_law(
    "nearest: what is half a unit or more above the largest value overflows, nothing less does",
    ("nearest_even",),
)
def _overflow(case: Case) -> Array:
    dtype = case.dtype
    half_unit = 2.0 ** (dtype.emax - dtype.precision)
    # At the very threshold the tie goes to the even word, which may be the largest value's.
    largest_is_even = dtype.max_word % 2 == 0
    above = np.abs(case.x) - dtype.max
    beyond = above > half_unit if largest_is_even else above >= half_unit
    stays = np.abs(case.q) == dtype.max
    right = np.where(beyond & ~np.bool_(case.saturate), ~np.isfinite(case.q), stays)
    return np.isfinite(case.x) & ~case.within & ~right


@_law("toward zero: |q| ≤ |x|, |x - q| < ulp, and finite values stay finite", ("toward_zero",))
def _toward_zero(case: Case) -> Array:
    finite, q, x = np.isfinite(case.x), np.abs(case.q), np.abs(case.x)
    near = np.where(case.within, x - q < case.spacing, q == case.dtype.max)
    return finite & ~((q <= x) & near)


@_law(
    "stochastic: q is one of the two neighbours, and x itself where the format has it",
    ("stochastic",),
)
def _neighbours(case: Case) -> Array:
    x, q, unit = np.abs(case.x), np.abs(case.q), case.spacing
    low = np.floor(x / unit) * unit
    with np.errstate(invalid="ignore"):
        right = (q == low) | ((q == low + unit) & (low < x))
    at_the_end = low == case.dtype.max  # what follows is infinity, NaN, or the largest value
    return case.within & ~(right | (at_the_end & (low < x)))


@_law("rounded once: q is the correctly rounded x, by exact rational arithmetic")
def _exact(case: Case) -> Array:
    broken = np.zeros(len(case.x), bool)
    for i in range(0, len(case.x), max(1, len(case.x) // 50)):
        x, word = case.x[i], int(case.words[i])
        if np.isnan(x) and not case.dtype.has_nan:
            continue
        random = Fraction(int(case.random[i]), 1 << 32)
        exact = exact_word(exactly(x), case.dtype, case.mode, case.saturate, random)
        is_nan = case.dtype.has_nan and exact & (case.dtype.sign_mask - 1) == case.dtype.nan_word
        # NaNs are one class: neither payload nor sign matters.
        broken[i] = not np.isnan(case.q[i]) if is_nan else word != exact
    return broken


@_law("q(2^k x) = 2^k q(x) while both stay normal")
def _scales(case: Case) -> Array:
    shift = int(case.random[0] % 41) - 20
    normal = _normal(case.x, case.dtype) & _normal(np.ldexp(case.x, shift), case.dtype)
    with np.errstate(all="ignore"):
        scaled = case.rounded(np.ldexp(case.values, shift))
        same = scaled == np.ldexp(case.q, shift)
    finite = np.isfinite(scaled) & np.isfinite(case.q)  # the last unit may overflow
    return np.asarray(normal & finite & ~same)


def _normal(x: Array, dtype: DType) -> Array:
    return np.asarray((np.abs(x) >= dtype.smallest_normal) & (np.abs(x) <= dtype.max))


def _float64(values: Array) -> Array:
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return values.astype(np.float64)


def exactly(x: float) -> Fraction | Special:
    """A float as the exact references take it."""
    x = float(x)
    sign = "-" if np.signbit(x) else ""
    special: dict[str, Special] = {
        "nan": "nan", "-nan": "-nan", "inf": "inf", "-inf": "-inf", "-0": "-0"
    }  # fmt: skip
    if np.isnan(x):
        return special[f"{sign}nan"]
    if np.isinf(x):
        return special[f"{sign}inf"]
    return special["-0"] if x == 0 and sign else Fraction(x)


def check_encoder(
    encoder: Encoder,
    dtype: DType | str,
    mode: str = "nearest_even",
    *,
    source: DType | str = float32,
    saturate: bool = False,
    seeds: Iterable[int] = range(10),
    count: int = 1000,
) -> list[Violation]:
    """Put an encoder through every law that holds in its mode; the laws it breaks, [] if none.

    Args:
        encoder: `encoder(values)` returns the words of a 1-d array of values, unsigned integers
            or any array of the same bits; under stochastic rounding `encoder(values, words)` with
            a random uint32 for each value, whose leading bits it adds to what it cuts off.
        dtype: the format, as data.
        mode: "toward_zero", "nearest_even" or "stochastic".
        source: what the values are, float32 or float64. They hold everything that `dtype` does.
        saturate: whether overflow, infinity's included, gives the largest value.
        seeds: one array of `count` aimed values each.
    """
    dtype, source = dtype_of(dtype), dtype_of(source)
    if source not in (float32, float64):
        raise ValueError(f"values are float32 or float64, but source={source.name} was given")
    found: dict[str, Violation] = {}
    for seed in seeds:
        values = aimed_values(seed, dtype, source, count)
        case = Case(encoder, dtype, mode, values, seed, saturate)
        for statement, (law, modes) in LAWS.items():
            if mode not in modes or statement in found:
                continue
            with np.errstate(all="ignore"):
                places = np.flatnonzero(law(case))
            if len(places):
                first = places[0]
                found[statement] = Violation(
                    statement, float(case.x[first]), int(case.words[first]), len(places)
                )
    return list(found.values())
