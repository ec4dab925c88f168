"""What is a number format? A few integers, from which everything else about it follows.

A binary floating-point word is a sign bit, an exponent field and a significand field. Its value is

    normal      (-1)^sign * 2^(exponent - bias) * 1.significand     exponent field above zero
    subnormal   (-1)^sign * 2^(1 - bias)        * 0.significand     exponent field zero

What the topmost exponent field means is a choice of the format: infinities and NaNs (IEEE 754-2019,
section 3.4); in E4M3FN ordinary numbers, and one word for NaN, all ones (Micikevicius et al., "FP8
Formats for Deep Learning", 2022, section 3); in FP6 and FP4 numbers alone (Open Compute Project,
"OCP Microscaling Formats (MX) Specification", version 1.0, 2023, section 5.3). The encoder and the
decoder read the integers below and know no format by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Kind = Literal["float", "int", "bool"]
NanRule = Literal["ieee", "all_ones", "none"]


@dataclass(frozen=True, eq=False, repr=False)
class DType:
    """A number format as data. Formats are compared by identity: there is one object of each.

    ``significand_bits`` counts the bits stored; the leading bit of a normal number is implied.
    ``storage`` is the NumPy dtype that holds the format in memory, ``words`` the unsigned integer
    of the same size in which ``encode`` and ``decode`` speak. The word properties leave the sign
    bit out.
    """

    name: str
    kind: Kind
    storage: np.dtype[Any]
    words: np.dtype[Any]
    exponent_bits: int = 0
    significand_bits: int = 0
    bias: int = 0
    has_infinity: bool = True
    nan_rule: NanRule = "ieee"
    default_rounding: str = "nearest_even"

    def __repr__(self) -> str:
        return f"tinymp.{self.name}"

    def __reduce__(self) -> tuple[Callable[[str], DType], tuple[str]]:
        # A copied or unpickled format must be the very object that identity comparisons know.
        return dtype_of, (self.name,)

    @property
    def is_float(self) -> bool:
        """Whether this is a floating-point format."""
        return self.kind == "float"

    @property
    def itemsize(self) -> int:
        """Bytes that one element takes in memory."""
        return int(self.storage.itemsize)

    @property
    def bits(self) -> int:
        """Width of a word: sign, exponent and significand; of other kinds, of the storage."""
        if not self.is_float:
            return 8 * self.itemsize
        return 1 + self.exponent_bits + self.significand_bits

    @property
    def sign_mask(self) -> int:
        """The sign bit."""
        return 1 << (self.exponent_bits + self.significand_bits)

    @property
    def exponent_mask(self) -> int:
        """The bits of the exponent field."""
        return ((1 << self.exponent_bits) - 1) << self.significand_bits

    @property
    def significand_mask(self) -> int:
        """The bits of the significand field."""
        return (1 << self.significand_bits) - 1

    @property
    def has_nan(self) -> bool:
        """Whether a word stands for NaN."""
        return self.nan_rule != "none"

    @property
    def infinity_word(self) -> int | None:
        """The word of infinity, or None in a format without infinities."""
        return self.exponent_mask if self.has_infinity else None

    @property
    def nan_word(self) -> int:
        """What encoders write for NaN: the quiet one with an empty payload, or the only one.

        In a format without NaN that is the largest value, as in hardware.
        """
        if self.nan_rule == "ieee":
            return self.exponent_mask | 1 << (self.significand_bits - 1)
        return self.exponent_mask | self.significand_mask

    @property
    def max_word(self) -> int:
        """The word of the largest finite value: the last one before infinities and NaNs begin."""
        if not self.has_nan:
            return self.sign_mask - 1
        return (self.nan_word if self.nan_rule == "all_ones" else self.exponent_mask) - 1

    @property
    def precision(self) -> int:
        """Significand bits of a normal number with the implied one: p of error analysis."""
        return self.significand_bits + 1

    @property
    def emin(self) -> int:
        """Exponent of the smallest normal number, and of every subnormal one."""
        self._require_float()
        return 1 - self.bias

    @property
    def emax(self) -> int:
        """Exponent of the largest finite number."""
        self._require_float()
        return (self.max_word >> self.significand_bits) - self.bias

    @property
    def max(self) -> float:
        """Largest finite value."""
        significand = (self.max_word & self.significand_mask) | (1 << self.significand_bits)
        return significand * 2.0 ** (self.emax - self.significand_bits)

    @property
    def smallest_normal(self) -> float:
        """Smallest positive value with an implied bit, from which on precision is full."""
        return 2.0**self.emin

    @property
    def smallest_subnormal(self) -> float:
        """Smallest positive value, and the spacing around zero: η of error analysis."""
        return 2.0 ** (self.emin - self.significand_bits)

    @property
    def eps(self) -> float:
        """Distance from 1 to the next larger number: 2^(1 - p)."""
        self._require_float()
        return 2.0**-self.significand_bits

    def unit_roundoff(self, mode: str | None = None) -> float:
        """Bound of one rounding's relative error: 2^-p to nearest, 2^(1 - p) otherwise.

        It holds between the smallest normal and the largest finite value.
        """
        nearest = (mode or self.default_rounding) == "nearest_even"
        return self.eps / 2 if nearest else self.eps

    def _require_float(self) -> None:
        if not self.is_float:
            raise TypeError(
                f"{self.name} is not a floating-point format and has no exponent or precision; "
                f"use one of {', '.join(d.name for d in DTYPES if d.is_float)}"
            )


def _ieee(name: str, storage: Any, exponent_bits: int, significand_bits: int, **rest: Any) -> DType:
    dtype = np.dtype(storage)
    return DType(
        name,
        "float",
        storage=dtype,
        words=np.dtype(f"uint{8 * dtype.itemsize}"),
        exponent_bits=exponent_bits,
        significand_bits=significand_bits,
        bias=2 ** (exponent_bits - 1) - 1,
        **rest,
    )


float64 = _ieee("float64", np.float64, 11, 52)
float32 = _ieee("float32", np.float32, 8, 23)
float16 = _ieee("float16", np.float16, 5, 10)
# The upper half of a float32 word. It truncates by default, because that is what cutting the word
# does; hardware rounds to nearest even, and so does ``rounding("nearest_even", bfloat16)``.
bfloat16 = _ieee("bfloat16", np.uint16, 8, 7, default_rounding="toward_zero")
float8_e5m2 = _ieee("float8_e5m2", np.uint8, 5, 2)
float8_e4m3fn = DType(
    "float8_e4m3fn",
    "float",
    np.dtype(np.uint8),
    np.dtype(np.uint8),
    exponent_bits=4,
    significand_bits=3,
    bias=7,
    has_infinity=False,
    nan_rule="all_ones",
)
int64 = DType("int64", "int", np.dtype(np.int64), np.dtype(np.uint64))
bool_ = DType("bool", "bool", np.dtype(np.bool_), np.dtype(np.uint8))

DTYPES = (float64, float32, float16, bfloat16, float8_e4m3fn, float8_e5m2, int64, bool_)
_BY_NAME = {dtype.name: dtype for dtype in DTYPES}


def float_format(
    exponent_bits: int, significand_bits: int, *, has_infinity: bool = True, has_nan: bool = True
) -> DType:
    """Return the floating-point format of these field widths: E3M4, TF32 (8, 10), FP6 (3, 2), ...

    Tensors of it hold the smallest unsigned integer that a word fits into. One format is one
    object: the same arguments give it again, and ``float_format(5, 10)`` is float16 itself.

    OCP's formats for microscaling are FP6 E3M2, FP6 E2M3 and FP4 E2M1, each without infinity and
    NaN. All that is too large for such a format becomes its largest value, infinity and NaN, too.
    (E8M0, which has neither sign nor significand, is a scale, and no format of this kind.)

    Args:
        exponent_bits: 2 to 8, to 7 without infinity. The bias is 2^(exponent_bits - 1) - 1.
        significand_bits: 1 to 23, without the implied bit.
        has_infinity: the topmost exponent field means infinities and NaNs, as IEEE 754 has it;
            otherwise numbers.
        has_nan: without infinity, whether the word of all ones is NaN, as in E4M3FN. In fewer than
            8 bits it never is.

    Raises:
        ValueError: widths out of range, or NaN where no format has it.
    """
    widest = 8 if has_infinity else 7
    if not 2 <= exponent_bits <= widest or not 1 <= significand_bits <= 23:
        raise ValueError(
            f"a format of {exponent_bits} exponent bits and {significand_bits} significand bits "
            f"was asked for; exponents take 2 to {widest} bits, significands 1 to 23, so that "
            "float32, in which operations compute, holds every value"
        )
    bits = 1 + exponent_bits + significand_bits
    if has_infinity and not has_nan:
        raise ValueError(
            "a format with infinity and without NaN was asked for; where the topmost exponent "
            "field means infinity, the rest of it means NaN: pass has_infinity=False, too"
        )
    if bits < 8 and has_nan and not has_infinity:
        raise ValueError(
            f"a format of {bits} bits without infinity and with NaN was asked for; below 8 bits "
            "no word is spared for NaN: pass has_nan=False"
        )
    nan_rule: NanRule = "ieee" if has_infinity else "all_ones" if has_nan else "none"
    for known in _BY_NAME.values():
        fields = known.exponent_bits, known.significand_bits, known.nan_rule
        if fields == (exponent_bits, significand_bits, nan_rule):
            return known
    words = np.dtype(f"uint{next(width for width in (8, 16, 32) if bits <= width)}")
    # As ml_dtypes has it: "f" for finite, no infinity; "n" for one NaN, or below 8 bits none.
    suffix = "" if has_infinity else "fn" if has_nan or bits < 8 else "f"
    name = f"float{bits}_e{exponent_bits}m{significand_bits}{suffix}"
    dtype = DType(
        name,
        "float",
        storage=words,
        words=words,
        exponent_bits=exponent_bits,
        significand_bits=significand_bits,
        bias=2 ** (exponent_bits - 1) - 1,
        has_infinity=has_infinity,
        nan_rule=nan_rule,
    )
    # Threads that ask at the same time get the same object.
    return _BY_NAME.setdefault(name, dtype)


def _float_format_of(name: str) -> DType | None:
    """Return the format of a name that ``float_format`` gave, perhaps in another process."""
    match = re.fullmatch(r"float(\d+)_e(\d)m(\d\d?)(fn|f)?", name)
    if match is None:
        return None
    has_nan = match[4] is None or (match[4] == "fn" and int(match[1]) >= 8)
    try:
        dtype = float_format(
            int(match[2]), int(match[3]), has_infinity=match[4] is None, has_nan=has_nan
        )
    except ValueError:
        return None
    return dtype if dtype.name == name else None


def dtype_of(name: Any) -> DType:
    """Return the DType of a name, of a NumPy or ml_dtypes type, or of a DType, which is itself.

    Every NumPy integer type gives int64, the one integer type that tinymp holds.

    Raises:
        TypeError: for anything else; the message lists the valid names.
    """
    if isinstance(name, DType):
        return name
    if isinstance(name, str):
        named = _BY_NAME.get(name) or _float_format_of(name)
        if named is not None:
            return named
    try:
        numpy_dtype = None if isinstance(name, str) or name is None else np.dtype(name)
    except TypeError:
        numpy_dtype = None
    if numpy_dtype is not None:
        named = _BY_NAME.get(numpy_dtype.name) or _float_format_of(numpy_dtype.name)
        if named is not None:
            return named
        if numpy_dtype.kind in "iu":
            return int64
    raise TypeError(f"unknown dtype {name!r}; expected one of {', '.join(d.name for d in DTYPES)}")
