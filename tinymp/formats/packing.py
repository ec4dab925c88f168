"""How does the engine cross between storage and compute? `pack` rounds once, `unpack` is exact."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.formats.decode import decode_rule
from tinymp.formats.dtype import DType
from tinymp.formats.encode import Array, encode_rule


def pack(values: Array, dtype: DType, mode: str | None = None, saturate: bool = False) -> Array:
    """Computed values as `dtype` is stored: floats rounded once by `mode`, integers and booleans converted.

    Returns `values` itself where they already are what is stored. `mode` None is the format's default.
    """
    if values.dtype == dtype.storage:
        return values
    if not dtype.is_float:
        return values.astype(dtype.storage)
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    return encode_rule(values, dtype, mode or dtype.default_rounding, saturate).view(dtype.storage)


def unpack(storage: Array, dtype: DType, compute: Any = np.float32) -> Array:
    """Stored elements as the values that rules compute on, exactly; integers and booleans pass undecoded.

    Returns `storage` itself where it already is of the compute type.
    """
    if not dtype.is_float or storage.dtype == compute:
        return storage
    return decode_rule(storage.view(dtype.words), dtype).astype(compute, copy=False)
