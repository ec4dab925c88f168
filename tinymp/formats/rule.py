"""How does a real value become a word, and a word a value? The specification, for every format.

To encode, add something, then cut the bits. With the significand written as an integer, rounding
it to a shorter one is one addition and one shift:

    toward zero     add nothing, then cut
    nearest even    add half a unit of the last place kept (a hair less if that place is even), cut
    stochastic      add random bits, as many as are to be cut, then cut: a carry comes with exactly
                    the probability that equals the fraction cut off (Croci et al., "Stochastic
                    rounding", Royal Society Open Science 9:211631, 2022)

A carry out of the significand runs into the exponent field, where it belongs: words of one sign,
read as integers, are ordered as their values are.

To decode, put the implied bit back and scale by the exponent; nothing is rounded.

Both functions read the format's integers and know no format by name. They are written for clarity;
``fast.py`` has quicker spellings, which tests hold to these.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tinymp.devices import device_of
from tinymp.formats.dtype import DType, float32, float64
from tinymp.formats.promotion import holds

Array = Any  # a NumPy or CuPy array

# Significands have 53 bits, so a cut of more than 62 leaves nothing, and sums stay within int64.
_WIDEST_CUT = 62


def encode_rule(
    values: Array,
    dtype: DType,
    mode: str,
    saturate: bool = False,
    random_words: Array | None = None,
) -> Array:
    """Return the words of float32 or float64 values, rounded once: see ``encode``."""
    xp = device_of(values).xp
    # float32 widens to float64 exactly, so one source format is enough. One axis, because NumPy
    # makes scalars of what arithmetic on arrays without axes returns.
    with np.errstate(invalid="ignore"):  # a signalling NaN would warn
        wide = values.reshape(-1).astype(xp.float64)
    if dtype is float64:
        return wide.view(dtype.words).reshape(values.shape)
    word = wide.view(xp.int64)
    magnitude = word & (float64.sign_mask - 1)

    field = magnitude >> float64.significand_bits
    implied = xp.minimum(field, 1) << float64.significand_bits
    significand = (magnitude & float64.significand_mask) | implied
    exponent = xp.maximum(field, 1) - float64.bias

    # Below the format's smallest exponent the spacing stays, so more of the significand is cut.
    target_exponent = xp.maximum(exponent, dtype.emin)
    cut = float64.significand_bits - dtype.significand_bits + (target_exponent - exponent)
    significand >>= xp.clip(cut - _WIDEST_CUT, 0, _WIDEST_CUT)
    cut = xp.minimum(cut, _WIDEST_CUT)

    if mode == "nearest_even":
        last_kept = (significand >> cut) & 1
        significand += (1 << (cut - 1)) - 1 + last_kept
    elif mode == "stochastic":
        significand += _random_bits(xp, random_words, cut)
    # The part kept of a normal number has its implied bit: it adds the missing 1 to the exponent.
    result = ((target_exponent - dtype.emin) << dtype.significand_bits) + (significand >> cut)

    infinity = dtype.nan_word if dtype.infinity_word is None else dtype.infinity_word
    beyond = dtype.max_word if saturate or mode == "toward_zero" else infinity
    result = xp.where(result > dtype.max_word, beyond, result)
    source_infinity = float64.exponent_mask
    result = xp.where(
        magnitude == source_infinity, dtype.max_word if saturate else infinity, result
    )
    result = xp.where(magnitude > source_infinity, dtype.nan_word, result)
    result = xp.where(word < 0, result | dtype.sign_mask, result)
    return result.astype(dtype.words).reshape(values.shape)


def _random_bits(xp: Any, random_words: Array, cut: Array) -> Array:
    """Return random integers of ``cut`` bits: the leading bits of words read as fractions."""
    width = 8 * random_words.dtype.itemsize
    fraction = random_words.reshape(-1).astype(xp.uint64) << xp.uint64(64 - width)
    return (fraction >> (64 - cut).astype(xp.uint64)).astype(xp.int64)


def decode_rule(words: Array, dtype: DType) -> Array:
    """Return the values of words: see ``decode``."""
    xp = device_of(words).xp
    result = value_type(dtype)
    if dtype.storage == result:
        return words.view(result)
    word = words.reshape(-1).astype(xp.int64)
    magnitude = word & (dtype.sign_mask - 1)

    field = magnitude >> dtype.significand_bits
    implied = xp.minimum(field, 1) << dtype.significand_bits
    significand = (magnitude & dtype.significand_mask) | implied
    exponent = xp.maximum(field, 1) - dtype.bias - dtype.significand_bits

    value = xp.ldexp(significand.astype(xp.float64), exponent.astype(xp.int32))
    value = xp.where(magnitude > dtype.max_word, xp.nan, value)
    if dtype.infinity_word is not None:
        value = xp.where(magnitude == dtype.infinity_word, xp.inf, value)
    value = xp.where((word & dtype.sign_mask) != 0, -value, value)
    return value.astype(result).reshape(words.shape)


@cache
def value_type(dtype: DType) -> np.dtype[Any]:
    """Return the NumPy type that decoding gives: float32, or float64 where float32 is too small."""
    return (float32 if holds(float32, dtype) else float64).storage
