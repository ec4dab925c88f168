"""Whole arrays to words of a format and back: `formats.encode` and `formats.decode`, bit for bit.

Memory: reads the values once, and writes the words once; or the other way round. Random words for
stochastic rounding are drawn on the way, or read if they are given. Four elements at a time, 16
bytes of float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.devices.kernels.operands import aligned
from tinymp.devices.kernels.philox import MOST, PARAMETERS, PHILOX, stream_arguments
from tinymp.devices.kernels.pieces import PIECES
from tinymp.devices.kernels.template import instance, once_a_device

# A block has 4096 elements: each of its 256 threads four times four of them.
_PER_BLOCK = 4096

# Encoding follows `formats.rule`: add something, then cut the bits.
ENCODED = (
    PIECES
    + r"""
// A float64 value rounded once, as `encode` does it for float32.
__device__ __forceinline__ Out::word encode_wide(double value, uint64 random) {
    const uint64 bits = __double_as_longlong(value), magnitude = bits & ~(1ull << 63);
    const int field = (int)(magnitude >> 52);
    uint64 significand = (magnitude & ((1ull << 52) - 1)) | (field ? 1ull << 52 : 0);
    const int exponent = (field ? field : 1) - 1023, target = max(exponent, Out::emin);
    int cut = 52 - Out::significand_bits + (target - exponent);
    if (cut > 62) { significand >>= min(cut - 62, 62); cut = 62; }
    if (mode == nearest_even)
        significand += ((1ull << (cut - 1)) - 1) + ((significand >> cut) & 1);
    if (mode == stochastic) significand += random >> (64 - cut);
    uint64 result = (uint64)(target - Out::emin) << Out::significand_bits;
    result += significand >> cut;
    if (result > Out::max_word) result = mode == toward_zero ? Out::max_word : Out::beyond;
    if (magnitude == 0x7ff0000000000000ull) result = Out::beyond;
    if (magnitude > 0x7ff0000000000000ull) result = Out::nan_word;
    return (Out::word)(bits >> 63 ? result | Out::sign_mask : result);
}

__device__ __forceinline__ Out::word encoded(Value value, uint64 random) {
    Out::word word;
    if constexpr (wide) word = encode_wide(value, random);
    else word = encode<Out, mode>(value, (uint32)(random >> 32));
    // Infinity and what is rounded to it (to NaN in a format without infinities).
    const bool beyond = (word & (Out::sign_mask - 1)) == Out::beyond && value == value;
    return saturate && beyond ? (word & Out::sign_mask) | Out::max_word : word;
}

"""
)

ENCODE = (
    ENCODED
    + r"""
struct alignas(16) Values { Value of[4]; };
struct alignas(4 * sizeof(Random) < 16 ? 4 * sizeof(Random) : 16) Randoms { Random of[4]; };

extern "C" __global__ void __launch_bounds__(256)
encode_words(const Value *__restrict__ values, const Random *__restrict__ random,
             Out::word *__restrict__ words, long long size) {
    // A random word is read as a fraction: its leading bits count.
    constexpr int width = 8 * sizeof(Random);
    #pragma unroll
    for (int k = 0; k < 4; ++k) {
        const long long first = ((long long)blockIdx.x * 4 + k) * 1024 + threadIdx.x * 4;
        if (first + 4 <= size) {
            const Values four = *reinterpret_cast<const Values *>(values + first);
            Randoms drawn = {};
            if (mode == stochastic) drawn = *reinterpret_cast<const Randoms *>(random + first);
            Piece<Out, 4> piece;
            #pragma unroll
            for (int i = 0; i < 4; ++i)
                piece.words[i] = encoded(four.of[i], (uint64)drawn.of[i] << (64 - width));
            *reinterpret_cast<Piece<Out, 4> *>(words + first) = piece;
        } else {
            for (long long i = first; i < size; ++i) {
                const uint64 drawn = mode == stochastic ? random[i] : 0;
                words[i] = encoded(values[i], drawn << (64 - width));
            }
        }
    }
}
"""
)

# Random words are drawn here: a thread has as many values as a block of the stream has words for.
ENCODE_DRAWN = (
    ENCODED
    + PHILOX
    + r"""
constexpr int count = 32 / sizeof(Value);  // of 8 words a float64 value takes two

struct alignas(16) Values { Value of[count]; };

extern "C" __global__ void __launch_bounds__(256)
encode_drawn(const Value *__restrict__ values, Out::word *__restrict__ words, long long size,
             """
    + PARAMETERS
    + r""") {
    const uint32 block = blockIdx.x * 256 + threadIdx.x;
    const long long first = (long long)block * count;
    if (first >= size) return;
    const bool whole = first + count <= size;
    Values own;
    if (whole) own = *reinterpret_cast<const Values *>(values + first);
    else for (int i = 0; i < count; ++i) own.of[i] = first + i < size ? values[first + i] : 0;
    uint64 quarters[4];
    philox(block, {seed, second_0, second_2, second_3}, quarters);
    Piece<Out, count> piece;
    #pragma unroll
    for (int i = 0; i < count; ++i) {
        const uint64 random = count == 4 ? quarters[i % 4] : quarters[i / 2] << (i % 2 ? 0 : 32);
        piece.words[i] = encoded(own.of[i], random);
    }
    if (whole) *reinterpret_cast<Piece<Out, count> *>(words + first) = piece;
    else for (int i = 0; i < count && first + i < size; ++i) words[first + i] = piece.words[i];
}
"""
)

DECODE = (
    PIECES
    + r"""
// Exact. A NaN becomes the quiet one with an empty payload, and keeps its sign.
__device__ __forceinline__ float decoded(In::word word) {
    const float value = decode<In>(word);
    const float nan = __uint_as_float(word & In::sign_mask ? 0xffc00000u : 0x7fc00000u);
    return value == value ? value : nan;
}

extern "C" __global__ void __launch_bounds__(256)
decode_words(const In::word *__restrict__ words, float *__restrict__ values, long long size) {
    #pragma unroll
    for (int k = 0; k < 4; ++k) {
        const long long first = ((long long)blockIdx.x * 4 + k) * 1024 + threadIdx.x * 4;
        if (first + 4 <= size) {
            const auto piece = piece_at<In, 4>(words + first);
            float4 four;
            four.x = decoded(piece.words[0]);
            four.y = decoded(piece.words[1]);
            four.z = decoded(piece.words[2]);
            four.w = decoded(piece.words[3]);
            *reinterpret_cast<float4 *>(values + first) = four;
        } else {
            for (long long i = first; i < size; ++i) values[i] = decoded(words[i]);
        }
    }
}
"""
)

_C_TYPES = {
    np.dtype(np.float32): "float",
    np.dtype(np.float64): "double",
    np.dtype(np.uint8): "uint8",
    np.dtype(np.uint16): "uint16",
    np.dtype(np.uint32): "uint32",
    np.dtype(np.uint64): "uint64",
}


@once_a_device
def _encode(
    dtype: Any, mode: str, saturate: bool, value: np.dtype[Any], random: np.dtype[Any]
) -> Any:
    # 32 random bits are as many as a float32 value uses; with more it goes the way of float64.
    wide = value == np.float64 or random.itemsize > 4
    types = f"typedef {_C_TYPES[value]} Value;\ntypedef {_C_TYPES[random]} Random;\n"
    settings = {"Out": dtype, "mode": mode, "saturate": saturate, "wide": wide}
    return instance("encode_words", types + ENCODE, **settings)


@once_a_device
def _encode_drawn(dtype: Any, saturate: bool, value: np.dtype[Any]) -> Any:
    settings = {"Out": dtype, "mode": "stochastic", "saturate": saturate}
    wide = value == np.float64
    types = f"typedef {_C_TYPES[value]} Value;\n"
    return instance("encode_drawn", types + ENCODE_DRAWN, wide=wide, **settings)


@once_a_device
def _decode(dtype: Any) -> Any:
    return instance("decode_words", DECODE, In=dtype)


def encode_words(
    values: Any,
    dtype: Any,
    mode: str,
    saturate: bool = False,
    random_words: Any = None,
    drawn: tuple[int, int] | None = None,
) -> Any:
    """The words of `formats.encode` for a CuPy array of float32 or float64 values.

    Stochastic rounding is given `random_words`, or `drawn`: the seed and the number of the draw
    that has them, one word of 32 bits for a float32 value, two for a float64 value.

    NotImplemented for a `dtype` that is not a float narrower than float32.
    """
    import cupy

    if not _narrow(dtype) or values.size == 0:
        return NotImplemented
    arrays = [cupy.ascontiguousarray(a) for a in (values, random_words) if a is not None]
    if not aligned(*arrays):
        return NotImplemented
    if drawn is not None:
        return _drawn(arrays[0], dtype, saturate, drawn)
    random_type = np.dtype(np.uint32) if random_words is None else random_words.dtype
    words = cupy.empty(values.shape, dtype.words)
    run = _encode(dtype, mode, saturate, values.dtype, random_type)
    arguments = (arrays[0], arrays[-1], words, np.int64(values.size))
    run((-(-values.size // _PER_BLOCK),), (256,), arguments)
    return words


def _drawn(values: Any, dtype: Any, saturate: bool, drawn: tuple[int, int]) -> Any:
    import cupy

    if values.size >= MOST // 2:
        return NotImplemented
    words = cupy.empty(values.shape, dtype.words)
    arguments = (values, words, np.int64(values.size), *stream_arguments(*drawn))
    run = _encode_drawn(dtype, saturate, values.dtype)
    run((-(-values.nbytes // (32 * 256)),), (256,), arguments)
    return words


def decode_words(words: Any, dtype: Any) -> Any:
    """The float32 values of `formats.decode` for a CuPy array of words.

    NotImplemented for a `dtype` that is not a float narrower than float32.
    """
    import cupy

    if not _narrow(dtype) or words.size == 0:
        return NotImplemented
    words = cupy.ascontiguousarray(words)
    if not aligned(words):
        return NotImplemented
    values = cupy.empty(words.shape, np.float32)
    arguments = (words, values, np.int64(words.size))
    _decode(dtype)((-(-words.size // _PER_BLOCK),), (256,), arguments)
    return values


def _narrow(dtype: Any) -> bool:
    return bool(dtype.kind == "float" and dtype.significand_bits < 23 and dtype.exponent_bits <= 8)
