"""What are the limits of a format? The numbers that NumPy and PyTorch print under ``finfo``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tinymp.formats.dtype import DTYPES, DType, dtype_of


@dataclass(frozen=True, slots=True)
class FloatInfo:
    """Limits of a floating-point format; named as in ``torch.finfo`` and ``numpy.finfo``."""

    dtype: DType
    bits: int
    nexp: int
    nmant: int
    max: float
    min: float
    eps: float
    smallest_normal: float
    smallest_subnormal: float
    resolution: float

    @property
    def tiny(self) -> float:
        """Another name for ``smallest_normal``."""
        return self.smallest_normal


def finfo(dtype: Any) -> FloatInfo:
    """Return the limits of a floating-point dtype (or its name), as exact Python floats.

    ``max`` and ``min`` are the largest and the most negative finite value, ``eps`` is the distance
    from 1 to the next number, ``nexp`` and ``nmant`` are the widths of the fields. ``resolution``
    is 10^-d for the d decimal digits that every number in range keeps.

    Raises:
        TypeError: for integers and booleans.
    """
    dtype = dtype_of(dtype)
    if not dtype.is_float:
        raise TypeError(
            f"finfo describes floating-point formats, and {dtype.name} is none; use one of "
            f"{', '.join(d.name for d in DTYPES if d.is_float)} (for integers, numpy.iinfo)"
        )
    digits = math.floor(dtype.significand_bits * math.log10(2))
    return FloatInfo(
        dtype=dtype,
        bits=dtype.bits,
        nexp=dtype.exponent_bits,
        nmant=dtype.significand_bits,
        max=dtype.max,
        min=-dtype.max,
        eps=dtype.eps,
        smallest_normal=dtype.smallest_normal,
        smallest_subnormal=dtype.smallest_subnormal,
        resolution=float(f"1e-{digits}"),
    )
