"""How do the rules run at the speed of memory? By special spellings for the processor's cache.

Each function here returns what the rule returns for one format, bit for bit but for the payloads of
decoded NaNs (tests hold every one to it); what has no spelling here runs by the rule. What makes
them fast:

- Work goes in blocks. One NumPy operation over a long array reads and writes main memory; over a
  block it reads and writes the cache. An array is walked through in the order of its memory, so a
  transposed one is neither copied first nor slower.
- Every operation is a pass over the block, so the fewest and narrowest passes win. Buffers are
  used again, by in-place operators and by every block: a fresh one has to be mapped into memory.
  Constants are arrays without axes: NumPy starts an operation with them in 0.3 µs, with a Python
  integer in 0.6.
- A small array is one block, where calls are what costs. A long one is shared out among threads.
- ``argmax`` is the cheapest question to a block. It needs no buffer, never warns, and takes NaN for
  larger than everything.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from math import isnan
from typing import Any

import numpy as np

from tinymp.devices.threads import share
from tinymp.formats.dtype import DType, bfloat16, float16, float32, float64
from tinymp.formats.quiet import quietly
from tinymp.formats.rule import decode_rule, encode_rule, value_type

Array = np.ndarray[Any, Any]
# Given a block of values, of random words (None unless stochastic), and two buffers of uint32 for
# what lies between (or twice None, for fresh ones), fill the block of words.
BlockEncoder = Callable[[Array, Any, Array, Any], None]
# Given a block of words, fill the block of values.
BlockDecoder = Callable[[Array, Array], None]

BLOCK = 1 << 15  # of values, of words and the buffers take 450 KiB: a second-level cache
RULE_BLOCK = 1 << 13  # the rule has more buffers, of 8 bytes an element


def encode_fast(
    values: Array,
    dtype: DType,
    mode: str,
    saturate: bool = False,
    random_words: Array | None = None,
) -> Array:
    """Return ``encode_rule`` of a NumPy array, as storage, by the fastest spelling there is."""
    random_type = None if random_words is None else random_words.dtype
    encode_block = _block_encoder(values.dtype, dtype, mode, saturate, random_type)
    # Random words come in the order of indices.
    order: Any = _order_of_memory(values) if random_words is None else "C"
    storage = np.empty_like(values, dtype.storage, order)
    x, out = values.ravel(order), storage.ravel(order).view(dtype.words)
    random = None if random_words is None else random_words.ravel()
    if 0 < x.size <= BLOCK:
        encode_block(x, random, out, (None, None))
        return storage

    def encode_part(begin: int, end: int) -> None:
        buffers = np.empty((2, BLOCK), np.uint32)
        for start in range(begin, end, BLOCK):
            block = slice(start, min(start + BLOCK, end))
            part = None if random is None else random[block]
            encode_block(x[block], part, out[block], buffers[:, : end - start])

    share(encode_part, x.size, BLOCK)
    return storage


def decode_fast(words: Array, dtype: DType) -> Array:
    """Return ``decode_rule`` of a NumPy array of words or storage, by the fastest spelling."""
    wanted, order = value_type(dtype), _order_of_memory(words)
    if dtype.storage == wanted:
        return words.view(wanted)
    decode_block = _block_decoder(dtype)
    values = np.empty_like(words, wanted, order)
    word, out = words.ravel(order), values.ravel(order)
    if 0 < word.size <= BLOCK:
        decode_block(word, out)
        return values

    def decode_part(begin: int, end: int) -> None:
        for start in range(begin, end, BLOCK):
            block = slice(start, min(start + BLOCK, end))
            decode_block(word[block], out[block])

    share(decode_part, word.size, BLOCK)
    return values


def _order_of_memory(array: Array) -> Any:
    """The order in which a new array like this one lies, too: not where elements are repeated."""
    return "C" if 0 in array.strides else "K"


@cache
def _block_encoder(
    source: np.dtype[Any],
    dtype: DType,
    mode: str,
    saturate: bool,
    random_type: np.dtype[Any] | None,
) -> BlockEncoder:
    if dtype is float64:
        return _float64_exact
    if source == np.float64 and dtype is float32 and mode == "nearest_even" and not saturate:
        return _float32_nearest
    if source == np.float32 and dtype is bfloat16 and not saturate:
        if mode == "toward_zero":
            return _bfloat16_toward_zero
        if mode == "nearest_even":
            return _bfloat16_nearest
        if mode == "stochastic" and random_type == np.uint32:
            return _bfloat16_stochastic
    if source == np.float32 and dtype is float16 and mode == "nearest_even":
        return partial(_float16_anchored, limit=_LARGEST) if saturate else _float16_nearest
    if source == np.float32 and dtype.bits <= 8 and mode != "stochastic":
        return partial(_by_table, table=_encoding_table(dtype, mode, saturate))
    return partial(_by_rule, dtype=dtype, mode=mode, saturate=saturate)


@cache
def _block_decoder(dtype: DType) -> BlockDecoder:
    if dtype is bfloat16:
        return _bfloat16_values
    if dtype is float16:
        return partial(_float16_values, table=decode_rule(_all_words(dtype), dtype))
    if dtype.bits <= 16:
        return partial(_look_up, table=decode_rule(_all_words(dtype), dtype))
    return lambda words, out: np.copyto(out, decode_rule(words, dtype))


def _by_rule(
    x: Array, random: Any, out: Array, buffers: Any, dtype: DType, mode: str, saturate: bool
) -> None:
    for start in range(0, x.size, RULE_BLOCK):
        part = slice(start, start + RULE_BLOCK)
        out[part] = encode_rule(
            x[part], dtype, mode, saturate, None if random is None else random[part]
        )


# Constants of the float32 word.
def _word(value: int) -> Array:
    return np.array(value, np.uint32)


def _bits_of(value: float) -> Array:
    return np.array(value, np.float32).view(np.uint32)


_SIGN = _word(float32.sign_mask)
_MAGNITUDE = _word(float32.sign_mask - 1)
_EXPONENT = _word(float32.exponent_mask)
_LOW_HALF = _word(0xFFFF)
_ONE, _SIXTEEN = _word(1), _word(16)
_JUST_UNDER_HALF = _word(0x7FFF)


def _has_nan(x: Array) -> bool:
    return isnan(x.item(x.argmax()))


def _write_nans(x: Array, out: Array, dtype: DType) -> None:
    """Put a NaN's word, with its sign, wherever ``x`` is NaN."""
    nan = np.isnan(x)
    out[nan] = np.where(np.signbit(x[nan]), dtype.sign_mask | dtype.nan_word, dtype.nan_word)


# float64, float32 and bfloat16.


def _float64_exact(x: Array, random: Any, out: Array, buffers: Any) -> None:
    quietly(np.copyto, out.view(np.float64), x)  # a signalling NaN would warn


def _float32_nearest(x: Array, random: Any, out: Array, buffers: Any) -> None:
    quietly(np.copyto, out.view(np.float32), x, casting="same_kind")
    if _has_nan(x):
        _write_nans(x, out, float32)


def _bfloat16_toward_zero(x: Array, random: Any, out: Array, buffers: Any) -> None:
    """Cut float32 words in two and keep the upper halves."""
    out[...] = np.right_shift(x.view(np.uint32), _SIXTEEN, buffers[0])
    if _has_nan(x):
        _write_nans(x, out, bfloat16)  # a payload in the lower half is lost: infinity would remain


def _bfloat16_nearest(x: Array, random: Any, out: Array, buffers: Any) -> None:
    word = x.view(np.uint32)
    rounded = np.right_shift(word, _SIXTEEN, buffers[0])
    rounded &= _ONE
    rounded += _JUST_UNDER_HALF
    rounded += word
    rounded >>= _SIXTEEN
    out[...] = rounded
    if _has_nan(x):
        _write_nans(x, out, bfloat16)


def _bfloat16_stochastic(x: Array, random: Any, out: Array, buffers: Any) -> None:
    rounded = np.right_shift(random, _SIXTEEN, buffers[0])  # as many random bits as are cut
    rounded += x.view(np.uint32)
    rounded >>= _SIXTEEN
    out[...] = rounded
    if _has_nan(x):
        _write_nans(x, out, bfloat16)


def _bfloat16_values(words: Array, out: Array) -> None:
    word = out.view(np.uint32)
    word[...] = words
    word <<= _SIXTEEN


# float16. NumPy's own cast takes 2.5 ns an element, but 70 to 150 ns for one that underflows, as
# small gradients do (it raises the processor's flag for each): it serves for small arrays alone.
#
# The processor's addition rounds to nearest even; it does so at the right place if the other
# operand is an anchor so large that its unit in the last place is that of the result:
#
#     anchor = 2^(e + 13), e = max(exponent of x, -14)    float32 unit: 2^(e + 13 - 23) = 2^(e - 10)
#     |x| + anchor         low bits of its word: q = |x| / 2^(e - 10), rounded, implied bit included
#     float16 word         sign | (e + 14 << 10) + q
#
# Shifted right by 13, the anchor's exponent field becomes (e + 13 + 127) << 10: 126 << 10 too much.
# An anchor with -(126 << 10) mod 2^16 in its significand takes that away. It is an even number, so
# ties stay what they are; and only the low 16 bits of the sum are kept.

# A whole block of them: NumPy vectorises the maximum of two arrays, not of an array and a number.
_SMALLEST_EXPONENTS = np.full(BLOCK, _bits_of(2.0**-14))
_TO_ANCHOR = _word((13 << 23) + (-(126 << 10)) % 0x10000)
_THIRTEEN = _word(13)
_LARGEST, _OVERFLOW = int(_bits_of(65504.0)), int(_bits_of(65536.0))
_SMALL = 256  # elements up to which NumPy's cast, a single operation, is the faster one


def _float16_nearest(x: Array, random: Any, out: Array, buffers: Any) -> None:
    if x.size > _SMALL:
        _float16_anchored(x, random, out, buffers, _OVERFLOW)
        return
    quietly(np.copyto, out.view(np.float16), x, casting="same_kind")
    if _has_nan(x):
        _write_nans(x, out, float16)


def _float16_anchored(x: Array, random: Any, out: Array, buffers: Any, limit: int) -> None:
    word = np.bitwise_and(x.view(np.uint32), _MAGNITUDE, buffers[0])
    largest = word.item(word.argmax())  # words are ordered as values are, NaN after infinity
    if largest > limit:
        np.minimum(word, limit, out=word)
    anchor = np.bitwise_and(word, _EXPONENT, buffers[1])
    np.maximum(anchor, _SMALLEST_EXPONENTS[: anchor.size], out=anchor)
    anchor += _TO_ANCHOR
    magnitude = word.view(np.float32)
    magnitude += anchor.view(np.float32)
    anchor >>= _THIRTEEN
    anchor += word
    sign = np.bitwise_and(x.view(np.uint32), _SIGN, out=word)
    sign >>= _SIXTEEN
    anchor |= sign
    out[...] = anchor
    if largest > float32.exponent_mask:
        _write_nans(x, out, float16)


# A float16 word's fields, moved to the place of a float32's, read as a value 2^112 times too small.
_SIGN_AND_FIELDS = np.array(0x8FFFE000 - (1 << 32), np.int32)
_FEW = 4096  # elements up to which a table, too large for the nearest cache, is the faster way
_SHIFT_TO_FLOAT32 = np.array(13, np.int32)
_BIAS_DIFFERENCE = np.array(2.0 ** (float32.bias - float16.bias), np.float32)


def _float16_values(words: Array, out: Array, table: Array) -> None:
    if words.size <= _FEW:
        _look_up(words.view(np.uint16), out, table)
        return
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


def _by_table(x: Array, random: Any, out: Array, buffers: Any, table: Array) -> None:
    word = x.view(np.uint32)
    odd = np.bitwise_and(word, _LOW_HALF, buffers[0])
    odd += _LOW_HALF  # carries if any low bit is set
    odd |= word
    odd >>= _SIXTEEN
    _look_up(odd, out, table)


def _encoding_table(dtype: DType, mode: str, saturate: bool) -> Array:
    values = decode_rule(_all_words(bfloat16), bfloat16)
    return np.asarray(encode_rule(values, dtype, mode, saturate))


def _look_up(words: Array, out: Array, table: Array) -> None:
    table.take(words, out=out, mode="wrap")  # never out of range; "wrap" is the quickest check


def _all_words(dtype: DType) -> Array:
    return np.arange(1 << dtype.bits).astype(dtype.words)
