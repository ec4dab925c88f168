"""Which format holds the result of two operands of different formats?

The smallest one that holds every value of both: bool below int64 below the floats, and among those

    float16  --.
                float32 -- float64
    bfloat16 --'

float16 has more precision and bfloat16 more range, so only float32 holds both. An 8-bit float
promotes with nothing: no format is the obvious result, and widening it silently would hide where
precision was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, reduce

from tinymp.formats.dtype import DType, float8_e5m2, float32, float64

_KIND_ORDER = {"bool": 0, "int": 1, "float": 2}


def promote(*dtypes: DType) -> DType:
    """Return the dtype in which operands of these dtypes meet.

    Raises:
        TypeError: for an 8-bit float beside any other dtype, and for no dtypes at all.
    """
    if not dtypes:
        raise TypeError("promote needs at least one dtype")
    return reduce(_promote_two, dtypes)


def promote_ranked(*ranks: Sequence[DType]) -> DType:
    """Return the dtype in which operands of different rank meet: PyTorch's category rule.

    Earlier ranks decide. A later rank counts only if its own common dtype is of a higher category
    (bool below integer below float): so a Python number never widens a tensor, but makes an integer
    one float.

    Raises:
        TypeError: as ``promote`` does.
    """
    candidates = [promote(*dtypes) for dtypes in ranks if dtypes]
    # max keeps the first of equal ones.
    return max(candidates, key=lambda dtype: _KIND_ORDER[dtype.kind])


@cache
def gradient_dtype(dtype: DType) -> DType:
    """Dtype of a tensor's gradient: its own, but E5M2 for floats of a byte with a smaller range.

    E4M3 is one of them. Source: Micikevicius et al., FP8 Formats for Deep Learning (arXiv
    2209.05433), section 3.
    """
    short = dtype.is_float and dtype.bits <= 8
    return float8_e5m2 if short and dtype.exponent_bits < float8_e5m2.exponent_bits else dtype


def holds(wide: DType, narrow: DType) -> bool:
    """Return whether every finite value of the float format ``narrow`` is a value of ``wide``."""
    return (
        wide.precision >= narrow.precision
        and wide.max >= narrow.max
        and wide.smallest_subnormal <= narrow.smallest_subnormal
    )


@cache
def _promote_two(a: DType, b: DType) -> DType:
    if a is b:
        return a
    for eight_bit, other in ((a, b), (b, a)):
        if eight_bit.is_float and eight_bit.bits <= 8:
            raise TypeError(
                f"{eight_bit.name} does not promote with {other.name}: an 8-bit float promotes "
                "with nothing; cast it first, for example with .to(float16) or .to(float32)"
            )
    if a.kind != b.kind:
        return max(a, b, key=lambda dtype: _KIND_ORDER[dtype.kind])
    candidates = (a, b, float32, float64)
    return next(dtype for dtype in candidates if holds(dtype, a) and holds(dtype, b))
