"""How do the rules run at the speed of memory? By special spellings for the processor's cache.

Each function here returns what the rule returns for one format, bit for bit but for the payloads of
decoded NaNs (tests hold every one to it); what has no spelling here runs by the rule. What makes
them fast:

- Work goes in blocks that fit into the cache (`formats.walk`). Short arrays have spellings of their
  own (`formats.few`).
- Every operation is a pass over the block, so the fewest and narrowest passes win. Buffers are
  used again, by in-place operators and by every block.
- The upper half of a 32-bit word is the lower half of the one that begins two bytes further on, and
  a cast to 16 bits keeps lower halves: no shift is needed. (Words are little-endian, as on every
  processor that this package is tested on.)
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np

from tinymp.formats.dtype import DType, bfloat16, float16, float32, float64
from tinymp.formats.few import FEW, decode_few, encode_few
from tinymp.formats.quiet import quietly
from tinymp.formats.rule import decode_rule, encode_rule, value_type
from tinymp.formats.walk import Spelling, walk
from tinymp.formats.words import Array, bits_of, constant, every_value, has_nan

# Elements of a block. What it is worked on in is to fit into the cache, 2 MiB at most; but NumPy's
# calls cost as much as thousands of elements, so blocks must not be many.
BLOCK = 1 << 17
ONE_PASS = 1 << 18
RULE_BLOCK = 1 << 13  # the rule has many buffers, of 8 bytes an element


def encode_fast(
    values: Array,
    dtype: DType,
    mode: str,
    saturate: bool = False,
    random_words: Array | None = None,
) -> Array:
    """Return ``encode_rule`` of a NumPy array, as storage, by the fastest spelling there is."""
    if random_words is None and (storage := encode_few(values, dtype, mode, saturate)) is not None:
        return storage
    random_type = None if random_words is None else random_words.dtype
    spelling = _encoder(values.dtype, dtype, mode, saturate, random_type)
    return walk(spelling, values, dtype.storage, random_words)


def decode_fast(words: Array, dtype: DType) -> Array:
    """Return ``decode_rule`` of a NumPy array of words or storage, by the fastest spelling."""
    wanted = value_type(dtype)
    if dtype.storage == wanted:
        return words.view(wanted)
    if (values := decode_few(words, dtype, wanted)) is not None:
        return values
    return walk(_decoder(dtype), words, wanted)


@cache
def _encoder(
    source: np.dtype[Any],
    dtype: DType,
    mode: str,
    saturate: bool,
    random_type: np.dtype[Any] | None,
) -> Spelling:
    if dtype is float64:
        return Spelling(_float64_exact, ONE_PASS)
    if source == np.float64 and dtype is float32 and mode == "nearest_even" and not saturate:
        return Spelling(_float32_nearest, ONE_PASS)
    if source == np.float32 and dtype is bfloat16 and not saturate:
        if mode == "toward_zero":
            return Spelling(_bfloat16_toward_zero, ONE_PASS)
        if mode == "nearest_even":
            return Spelling(_bfloat16_nearest, BLOCK, weight=3, buffers=1)
        if mode == "stochastic" and random_type == np.uint32:
            return Spelling(_bfloat16_stochastic, BLOCK, weight=3, buffers=1)
    if source == np.float32 and dtype is float16 and mode == "nearest_even":
        limit = _LARGEST if saturate else _OVERFLOW
        return Spelling(partial(_float16_nearest, limit=limit), BLOCK, weight=5, buffers=2)
    if source == np.float32 and dtype is float16 and mode == "toward_zero" and not saturate:
        return Spelling(_float16_toward_zero, FEW, weight=10)
    if source == np.float32 and dtype.bits <= 8 and mode != "stochastic":
        table = _encoding_table(dtype, mode, saturate)
        return Spelling(partial(_by_table, table=table), BLOCK, weight=5, buffers=1)
    return Spelling(
        partial(_by_rule, dtype=dtype, mode=mode, saturate=saturate), RULE_BLOCK, weight=100
    )


@cache
def _decoder(dtype: DType) -> Spelling:
    if dtype is bfloat16:
        return Spelling(_bfloat16_values, ONE_PASS)
    if dtype is float16:
        return Spelling(_float16_values, BLOCK, weight=2)
    if dtype.bits <= 16:
        return Spelling(partial(_look_up, table=every_value(dtype)), BLOCK, weight=2)
    return Spelling(partial(_values_by_rule, dtype=dtype), RULE_BLOCK, weight=100)


def _by_rule(
    x: Array, out: Array, random: Any, buffers: Any, dtype: DType, mode: str, saturate: bool
) -> None:
    out.view(dtype.words)[...] = encode_rule(x, dtype, mode, saturate, random)


def _values_by_rule(words: Array, out: Array, random: Any, buffers: Any, dtype: DType) -> None:
    out[...] = decode_rule(words, dtype)


# Constants of the float32 word.
_SIGN = constant(float32.sign_mask)
_MAGNITUDE = constant(float32.sign_mask - 1)
_EXPONENT = constant(float32.exponent_mask)
_LOW_HALF = constant(0xFFFF)
_ONE, _SIXTEEN = constant(1), constant(16)
_JUST_UNDER_HALF = constant(0x7FFF)


def _upper_halves(word: Array, out: Array) -> None:
    """Fill ``out`` with the upper halves of 32-bit words: the last one has no word after it."""
    out[:-1] = np.ndarray(word.size - 1, np.uint32, word, offset=2)
    out[-1] = word.item(-1) >> 16


def _write_nans(x: Array, out: Array, dtype: DType) -> None:
    """Put a NaN's word, with its sign, wherever ``x`` is NaN."""
    nan = np.isnan(x)
    out.view(dtype.words)[nan] = np.where(
        np.signbit(x[nan]), dtype.sign_mask | dtype.nan_word, dtype.nan_word
    )


# float64, float32 and bfloat16.


def _float64_exact(x: Array, out: Array, random: Any, buffers: Any) -> None:
    quietly(np.copyto, out, x)  # a signalling NaN would warn


def _float32_nearest(x: Array, out: Array, random: Any, buffers: Any) -> None:
    quietly(np.copyto, out, x, casting="same_kind")
    if has_nan(x):
        _write_nans(x, out, float32)


def _bfloat16_toward_zero(x: Array, out: Array, random: Any, buffers: Any) -> None:
    """Cut float32 words in two and keep the upper halves."""
    _upper_halves(x.view(np.uint32), out)
    if has_nan(x):
        _write_nans(x, out, bfloat16)  # a payload in the lower half is lost: infinity would remain


def _bfloat16_nearest(x: Array, out: Array, random: Any, buffers: Any) -> None:
    word = x.view(np.uint32)
    rounded = np.right_shift(word, _SIXTEEN, buffers[0])
    rounded &= _ONE
    rounded += _JUST_UNDER_HALF
    rounded += word
    _upper_halves(rounded, out)
    if has_nan(x):
        _write_nans(x, out, bfloat16)


def _bfloat16_stochastic(x: Array, out: Array, random: Any, buffers: Any) -> None:
    rounded = np.right_shift(random, _SIXTEEN, buffers[0])  # as many random bits as are cut
    rounded += x.view(np.uint32)
    _upper_halves(rounded, out)
    if has_nan(x):
        _write_nans(x, out, bfloat16)


def _bfloat16_values(words: Array, out: Array, random: Any, buffers: Any) -> None:
    """Write each word two bytes late: its zero half begins the next element."""
    np.ndarray(out.size - 1, np.uint32, out, offset=2)[...] = words[:-1]
    halves = out.view(np.uint16)
    halves[0], halves[-1] = 0, words[-1]


# float16. The processor's addition rounds to nearest even, and does so at the right place if the
# other operand is an anchor (`formats.few`):
#
#     anchor = 2^(e + 13), e = max(exponent of x, -14)    float32 unit: 2^(e + 13 - 23) = 2^(e - 10)
#     |x| + anchor         its word: (e + 140 << 23) + q, q = |x| / 2^(e - 10), rounded
#     float16 word         sign | (e + 14 << 10) + q, where q brings the implied bit
#
# Multiplying by 2^16 + 2^3 moves the fields of the sum from bits 0 and 23 to 16 and 26: where those
# of a float16 are that stands in the upper half. The rest drops out at the top, or lies below. The
# exponent is 126 too large by then. An anchor with -(126 << 10) mod 2^16 in its significand takes
# that away; it is an even number, so ties stay what they are.

# A whole block of them: NumPy vectorises the maximum of two arrays, not of an array and a number.
_SMALLEST_EXPONENTS = np.full(BLOCK, bits_of(2.0**-14))
_TO_ANCHOR = constant((13 << 23) + (-(126 << 10)) % 0x10000)
_MOVE_FIELDS = constant((1 << 16) + (1 << 3))
_LARGEST, _OVERFLOW = int(bits_of(65504.0)), int(bits_of(65536.0))


def _float16_nearest(x: Array, out: Array, random: Any, buffers: Any, limit: int) -> None:
    word = np.bitwise_and(x.view(np.uint32), _MAGNITUDE, buffers[0])
    largest = word.item(word.argmax())  # words are ordered as values are, NaN after infinity
    if largest > limit:
        np.minimum(word, limit, out=word)
    anchor = np.bitwise_and(word, _EXPONENT, buffers[1])
    np.maximum(anchor, _SMALLEST_EXPONENTS[: anchor.size], out=anchor)
    anchor += _TO_ANCHOR
    magnitude = word.view(np.float32)
    magnitude += anchor.view(np.float32)
    word *= _MOVE_FIELDS
    word |= np.bitwise_and(x.view(np.uint32), _SIGN, out=anchor)
    _upper_halves(word, out.view(np.uint16))
    if largest > float32.exponent_mask:
        _write_nans(x, out, float16)


def _float16_toward_zero(x: Array, out: Array, random: Any, buffers: Any) -> None:
    short = encode_few(x, float16, "toward_zero", False)
    out[...] = encode_rule(x, float16, "toward_zero").view(np.float16) if short is None else short


# A float16 word's fields, moved to the place of a float32's, read as a value 2^112 times too small.
_SIGN_AND_FIELDS = np.array(0x8FFFE000 - (1 << 32), np.int32)
_SHIFT_TO_FLOAT32 = np.array(13, np.int32)
_BIAS_DIFFERENCE = np.array(2.0 ** (float32.bias - float16.bias), np.float32)


def _float16_values(words: Array, out: Array, random: Any, buffers: Any) -> None:
    fields, signed = out.view(np.int32), words.view(np.int16)
    fields[...] = signed  # extends the sign, so that it is still on top when shifted
    fields <<= _SHIFT_TO_FLOAT32
    fields &= _SIGN_AND_FIELDS
    out *= _BIAS_DIFFERENCE
    # Infinity and NaN are the words from 0x7c00 on, and from 0xfc00 on with their sign bit.
    unsigned = words.view(np.uint16)
    if signed.item(signed.argmax()) >= 0x7C00 or unsigned.item(unsigned.argmax()) >= 0xFC00:
        beyond = np.abs(out) >= 65536.0
        np.bitwise_or(fields, float32.exponent_mask, out=fields, where=beyond)


# Formats of 8 bits. What a float32 rounds to there depends on its upper 16 bits, and on whether the
# rest is zero. Rounding to odd (cut, and set the last bit kept if anything was cut off; Boldo &
# Melquiond, IEEE Trans. Computers 57(4), 2008) packs both into 16 bits, and a table knows those.


def _by_table(x: Array, out: Array, random: Any, buffers: Any, table: Array) -> None:
    word = x.view(np.uint32)
    odd = np.bitwise_and(word, _LOW_HALF, buffers[0])
    odd += _LOW_HALF  # carries if any low bit is set
    odd |= word
    odd >>= _SIXTEEN
    _look_up(odd, out, random, buffers, table)


def _encoding_table(dtype: DType, mode: str, saturate: bool) -> Array:
    return np.asarray(encode_rule(every_value(bfloat16), dtype, mode, saturate))


def _look_up(words: Array, out: Array, random: Any, buffers: Any, table: Array) -> None:
    table.take(words, out=out, mode="wrap")  # never out of range; "wrap" is the quickest check
