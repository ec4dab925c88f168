"""How do two devices compute the same bits? By operations whose result leaves nothing to choose.

IEEE 754 leaves nothing to choose in + − × ÷ √ of float32. Two things are left to the library: in
which order a sum is added up, and how an elementary function is approximated. Here

    sums        are added by halves: of eight terms (x0 + x4) + (x2 + x6) and so on
    products    of 2-byte matrices are made by tensor cores, PART terms at a time, and the parts
                added in order; those of other matrices are added one term after the other
    functions   are computed in float64 and rounded to float32

The float64 functions of two libraries differ in the last bit or two. The float32 that they are
rounded to is the same, unless the middle of two float32 numbers lies between them: about once in
2^28 values. Left to the library are float64 operations, the product of many factors (`prod`), norms
of other orders than 1, 2 and infinity, and on a GPU the float32 subnormals, which CuPy flushes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from tinymp.devices import Device, device_of
from tinymp.formats import dtype_of, float32, pack, unpack
from tinymp.numerics.packed import Packed
from tinymp.numerics.summation import Products, adder, sequential
from tinymp.numerics.tensor_core import parts, tensor_core_matmul

Array = Any

#: Terms that tensor cores add up in one go. cuBLAS was never seen to cut so short a product into
#: parts of its own where all lengths are multiples of TILE (`tensor_core` has a table).
PART, TILE = 1024, 64

_FUNCTIONS = (
    "exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "arcsin", "arccos",
    "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh", "power", "hypot",
)  # fmt: skip


def sum_by_halves(x: Array) -> Array:
    """Sum over the first axis: the second half is added to the first, until one term is left.

    The last of an odd number waits for the next round. A term passes ⌈log2 n⌉ roundings.
    """
    xp = device_of(x).xp
    if len(x) == 0:
        return xp.zeros(x.shape[1:], x.dtype)
    while len(x) > 1:
        half = len(x) // 2
        pairs = x[:half] + x[half : 2 * half]
        x = xp.concatenate([pairs, x[2 * half :]]) if len(x) % 2 else pairs
    return x[0]


def product_in_order(x: Array, y: Array) -> Array:
    """Product of (..., m, k) and (..., k, n) values, each element one term after the other."""
    stack = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    zero = device_of(x).xp.zeros((*stack, x.shape[-2], y.shape[-1]), x.dtype)
    return sequential(adder(dtype_of(x.dtype), "nearest_even"), Products(x, y), zero)


def product_in_parts(device: Device, x: Packed, y: Packed) -> Array:
    """Product of matrices of one 2-byte format, PART terms at a time, as float32.

    On the CPU a part has the bits of Hopper's tensor cores; a GPU makes it on its own.
    """
    if not device.multiplies_words:
        return tensor_core_matmul(x.storage, y.storage, x.dtype, part=PART)
    xp, stack = device.xp, np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    a = xp.broadcast_to(x.storage, (*stack, *x.shape[-2:]))
    b = xp.broadcast_to(y.storage, (*stack, *y.shape[-2:]))
    out = xp.zeros((*stack, x.shape[-2], y.shape[-1]), np.float32)
    for index in np.ndindex(stack):
        for part in parts(x.shape[-1], PART):
            left, right = (_padded(xp, m) for m in (a[index][:, part], b[index][part]))
            product = device.matmul_words(left, right, x.dtype)
            out[index] += product[: out.shape[-2], : out.shape[-1]]
    return out


def _padded(xp: Any, words: Array) -> Array:
    """A matrix with zeros up to multiples of TILE, which change nothing in a sum of products."""
    padded = xp.zeros([-(-length // TILE) * TILE for length in words.shape], words.dtype)
    padded[: words.shape[0], : words.shape[1]] = words
    return padded


def functions(xp: Any) -> dict[str, Callable[..., Array]]:
    """The elementary functions of an array module; of float32 rounded from float64."""
    return {name: _by_float64(getattr(xp, name)) for name in _FUNCTIONS}


def _by_float64(function: Callable[..., Array]) -> Callable[..., Array]:
    @wraps(function)
    def rounded(*arguments: Any, out: Array = None) -> Array:
        if any(getattr(x, "dtype", np.float32) != np.float32 for x in arguments):
            return function(*arguments) if out is None else function(*arguments, out=out)
        # pack and unpack keep subnormal numbers, which a GPU's own casts flush to zero. They take
        # arrays; NumPy makes scalars of results without axes.
        arrays = [np.asarray(x) if isinstance(x, np.generic) else x for x in arguments]
        wide = [unpack(x, float32, np.float64) if hasattr(x, "dtype") else x for x in arrays]
        result = function(*wide)
        result = pack(np.asarray(result) if isinstance(result, np.generic) else result, float32)
        if out is None:
            return result
        out[...] = result
        return out

    return rounded
