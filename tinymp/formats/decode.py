"""Which value does a word stand for? Put the implied bit back and scale by the exponent; nothing is rounded."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.formats.dtype import DType, dtype_of, float32
from tinymp.formats.encode import Array, array_module
from tinymp.formats.promotion import holds


def decode(words: Any, dtype: DType) -> Array:
    """The exact values of words of `dtype`, as float32 (float64 for what float32 cannot hold).

    `words` is a NumPy or CuPy array of `dtype.words`, of `dtype.storage`, or Python integers.
    Raises TypeError for words of another type.
    """
    dtype = dtype_of(dtype)
    if not dtype.is_float:
        raise TypeError(f"decode reads words of a floating-point format, not of {dtype.name}")
    return decode_rule(as_word_array(words, dtype), dtype)


def decode_rule(words: Array, dtype: DType) -> Array:
    """The specification of every decoding, from the format's integers."""
    xp = array_module(words)
    compute = xp.float32 if holds(float32, dtype) else xp.float64
    if dtype.storage == compute:
        return words.view(compute)
    word = words.reshape(-1).astype(xp.int64)
    magnitude = word & (dtype.sign_mask - 1)
    field = magnitude >> dtype.significand_bits
    implied = xp.minimum(field, 1) << dtype.significand_bits
    significand = (magnitude & dtype.significand_mask) | implied
    exponent = xp.maximum(field, 1) - (dtype.bias + dtype.significand_bits)

    value = xp.ldexp(significand.astype(xp.float64), exponent.astype(xp.int32))
    if dtype.infinity_word is not None:
        value = xp.where(magnitude == dtype.infinity_word, xp.inf, value)
    value = xp.where(magnitude > (dtype.infinity_word or dtype.max_word), xp.nan, value)
    value = xp.copysign(value, xp.where(word & dtype.sign_mask, -1.0, 1.0))
    return value.astype(compute).reshape(words.shape)


def as_word_array(words: Any, dtype: DType) -> Array:
    """`words` as an unsigned array of the format's width; raises TypeError for another type."""
    if not hasattr(words, "dtype"):
        return np.asarray(words, dtype=dtype.words)
    if words.dtype == dtype.words or words.dtype == dtype.storage:
        return (
            np.asarray(words).view(dtype.words) if np.isscalar(words) else words.view(dtype.words)
        )
    raise TypeError(f"words of {dtype.name} are {dtype.words}, got {words.dtype}")
