"""How are a few thousand elements cast? By the fewest calls of NumPy.

The arrays of a small model have 10 to 10,000 elements. A call costs 0.3 µs before it touches any of
them, as much as a pass over 3,000; so the functions here look nowhere for a block, have no buffers,
and take shortcuts that write more bytes than a long array could afford:

- Rounding is left to the processor's addition, which rounds to nearest even. It does so at the
  right place if the other operand is an *anchor*, so large that its unit in the last place is that
  of the result. The result then stands in the lowest bits of the sum's word.
- A table tells what depends on few bits, such as the anchor that an exponent needs. It is slow for
  an element, but a single call.

What would need one more question, such as NaN or an overflow, is left to `formats.fast`: these
functions answer None then. What they return owns its memory: whoever gets it may keep it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from tinymp.formats.dtype import DType, bfloat16, float16, float32
from tinymp.formats.quiet import quietly
from tinymp.formats.words import Array, bits_of, constant, every_value, has_nan

#: Elements up to which it is calls that cost.
FEW = 1 << 14

# Elements up to which the shortest ways win: every other half of a word, instead of two operations
# on words; a look into a table, instead of two operations for bfloat16 and a dozen for float16; and
# NumPy's own cast to float16. That takes 2.5 ns an element, but 70 to 150 ns for one that
# underflows, as small gradients do (it raises the processor's flag for each).
_EVERY_OTHER = 2048
_LOOK_UP_BFLOAT16, _LOOK_UP_FLOAT16 = 1024, 8192
_BY_NUMPY = 128

_UINT16, _UINT32, _INT32, _INT64 = map(np.dtype, (np.uint16, np.uint32, np.int32, np.int64))
_FLOAT16, _FLOAT32, _FLOAT64 = map(np.dtype, (np.float16, np.float32, np.float64))


def encode_few(values: Array, dtype: DType, mode: str | None, saturate: bool) -> Array | None:
    """Return ``encode_rule`` of a NumPy array as storage; None if that is left to others.

    ``mode``: None for the format's default.
    """
    if not _is_short(values):
        return None
    encoder = _encoder(values.dtype, dtype, mode, saturate)
    return None if encoder is None else encoder(values)


def decode_few(words: Array, dtype: DType, result: Any) -> Array | None:
    """Return ``decode_rule`` of words or storage as a type; None if that is left to others."""
    if not _is_short(words):
        return None
    decoder = _decoder(dtype, result)
    return None if decoder is None else decoder(words)


def round_few(values: Array, dtype: DType, mode: str) -> Array | None:
    """Return what decoding would make of ``encode_few``, if there is a shorter way; else None."""
    if not _is_short(values):
        return None
    if dtype is float16 and mode == "nearest_even":
        return _nearest_in_float16(values)
    if dtype is bfloat16 and mode != "stochastic" and not has_nan(values):
        return (_cut_to_bfloat16 if mode == "toward_zero" else _nearest_in_bfloat16)(values)
    return None


def _is_short(array: Array) -> bool:
    return 0 < array.size <= FEW and array.flags.c_contiguous  # argmax refuses empty arrays


@cache
def _encoder(
    source: np.dtype[Any], dtype: DType, mode: str | None, saturate: bool
) -> Callable[[Array], Array | None] | None:
    way = mode or dtype.default_rounding
    if source != np.float32 or saturate:
        return None
    if dtype is bfloat16:
        return {"toward_zero": _bfloat16_toward_zero, "nearest_even": _bfloat16_nearest}.get(way)
    if dtype is float16:
        return {"toward_zero": _float16_toward_zero, "nearest_even": _float16_nearest}.get(way)
    return None


@cache
def _decoder(dtype: DType, result: Any) -> Callable[[Array], Array | None] | None:
    if np.dtype(result) != np.float32 or dtype.kind != "float" or dtype.bits > 16:
        return None
    read = {bfloat16: _bfloat16_values, float16: _float16_values}.get(dtype, _look_up)
    return partial(read, every_value(dtype))


def _look_up(table: Array, words: Array) -> Array:
    # Words never are out of range; "wrap" is the quickest check. And of an array without axes NumPy
    # makes a scalar.
    return np.asarray(table.take(words, mode="wrap"))


# bfloat16: the upper half of a float32 word.

_SIXTEEN = constant(16)
# To a word, read as an integer, this adds nothing but a rounding: the unit of 2^68 in float64 is
# 2^16. What is left then of the word, divided by 2^16, stands in the lowest bits. (Half as much
# again, so that a negative word, which is a positive one less 2^32, does not change the exponent.)
_UNIT_2_16 = np.array(1.5 * 2.0**68)


def _bfloat16_toward_zero(x: Array) -> Array | None:
    if has_nan(x):
        return None
    if x.size <= _EVERY_OTHER and x.ndim > 0:
        return x.view(_UINT16)[..., 1::2].copy()
    return np.asarray(x.view(_UINT32) >> _SIXTEEN).astype(_UINT16)


def _bfloat16_nearest(x: Array) -> Array | None:
    if has_nan(x):
        return None
    rounded = x.view(_INT32).astype(_FLOAT64)
    rounded += _UNIT_2_16
    return rounded.view(_INT64).astype(_UINT16)


def _bfloat16_values(table: Array, words: Array) -> Array:
    if words.size <= _LOOK_UP_BFLOAT16:
        return _look_up(table, words)
    values = np.empty(words.shape, _FLOAT32)
    fields = values.view(_UINT32)
    fields[...] = words
    fields <<= _SIXTEEN
    return values


# float16. With e = max(exponent of x, -14), the unit of the result is 2^(e - 10), and that of an
# anchor of exponent e + 13 in float32. Its significand holds the sign and exponent of the float16
# word in the lowest 16 bits, less the implied bit, which comes with x:
#
#     anchor   sign | e + 13 + 127    | 0 ... 0 | sign | e + 14   | 0 ... 0
#     sum      sign | the same        | 0 ... 0 | sign | exponent | significand
#
# A significand that rounds up to 2 carries into the exponent, up to that of infinity.

_SIGN, _POWER = np.divmod(np.arange(1 << 9), 1 << 8)  # of all words without their significands
_POWER -= float32.bias
_SHIFT = float32.significand_bits - float16.significand_bits


def _anchors() -> Array:
    """Return the anchor for each sign and exponent of float32: NaN if too large for float16."""
    e = np.maximum(_POWER, float16.emin)
    lowest = (_SIGN << 15) | (e - float16.emin << float16.significand_bits)
    anchor = (_SIGN << 31) | (e + _SHIFT + float32.bias << float32.significand_bits) | lowest
    anchor[e > float16.emax] = float32.nan_word
    anchors: Array = anchor.astype(np.uint32).view(np.float32)
    return anchors


def _kept() -> Array:
    """Return which bits float16 has room for, for each sign and exponent of float32."""
    cut = np.maximum(_SHIFT, _SHIFT + float16.emin - _POWER)
    # The implied bit cannot be cut. Alone, it is half the smallest subnormal at most if it should
    # be: in the sum a tie, which goes to zero, the even one.
    kept: Array = (-1 << np.minimum(cut, float32.significand_bits)).astype(np.uint32)
    return kept


_ANCHORS, _KEPT = _anchors(), _kept()
_TO_EXPONENT = constant(float32.significand_bits)


def _float16_nearest(x: Array) -> Array | None:
    if x.size <= _BY_NUMPY:
        return None if has_nan(x) else np.asarray(quietly(x.astype, _FLOAT16))
    return _float16_sum(x.view(_UINT32) >> _TO_EXPONENT, x)


def _float16_toward_zero(x: Array) -> Array | None:
    word = x.view(_UINT32)
    exponent = word >> _TO_EXPONENT
    kept = _KEPT.take(exponent, mode="wrap")
    kept &= word
    return _float16_sum(exponent, kept.view(_FLOAT32))


def _float16_sum(exponent: Array, x: Array) -> Array | None:
    """Return the words in the sums of values and the anchors of their exponents."""
    rounded = _ANCHORS.take(exponent, mode="wrap")
    if has_nan(rounded):
        return None
    rounded += x
    storage = np.empty(x.shape, _FLOAT16)
    storage.view(_UINT16)[...] = rounded.view(_UINT32)
    return storage


def _float16_values(table: Array, words: Array) -> Array | None:
    return _look_up(table, words.view(_UINT16)) if words.size <= _LOOK_UP_FLOAT16 else None


# Where no words are wanted, the sum of a value and its anchor is rounded already, and the anchor
# can be taken off again, exactly. Half as much again as 2^(e + 13), it is right for both signs.

_EXPONENT = bits_of(np.inf)
_SMALLEST_POWER, _LARGEST_POWER = bits_of(2.0**float16.emin), bits_of(2.0**float16.emax).item()
_TO_ANCHOR = np.array(1.5 * 2.0**_SHIFT, np.float32)
_SIGN_BIT = constant(0x80000000)


def _nearest_in_float16(x: Array) -> Array | None:
    power = np.asarray(x.view(_UINT32) & _EXPONENT)
    if power.item(power.argmax()) >= _LARGEST_POWER:
        return None  # it may overflow, or be infinite or NaN
    np.maximum(power, _SMALLEST_POWER, out=power)
    anchor = power.view(_FLOAT32)
    anchor *= _TO_ANCHOR
    rounded = np.asarray(x + anchor)
    rounded -= anchor
    fields = rounded.view(_UINT32)
    fields |= x.view(_UINT32) & _SIGN_BIT  # for zeros, which have lost it
    return rounded


_ONE, _BELOW_HALF, _UPPER_HALF = constant(1), constant(0x7FFF), constant(0xFFFF0000)


def _nearest_in_bfloat16(x: Array) -> Array:
    # Half a unit, less one where the last bit that stays is 0: then a tie stays below it.
    word = x.view(_UINT32)
    rounded = np.asarray(word >> _SIXTEEN)
    rounded &= _ONE
    rounded += _BELOW_HALF
    rounded += word
    rounded &= _UPPER_HALF
    return rounded.view(_FLOAT32)


def _cut_to_bfloat16(x: Array) -> Array:
    return np.asarray(x.view(_UINT32) & _UPPER_HALF).view(_FLOAT32)
