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

Both functions read the format's integers and know no format by name. They compute on words, not on
floats, because a GPU's floating-point casts may flush subnormals and drop the sign of a NaN. They
are written for clarity; ``fast.py`` has quicker spellings, which tests hold to these.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tinymp.devices import device_of
from tinymp.formats.dtype import DType, dtype_of, float32, float64
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
    source = dtype_of(values.dtype)
    if not holds(source, dtype):
        values, source = _float64_values(values.view(source.words), source), float64
    if source is dtype:
        return values.view(dtype.words)
    # One axis, because NumPy makes scalars of what arithmetic on arrays without axes returns.
    word = values.reshape(-1).view(f"i{source.itemsize}").astype(xp.int64)
    magnitude, significand, exponent = _fields(xp, word, source)

    # Below the format's smallest exponent the spacing stays, so more of the significand is cut.
    target_exponent = xp.maximum(exponent, dtype.emin)
    cut = source.significand_bits - dtype.significand_bits + (target_exponent - exponent)
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
    infinite = magnitude == source.exponent_mask
    result = xp.where(infinite, dtype.max_word if saturate else infinity, result)
    result = xp.where(magnitude > source.exponent_mask, dtype.nan_word, result)
    result = xp.where(word < 0, result | dtype.sign_mask, result)
    return result.astype(dtype.words).reshape(values.shape)


def _random_bits(xp: Any, random_words: Array, cut: Array) -> Array:
    """Return random integers of ``cut`` bits: the leading bits of words read as fractions."""
    width = 8 * random_words.dtype.itemsize
    fraction = random_words.reshape(-1).astype(xp.uint64) << xp.uint64(64 - width)
    return (fraction >> (64 - cut).astype(xp.uint64)).astype(xp.int64)


def decode_rule(words: Array, dtype: DType) -> Array:
    """Return the values of words: see ``decode``."""
    result = value_type(dtype)
    if dtype.storage == result:
        return words.view(result)
    values = _float64_values(words, dtype)
    if result == np.float64:
        return values
    return encode_rule(values, float32, "toward_zero").view(result)  # nothing is there to cut


def _float64_values(words: Array, dtype: DType) -> Array:
    xp = device_of(words).xp
    word = words.reshape(-1).astype(xp.int64)
    magnitude, significand, exponent = _fields(xp, word, dtype)
    scale = (exponent - dtype.significand_bits).astype(xp.int32)
    result = xp.ldexp(significand.astype(xp.float64), scale).view(xp.int64)
    result = xp.where(magnitude > dtype.max_word, float64.nan_word, result)
    if dtype.infinity_word is not None:
        result = xp.where(magnitude == dtype.infinity_word, float64.exponent_mask, result)
    sign = (word & dtype.sign_mask) != 0
    result = xp.where(sign, result | xp.int64(-(2**63)), result)
    return result.view(xp.float64).reshape(words.shape)


def _fields(xp: Any, word: Array, dtype: DType) -> tuple[Array, Array, Array]:
    """Return what words hold beside the sign: all of it, the significand, and the exponent."""
    magnitude = word & (dtype.sign_mask - 1)
    field = magnitude >> dtype.significand_bits
    implied = xp.minimum(field, 1) << dtype.significand_bits
    significand = (magnitude & dtype.significand_mask) | implied
    return magnitude, significand, xp.maximum(field, 1) - dtype.bias


@cache
def value_type(dtype: DType) -> np.dtype[Any]:
    """Return the NumPy type that decoding gives: float32, or float64 where float32 is too small."""
    return (float32 if holds(float32, dtype) else float64).storage
