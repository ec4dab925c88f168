"""How does a real value become a word? Add something, then cut the bits.

With the significand written as an integer, rounding it to a shorter one is one addition and one shift:

    toward zero     add nothing, cut
    nearest even    add half a unit of the last kept place (a hair less when the kept part is even), cut
    stochastic      add random bits of the cut part's width, cut: the carry comes with probability equal to
                    the fraction cut off (Connolly, Higham & Mary, SIAM J. Sci. Comput. 43(1), 2021)

A carry out of the significand runs into the exponent field, where it belongs. `encode_rule` below says this for
every float format at once, from the format's integers; it is the specification. `fast.py` holds faster
spellings of single cases, which tests hold to this one bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.formats.dtype import DType, dtype_of
from tinymp.formats.rounding import active_rounding, check_mode

Array = Any  # a NumPy or CuPy array

_SOURCE_FRACTION = 52  # float64: stored fraction bits, exponent bias, sign bit
_SOURCE_BIAS = 1023
_MAX_SHIFT = (
    62  # a significand of 53 bits, cut by more, leaves nothing but a carry; 62 keeps sums in int64
)


def encode(
    values: Any,
    dtype: DType,
    rounding: str | None = None,
    saturate: bool = False,
    *,
    random_words: Array | None = None,
) -> Array:
    """Round float32 or float64 values to `dtype`, once, and return the words.

    `values` is a NumPy or CuPy array of float16, float32 or float64, any shape and strides, or a Python
    number or nested list of them, which are float64 values. The result has its shape, lives where it lives,
    and holds unsigned words of `dtype.words`. `rounding` is the mode; None takes the active one.

    NaN stays NaN with its sign (one quiet NaN word a format). What lies above the largest finite value becomes
    infinity, or NaN in a format without infinities; rounding toward zero stops finite values at the largest
    finite one. With `saturate` everything above it, infinity included, becomes the largest finite value.

    `random_words`, for mode "stochastic", are unsigned integers of the shape of `values`; a word of w bits is
    read as the fraction word/2^w of one unit in the last place. Without them the device's generator is
    drawn from, 32 bits a float32 value and 64 bits a float64 value.

    Raises TypeError for integer arrays and for a `dtype` that is not floating-point, ValueError for an unknown
    mode.
    """
    dtype = dtype_of(dtype)
    if not dtype.is_float:
        raise TypeError(f"encode rounds to a floating-point format, not to {dtype.name}")
    mode = active_rounding().mode(dtype) if rounding is None else rounding
    check_mode(mode)
    return encode_rule(as_float_array(values), dtype, mode, saturate, random_words)


def encode_rule(
    values: Array,
    dtype: DType,
    mode: str,
    saturate: bool = False,
    random_words: Array | None = None,
) -> Array:
    """The specification of every encoding: `encode` without its conveniences, for a float array."""
    xp = array_module(values)
    if dtype.significand_bits == _SOURCE_FRACTION:
        return values.astype(xp.float64).view(dtype.words)
    if mode == "stochastic" and random_words is None:
        random_words = draw_random_words(values)
    # float32 widens to float64 exactly, so one source format is enough. One axis, because NumPy turns the
    # results of arithmetic on arrays without axes into scalars.
    with np.errstate(invalid="ignore"):  # a signalling NaN would warn
        flat = values.reshape(-1).astype(xp.float64)
    word = flat.view(xp.int64)
    negative = word < 0
    magnitude = word & 0x7FFF_FFFF_FFFF_FFFF

    field = magnitude >> _SOURCE_FRACTION
    implied = xp.minimum(field, 1)
    significand = (magnitude & ((1 << _SOURCE_FRACTION) - 1)) | implied << _SOURCE_FRACTION
    exponent = xp.maximum(field, 1) - _SOURCE_BIAS

    # Below the format's smallest exponent the spacing stays, so more bits of the significand are cut.
    target_exponent = xp.maximum(exponent, dtype.emin)
    cut = (_SOURCE_FRACTION - dtype.significand_bits) + (target_exponent - exponent)
    significand = significand >> xp.clip(cut - _MAX_SHIFT, 0, _MAX_SHIFT)
    cut = xp.minimum(cut, _MAX_SHIFT)

    if mode == "nearest_even":
        last_kept = (significand >> cut) & 1
        significand = significand + ((1 << (cut - 1)) - 1 + last_kept)
    elif mode == "stochastic":
        significand = significand + _random_below_one_unit(xp, random_words, cut)
    # The kept part of a normal number still has its implied bit, which adds the missing 1 to the exponent.
    result = ((target_exponent - dtype.emin) << dtype.significand_bits) + (significand >> cut)

    infinite = magnitude == 0x7FF0_0000_0000_0000
    not_a_number = magnitude > 0x7FF0_0000_0000_0000
    infinity = dtype.nan_word if dtype.infinity_word is None else dtype.infinity_word
    beyond = dtype.max_word if saturate or mode == "toward_zero" else infinity
    result = xp.where(result > dtype.max_word, beyond, result)
    result = xp.where(infinite, dtype.max_word if saturate else infinity, result)
    result = xp.where(not_a_number, dtype.nan_word, result)
    result = xp.where(negative, result | dtype.sign_mask, result)
    return result.astype(dtype.words).reshape(values.shape)


def _random_below_one_unit(xp: Any, random_words: Array, cut: Array) -> Array:
    """Random integers of `cut` bits: the leading bits of words read as binary fractions."""
    width = 8 * random_words.dtype.itemsize
    fraction = random_words.reshape(-1).astype(xp.uint64) << xp.uint64(64 - width)
    return (fraction >> (64 - cut).astype(xp.uint64)).astype(xp.int64)


def draw_random_words(values: Array) -> Array:
    """One random word a value, as wide as the value, from the generator of the device that holds it."""
    from tinymp.devices import device_of
    from tinymp.devices.random import random_words

    per_value = values.dtype.itemsize // 4
    words = random_words(device_of(values), per_value * values.size)
    return words.view(f"uint{32 * per_value}").reshape(values.shape)


def as_float_array(values: Any) -> Array:
    """`values` as a float32 or float64 array; raises TypeError where that would guess or lose."""
    if not hasattr(values, "dtype"):
        return np.asarray(values, dtype=np.float64)
    if values.dtype == np.float32 or values.dtype == np.float64:
        return np.asarray(values) if np.isscalar(values) else values
    if values.dtype == np.float16:
        return values.astype(np.float32)
    raise TypeError(
        f"encode takes float32 or float64 values, got {values.dtype}; "
        "convert them first, for example with values.astype(np.float64)"
    )


def array_module(array: Array) -> Any:
    """NumPy or CuPy, whichever the array belongs to."""
    if isinstance(array, np.ndarray | np.generic):
        return np
    from tinymp.devices import device_of

    return device_of(array).xp
