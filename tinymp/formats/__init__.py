"""What a number is: formats as data, rounding, words, and a close look at single values."""

from __future__ import annotations

from tinymp.formats.decode import decode
from tinymp.formats.dtype import (
    DTYPES,
    DType,
    bfloat16,
    bool_,
    dtype_of,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    float_format,
    int64,
)
from tinymp.formats.encode import encode
from tinymp.formats.finfo import FloatInfo, finfo
from tinymp.formats.packing import as_array, pack, representable, rounded, unpack
from tinymp.formats.promotion import gradient_dtype, promote, promote_ranked
from tinymp.formats.rounding import (
    MODES,
    RoundingState,
    active_rounding,
    rounding,
    set_rounding,
    using_rounding,
)

__all__ = [
    "DTYPES",
    "MODES",
    "DType",
    "FloatInfo",
    "RoundingState",
    "active_rounding",
    "as_array",
    "bfloat16",
    "bool_",
    "decode",
    "dtype_of",
    "encode",
    "finfo",
    "float8_e4m3fn",
    "float8_e5m2",
    "float16",
    "float32",
    "float64",
    "float_format",
    "gradient_dtype",
    "int64",
    "pack",
    "promote",
    "promote_ranked",
    "representable",
    "rounded",
    "rounding",
    "set_rounding",
    "unpack",
    "using_rounding",
]
