"""What kernels know of number formats: decoding and encoding, in CUDA C++.

A format is a struct of its integers, made from the DType, and two templates read them: the rules of
`formats.rule`, for one element. Float16 and bfloat16, which every kernel meets, have shorter
spellings; tests hold all of them to the rules.
"""

from __future__ import annotations

from functools import cache
from typing import Any

_RULES = r"""
typedef unsigned char uint8;
typedef unsigned short uint16;
typedef unsigned int uint32;
typedef unsigned long long uint64;

enum Rounding { toward_zero, nearest_even, stochastic };

// A storage word as the float32 value it stands for: exact.
template <class Format> __device__ __forceinline__ float decode(typename Format::word word) {
    uint32 magnitude = word & (Format::sign_mask - 1);
    uint32 field = magnitude >> Format::significand_bits;
    uint32 implied = field ? 1u << Format::significand_bits : 0u;
    uint32 significand = (magnitude & ((1u << Format::significand_bits) - 1)) | implied;
    int exponent = (int)(field ? field : 1) - Format::bias;
    float value = ldexpf((float)significand, exponent - Format::significand_bits);
    if (magnitude > Format::max_word) value = __uint_as_float(0x7fc00000u);
    if (Format::has_infinity && magnitude == Format::infinity_word)
        value = __uint_as_float(0x7f800000u);
    return word & Format::sign_mask ? -value : value;
}

// A float32 value rounded once: add something, then cut the bits. `random` is one word of 32 random
// bits, used for stochastic rounding alone.
template <class Format, Rounding mode>
__device__ __forceinline__ typename Format::word encode(float value, uint32 random = 0) {
    uint32 bits = __float_as_uint(value), magnitude = bits & 0x7fffffffu;
    uint32 field = magnitude >> 23;
    uint64 significand = (magnitude & 0x7fffffu) | (field ? 0x800000u : 0u);
    int exponent = (int)(field ? field : 1) - 127;
    int target = exponent > Format::emin ? exponent : Format::emin;
    int cut = 23 - Format::significand_bits + (target - exponent);
    if (cut > 62) { significand >>= min(cut - 62, 62); cut = 62; }
    if (mode == nearest_even && cut > 0)
        significand += ((1ull << (cut - 1)) - 1) + ((significand >> cut) & 1);
    if (mode == stochastic && cut > 0) significand += ((uint64)random << 32) >> (64 - cut);
    uint64 result = (uint64)(target - Format::emin) << Format::significand_bits;
    result += significand >> cut;
    if (result > Format::max_word) result = mode == toward_zero ? Format::max_word : Format::beyond;
    if (magnitude == 0x7f800000u) result = Format::beyond;
    if (magnitude > 0x7f800000u) result = Format::nan_word;
    return (typename Format::word)(bits >> 31 ? result | Format::sign_mask : result);
}
"""

_FLOAT32 = r"""
struct float32 { typedef float word; };
template <> __device__ __forceinline__ float decode<float32>(float word) { return word; }
#define KEEP(mode) template <> __device__ __forceinline__ \
    float encode<float32, mode>(float value, uint32) { return value; }
KEEP(toward_zero) KEEP(nearest_even) KEEP(stochastic)
#undef KEEP
"""

_SHORTER = {
    "bfloat16": r"""
template <> __device__ __forceinline__ float decode<bfloat16>(uint16 word) {
    return __uint_as_float((uint32)word << 16);
}
template <> __device__ __forceinline__
uint16 encode<bfloat16, toward_zero>(float value, uint32) {
    uint32 bits = __float_as_uint(value);
    return value == value ? bits >> 16 : (bits >> 16 & 0x8000u) | bfloat16::nan_word;
}
template <> __device__ __forceinline__
uint16 encode<bfloat16, nearest_even>(float value, uint32) {
    uint32 bits = __float_as_uint(value);
    uint32 rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return value == value ? rounded : (bits >> 16 & 0x8000u) | bfloat16::nan_word;
}
template <> __device__ __forceinline__
uint16 encode<bfloat16, stochastic>(float value, uint32 random) {
    uint32 bits = __float_as_uint(value), word = bits + (random >> 16) >> 16;
    return value == value ? word : (bits >> 16 & 0x8000u) | bfloat16::nan_word;
}
""",
    "float16": r"""
template <> __device__ __forceinline__ float decode<float16>(uint16 word) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(word));
    return value;
}
template <> __device__ __forceinline__
uint16 encode<float16, toward_zero>(float value, uint32) {
    uint16 word;
    asm("cvt.rz.f16.f32 %0, %1;" : "=h"(word) : "f"(value));
    return value == value ? word : (__float_as_uint(value) >> 16 & 0x8000u) | float16::nan_word;
}
template <> __device__ __forceinline__
uint16 encode<float16, nearest_even>(float value, uint32) {
    uint16 word;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(word) : "f"(value));
    return value == value ? word : (__float_as_uint(value) >> 16 & 0x8000u) | float16::nan_word;
}
template <> __device__ __forceinline__
uint16 encode<float16, stochastic>(float value, uint32 random) {
    uint32 bits = __float_as_uint(value), magnitude = bits & 0x7fffffffu, field = magnitude >> 23;
    uint32 word;
    if (field >= 113) {  // normal: 13 bits are cut
        word = min((magnitude - (112u << 23) + (random >> 19)) >> 13, float16::infinity_word);
        if (value != value) word = float16::nan_word;
    } else {  // more bits; from 57 on, all that is left is below any random fraction's complement
        uint64 significand = (magnitude & 0x7fffffu) | 0x800000u;
        uint32 cut = min(126 - field, 57u);
        word = (significand + (((uint64)random << 32) >> (64 - cut))) >> cut;
    }
    return bits >> 16 & 0x8000u | word;
}
""",
}


@cache
def declarations(*formats: Any) -> str:
    """CUDA C++ that declares `decode` and `encode` for float32 and the given formats.

    `formats`: DTypes of at most 16 bits. A format is known under its name:
    `decode<bfloat16>(word)`, `encode<float16, nearest_even>(value)`.
    """
    narrow = sorted({f.name: f for f in formats if f.name != "float32"}.items())
    structs = [_struct(f) for _, f in narrow]
    shorter = [_SHORTER[name] for name, _ in narrow if name in _SHORTER]
    return "\n".join([_RULES, _FLOAT32, *structs, *shorter])


def _struct(dtype: Any) -> str:
    """The integers of a format, as `formats.rule` reads them."""
    infinity = dtype.infinity_word
    return f"""
struct {dtype.name} {{
    typedef uint{8 * dtype.itemsize} word;
    static constexpr int significand_bits = {dtype.significand_bits}, bias = {dtype.bias};
    static constexpr int emin = {dtype.emin};
    static constexpr uint32 sign_mask = {dtype.sign_mask}u, max_word = {dtype.max_word}u;
    static constexpr uint32 nan_word = {dtype.nan_word}u;
    static constexpr bool has_infinity = {str(infinity is not None).lower()};
    static constexpr uint32 infinity_word = {infinity or 0}u;
    static constexpr uint32 beyond = {dtype.nan_word if infinity is None else infinity}u;
}};"""
