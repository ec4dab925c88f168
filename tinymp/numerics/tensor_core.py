"""What does a tensor core return? A matrix product as the hardware computes it, bit for bit.

One instruction adds k products and an accumulator c. It does not round after each addition, as a
loop would; it does this:

    align     every term to the largest exponent E among them
    cut       what lies below 2^(E - fraction bits) from every term, toward zero
    add       what is left, exactly, as integers
    cut       the sum to the precision of the result, toward zero

The exponent of a product is the sum of its factors' exponents, whatever carry the product has, and
a subnormal factor counts with the smallest exponent of its format. A longer inner dimension chains
the instructions in order: one's result is the next one's c.

cuBLAS runs this chain for most shapes. Where a small output meets a long inner dimension, it cuts
that dimension into parts of equal length (the last takes what is left), so that more of the
processor has work. Each part is a chain that starts from zero, and their results are added in
float32, in order. Into how many is cuBLAS's choice by shape, and `order.parts_of` asks a library
for it. Seen on an H200 with cuBLAS 13.1, for float16 and bfloat16 alike:

    output, k =    2560    3072    4096    8192    16384
    16² to 128²       1       2       3       6       12    parts of ⌈k / parts⌉ terms, rounded up
    256²              1       2       3       3        6    to a multiple of 64
    512²              1       1       2       2        4
    1024²             1       1       1       1
    128×10                                   32             of 256 terms; k = 1440: 15 of 96
    100×100                k = 4100: 33                     of 128 terms

Where rows do not begin at multiples of 16 bytes, instructions of 8 products may run, which are not
modelled here.

Sources: see `architectures`; checked on the CPU against recordings of an H200.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.devices import device_of
from tinymp.formats import DType, decode, dtype_of, float32, pack, unpack
from tinymp.numerics.architectures import SMALLEST_EXPONENT, DotProduct, instruction

Array = Any

#: The word that the hardware writes for every NaN.
NAN_WORD = 0x7FFFFFFF
# Exponent of what takes no part in the alignment: smaller than any, in sums of two as well.
_NONE = -10_000
# Outputs worked on at once, rows and columns. With the products of one instruction they fit into a
# processor's cache; a GPU wants more of them at a time.
_TILE = {"cpu": (32, 64), "cuda": (1024, 1024)}


def tensor_core_matmul(
    a_words: Array,
    b_words: Array,
    dtype: DType | str,
    c: Array | None = None,
    architecture: str = "hopper",
    fast_accumulation: bool = False,
    part: int | None = None,
) -> Array:
    """Product of two matrices of words, plus `c`, with the bits that tensor cores return.

    A result of zero is always +0, every NaN is the word 0x7fffffff, and overflow gives infinity,
    although everything else is cut.

    Args:
        a_words, b_words: (..., m, k) and (..., k, n) words or storage of `dtype`, NumPy or CuPy;
            stacks broadcast.
        dtype: float16, bfloat16 or float8_e4m3fn, or the name, as far as the architecture has it.
        c: float32 (..., m, n) accumulator to start from; None for zeros.
        architecture: `"hopper"`, checked against an H200; `"ampere"` and `"volta"` follow published
            parameters and are not checked.
        fast_accumulation: for float8, stay on the tensor core throughout; otherwise the sum moves
            to an ordinary float32 after every 128 products. The 2-byte formats know no difference.
        part: terms in each part of the inner dimension, where cuBLAS cuts it; None for one chain.

    Returns:
        float32 (..., m, n).

    Raises:
        TypeError: words of another type, or a format that the architecture does not multiply.
        ValueError: shapes that do not fit, an unknown architecture, a part of no terms, or a part
            beside `c`.
    """
    dtype = dtype_of(dtype)
    if part is not None:
        return _in_parts(a_words, b_words, dtype, c, architecture, fast_accumulation, part)
    core = instruction(architecture, dtype)
    a, b = decode(a_words, dtype), decode(b_words, dtype)
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(
            f"tensor_core_matmul was given shapes {a.shape} and {b.shape}; expected (..., m, k) "
            "and (..., k, n) with one inner length"
        )
    xp = device_of(a).xp
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*stack, a.shape[-2], b.shape[-1])
    out = xp.zeros(shape, np.float32) if c is None else _accumulator(xp, c, shape)
    a, b = (xp.broadcast_to(x, (*stack, *x.shape[-2:])) for x in (a, b))
    run = core.run if core.run is not None and not fast_accumulation else None
    with np.errstate(all="ignore"):
        for index in np.ndindex(stack):
            _matrix(xp, core, run, a[index], b[index], dtype, out[index])
    out.view(np.uint32)[xp.isnan(out)] = NAN_WORD
    return out


def parts(k: int, length: int) -> list[slice]:
    """An inner dimension of `k` terms in parts of `length`; the last takes what is left.

    Raises:
        ValueError: `length` below 1.
    """
    if length < 1:
        raise ValueError(f"a part has at least 1 term, but {length} was given")
    return [slice(start, min(start + length, k)) for start in range(0, max(k, 1), length)]


def _in_parts(
    a: Array, b: Array, dtype: DType, c: Array | None, architecture: str, fast: bool, length: int
) -> Array:
    if c is not None:
        raise ValueError(
            f"tensor_core_matmul was given an accumulator c and part={length}; how a product in "
            "parts starts from one was never recorded; add it afterwards"
        )
    first, *others = [
        tensor_core_matmul(a[..., part], b[..., part, :], dtype, None, architecture, fast)
        for part in parts(a.shape[-1], length)
    ]
    total = first
    with np.errstate(all="ignore"):
        for product in others:
            total = total + product
    return total


def _accumulator(xp: Any, c: Array, shape: tuple[int, ...]) -> Array:
    if c.dtype != np.float32 or c.shape != shape:
        raise ValueError(
            f"tensor_core_matmul was given an accumulator c of {c.dtype} and shape {c.shape}; "
            f"expected float32 of shape {shape}"
        )
    return xp.array(c, order="C")


def _matrix(
    xp: Any, core: DotProduct, run: int | None, a: Array, b: Array, dtype: DType, out: Array
) -> None:
    """Add the product of one pair of matrices to `out`, tile by tile."""
    # Rows of both are factors that meet: (k, m) and (k, n). Products are exact in float64.
    a, b = _widened(a.T), _widened(b)
    a_exponent, b_exponent = _exponent(xp, a, dtype), _exponent(xp, b, dtype)
    height, width = _TILE["cpu" if xp is np else "cuda"]
    for i in range(0, out.shape[0], height):
        for j in range(0, out.shape[1], width):
            rows, columns = slice(i, i + height), slice(j, j + width)
            factors = a[:, rows], a_exponent[:, rows], b[:, columns], b_exponent[:, columns]
            if run is None:
                out[rows, columns] = _chain(xp, core, factors, out[rows, columns])
                continue
            for k in range(0, len(a), run):
                part = tuple(x[k : k + run] for x in factors)
                out[rows, columns] += _chain(xp, core, part, xp.zeros_like(out[rows, columns]))


def _chain(xp: Any, core: DotProduct, factors: tuple[Array, ...], c: Array) -> Array:
    """The instructions of one tile in order, each starting from the result of the one before."""
    total = _widened(c)
    for k in range(0, len(factors[0]), core.products):
        total = _instruct(xp, core, tuple(x[k : k + core.products] for x in factors), total)
    return pack(total, float32)


def _widened(x: Array) -> Array:
    """float32 values in float64. (A GPU's own cast would flush subnormals.)"""
    return unpack(x, float32, np.float64)


def _instruct(xp: Any, core: DotProduct, factors: tuple[Array, ...], c: Array) -> Array:
    """One instruction for every output of a tile: factors (k, rows) and (k, columns), c as both."""
    a, a_exponent, b, b_exponent = factors
    products = a[:, :, None] * b[:, None, :]
    exponents = a_exponent[:, :, None] + b_exponent[:, None, :]

    largest = xp.maximum(exponents.max(axis=0), _exponent(xp, c, float32))
    largest = xp.maximum(largest, SMALLEST_EXPONENT).astype(np.int32)
    units = xp.ldexp(1.0, core.fraction_bits - largest)  # how many units make one

    products *= units
    total = xp.trunc(products, out=products).sum(axis=0)  # integers below 2^53: exact
    total += xp.trunc(c * units)
    return _cut(xp, total / units, core.precision)


def _exponent(xp: Any, x: Array, dtype: DType) -> Array:
    """Exponents of values of `dtype`, at least its smallest.

    Zeros have none. Neither have infinities and NaNs: nothing is aligned to them, and from there on
    float64's own arithmetic finds the infinities and NaNs of the result.
    """
    exponent = xp.maximum(xp.frexp(x)[1] - 1, dtype.emin)
    return xp.where((x == 0) | ~xp.isfinite(x), _NONE, exponent).astype(np.int16)


def _cut(xp: Any, x: Array, precision: int) -> Array:
    """`x` cut toward zero to a float32 of so many bits; infinity from 2^128 on, and never -0."""
    last_place = xp.frexp(x)[1] - precision
    smallest = float32.emin - float32.significand_bits
    unit = xp.ldexp(1.0, xp.maximum(last_place, smallest))
    cut = xp.trunc(x / unit) * unit
    cut = xp.where(xp.abs(cut) < 2.0**128, cut, cut * np.inf)  # keeps NaN, and infinity's sign
    return cut + 0.0
