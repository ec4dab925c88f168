"""How does the engine cross between storage and compute? One rounding in, none out."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.devices import device_of
from tinymp.formats.decode import values_of
from tinymp.formats.dtype import DType, dtype_of, float64
from tinymp.formats.encode import round_to_storage
from tinymp.formats.few import decode_few, encode_few, round_few
from tinymp.formats.quiet import quietly
from tinymp.formats.rounding import RoundingState
from tinymp.formats.rule import Array


def pack(values: Array, dtype: DType, mode: str | None = None, saturate: bool = False) -> Array:
    """Return computed values as ``dtype`` stores them.

    Floats are rounded once, by ``mode`` (None: the format's default); to an integer they lose their
    fraction. Values that already are of the storage type are returned as they are, not copied.

    Args:
        values: NumPy or CuPy array of float32, float64, an integer type or bool.
        dtype: what to store.
        mode: a rounding mode; used for floating-point formats only.
        saturate: as in ``encode``.
    """
    if type(values) is np.ndarray:  # the shortest way, for small models
        if (storage := encode_few(values, dtype, mode, saturate)) is not None:
            return storage
    if values.dtype == dtype.storage:
        return values
    if dtype.kind != "float":
        with np.errstate(invalid="ignore"):  # NaN and infinity have no integer to become
            return values.astype(dtype.storage)
    if values.dtype.kind != "f":
        values = _float_of_integer(values)
    return round_to_storage(values, dtype, mode or dtype.default_rounding, saturate)


def as_array(values: Array) -> Array:
    """An array, also where NumPy made a scalar of a result without dimensions."""
    return np.asarray(values) if isinstance(values, np.generic) else values


def rounded(values: Array, dtype: DType, rounding: RoundingState) -> Array:
    """What a rule computed, as `dtype` stores it, rounded by the mode `rounding` has for it."""
    values = as_array(values)
    return values if values.dtype == dtype.storage else pack(values, dtype, rounding.mode(dtype))


def representable(values: Array, dtype: DType, mode: str) -> Array:
    """The float32 values that `pack` and `unpack` would make of float32 values."""
    if (nearest := round_few(values, dtype, mode)) is not None:
        return nearest
    return unpack(pack(values, dtype, mode), dtype)


def unpack(storage: Array, dtype: DType, compute: Any = np.float32) -> Array:
    """Return stored elements as values to compute on, exactly; integers pass unchanged.

    Storage that already is of the ``compute`` type is returned as it is, not copied.
    """
    if type(storage) is np.ndarray:
        if (few := decode_few(storage, dtype, compute)) is not None:
            return few
    if storage.dtype == compute or dtype.kind != "float":
        return storage
    values = values_of(storage, dtype)
    if values.dtype == compute:
        return values
    widens = values.dtype.itemsize < np.dtype(compute).itemsize
    if widens and isinstance(values, np.ndarray):  # all fit; but CuPy makes zeros of subnormals
        return quietly(values.astype, compute)
    return round_to_storage(values, dtype_of(compute), "nearest_even")


def _float_of_integer(values: Array) -> Array:
    """Return integers as float64 values that round to any narrower format as the integers would.

    Integers from 2**53 on do not all fit. Cutting 11 bits and setting the last bit kept if any of
    them was set ("rounding to odd") leaves 52 bits that fit, on the same side of every midpoint.
    """
    xp = device_of(values).xp
    values = values.astype(xp.int64)
    cut = ((values >> 11) | ((values & 0x7FF) != 0)) << 11
    return xp.where(abs(values) <= 1 << float64.precision, values, cut).astype(xp.float64)
