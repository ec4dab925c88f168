"""How are sums and matrix products accumulated? The choices, by name.

    accumulator("float16").sum(np.ones(4096, np.float32))        2048: adding 1 changes nothing
    accumulator("kahan", dtype="float16").sum(...)               4096

An accumulator is an immutable value; the same name and options give the same object.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tinymp.devices import Device, device_of
from tinymp.formats import DType, active_rounding, bfloat16, dtype_of, float16
from tinymp.formats.rounding import check_mode
from tinymp.numerics import reproducible, summation
from tinymp.numerics.architectures import instruction
from tinymp.numerics.packed import Packed
from tinymp.numerics.summation import Adder, Products, Terms
from tinymp.numerics.tensor_core import tensor_core_matmul

Array = Any


@dataclass(frozen=True, eq=False)
class Accumulator(ABC):
    """A way to accumulate, for NumPy and CuPy arrays of float32 or float64 values.

    Results have the type of the values: what the accumulator holds is converted once at the end.
    """

    name: str

    @abstractmethod
    def sum(
        self, x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
    ) -> Array:
        """Sum of `x` over an axis, several, or all (then in C order). Integers are summed exactly.

        `keepdims`: keep the summed axes, of length 1.
        """

    @abstractmethod
    def matmul(self, x: Array, y: Array) -> Array:
        """Product of (..., m, k) and (..., k, n) values; stacks broadcast."""

    def packed_matmul(self, device: Device, x: Packed, y: Packed) -> Array:
        """Product of matrices as they are stored on `device`, as values."""
        return self.matmul(x.values(), y.values())

    def functions(self, xp: Any) -> dict[str, Callable[..., Array]]:
        """Functions that serve in place of the array module's own, by name: most have none."""
        return {}


class Native(Accumulator):
    """float32, or float64 for float64 values, in whatever order the device is fastest.

    It promises the error bound γ_n, not bits. Tensor cores serve 2-byte matrices on a GPU.
    """

    def sum(
        self, x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
    ) -> Array:
        return x.sum(axis=axis, keepdims=keepdims)

    def matmul(self, x: Array, y: Array) -> Array:
        return device_of(x).matmul(x, y)

    def packed_matmul(self, device: Device, x: Packed, y: Packed) -> Array:
        if device.multiplies_words and x.dtype is y.dtype and x.dtype in (float16, bfloat16):
            return device.matmul_words(x.storage, y.storage, x.dtype)
        return device.matmul(x.values(), y.values())


class Double(Accumulator):
    """float64, in whatever order the device is fastest, rounded once to the values' type."""

    def sum(
        self, x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
    ) -> Array:
        if x.dtype.kind != "f":
            return x.sum(axis=axis, keepdims=keepdims)
        wide = x.sum(axis=axis, keepdims=keepdims, dtype=np.float64)
        return wide.astype(x.dtype, copy=False)

    def matmul(self, x: Array, y: Array) -> Array:
        wide = device_of(x).matmul(x.astype(np.float64), y.astype(np.float64))
        return wide.astype(x.dtype, copy=False)


@dataclass(frozen=True, eq=False)
class Ordered(Accumulator):
    """Terms are added in a stated order, and every partial sum is rounded to a format.

    The products of a matrix product are computed in the values' type first: that is exact for
    2-byte operands, barring over- and underflow of float32.

    Attributes:
        dtype: the format of partial sums; None for that of the values.
        rounding: the rounding mode; None for the format's default.
    """

    dtype: DType | None = None
    rounding: str | None = None

    @abstractmethod
    def fold(self, add: Adder, terms: Terms, zero: Array) -> Array:
        """The sum of the terms, in this accumulator's order."""

    def _accumulate(self, terms: Terms, shape: tuple[int, ...], like: Array) -> Array:
        dtype = self.dtype or dtype_of(like.dtype)
        add = summation.adder(dtype, self.rounding or dtype.default_rounding)
        zero = device_of(like).xp.zeros(shape, like.dtype)
        with np.errstate(all="ignore"):
            return self.fold(add, terms, zero).astype(like.dtype, copy=False)

    def sum(
        self, x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
    ) -> Array:
        if x.dtype.kind != "f":
            return x.sum(axis=axis, keepdims=keepdims)
        terms, shape = _terms(x, axis, keepdims)
        return self._accumulate(terms, terms.shape[1:], x).reshape(shape)

    def matmul(self, x: Array, y: Array) -> Array:
        stack = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        return self._accumulate(Products(x, y), (*stack, x.shape[-2], y.shape[-1]), x)


def _terms(
    x: Array, axis: int | tuple[int, ...] | None, keepdims: bool
) -> tuple[Array, tuple[int, ...]]:
    """What a sum over `axis` adds up, along the first axis in C order; and the sum's shape."""
    axes = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    summed = sorted(a % x.ndim for a in axes)
    kept = [a for a in range(x.ndim) if a not in summed]
    shape = tuple(x.shape[a] for a in kept)
    count = int(np.prod([x.shape[a] for a in summed], dtype=np.int64))
    terms = x.transpose(*summed, *kept).reshape(count, *shape) if x.ndim else x.reshape(1)
    if keepdims:
        shape = tuple(1 if a in summed else n for a, n in enumerate(x.shape))
    return terms, shape


class Sequential(Ordered):
    """One term after the other."""

    def fold(self, add: Adder, terms: Terms, zero: Array) -> Array:
        return summation.sequential(add, terms, zero)


@dataclass(frozen=True, eq=False)
class Chunked(Ordered):
    """Chunks of `size` terms are summed, then their sums."""

    size: int = 64

    def fold(self, add: Adder, terms: Terms, zero: Array) -> Array:
        return summation.chunked(add, terms, zero, self.size)


class Pairwise(Ordered):
    """Halves, each summed by halves."""

    def fold(self, add: Adder, terms: Terms, zero: Array) -> Array:
        return summation.pairwise(add, terms, zero)


class Kahan(Ordered):
    """Sequential, with what each addition lost given to the next."""

    def fold(self, add: Adder, terms: Terms, zero: Array) -> Array:
        return summation.kahan(add, terms, zero)


@dataclass(frozen=True, eq=False)
class TensorCore(Native):
    """The bits of a tensor core, for products of two matrices of one 2-byte format.

    Sums that are not products stay in float32, as on a GPU, where tensor cores do not make them.
    """

    architecture: str = "hopper"

    def matmul(self, x: Array, y: Array) -> Array:
        raise TypeError(
            "tensor cores multiply words, and matmul was given values; use packed_matmul, or "
            "tinymp.numerics.tensor_core_matmul"
        )

    def packed_matmul(self, device: Device, x: Packed, y: Packed) -> Array:
        if x.dtype is not y.dtype or x.dtype not in (float16, bfloat16):
            raise TypeError(
                f'accumulation("tensor_core") was given a product of {x.dtype.name} and '
                f"{y.dtype.name}; it applies to two tensors of one 2-byte float; cast both, for "
                "example under autocast, or choose another accumulation for this product"
            )
        return tensor_core_matmul(x.storage, y.storage, x.dtype, architecture=self.architecture)


class Reproducible(Accumulator):
    """float32 with the same bits on every device: see `reproducible`, which says how."""

    def sum(
        self, x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
    ) -> Array:
        if x.dtype.kind != "f":
            return x.sum(axis=axis, keepdims=keepdims)
        terms, shape = _terms(x, axis, keepdims)
        return reproducible.sum_by_halves(terms).reshape(shape)

    def matmul(self, x: Array, y: Array) -> Array:
        return reproducible.product_in_order(x, y)

    def packed_matmul(self, device: Device, x: Packed, y: Packed) -> Array:
        if x.dtype is y.dtype and x.dtype in (float16, bfloat16):
            return reproducible.product_in_parts(device, x, y)
        return self.matmul(x.values(), y.values())

    def functions(self, xp: Any) -> dict[str, Callable[..., Array]]:
        return reproducible.functions(xp)


#: The default.
FLOAT32 = Native("float32")

# What each name means: a class, the attributes that the name fixes or sets, and the options.
_NAMES: dict[str, tuple[type[Accumulator], dict[str, Any], tuple[str, ...]]] = {
    "float32": (Native, {}, ()),
    "float64": (Double, {}, ()),
    "float16": (Sequential, {"dtype": float16}, ("rounding",)),
    "bfloat16": (Sequential, {"dtype": bfloat16}, ("rounding",)),
    "sequential": (Sequential, {}, ("dtype", "rounding")),
    "chunked": (Chunked, {}, ("size", "dtype", "rounding")),
    "pairwise": (Pairwise, {}, ("dtype", "rounding")),
    "kahan": (Kahan, {}, ("dtype", "rounding")),
    "stochastic": (Sequential, {"dtype": float16, "rounding": "stochastic"}, ("dtype",)),
    "tensor_core": (TensorCore, {}, ("architecture",)),
    "reproducible": (Reproducible, {}, ()),
}


def accumulator(name: str, **options: Any) -> Accumulator:
    """An accumulator by name.

        "float32"       float32 in the device's own order: the default
        "float64"       float64 in the device's own order
        "float16"       one term after the other, every sum rounded to float16
        "bfloat16"      the same in bfloat16
        "sequential"    the same in any format
        "chunked"       chunks of `size` terms (64), then their sums
        "pairwise"      halves, each summed by halves
        "kahan"         sequential, each addition giving the next what it lost
        "stochastic"    sequential, rounded stochastically, to float16
        "tensor_core"   the bits of tensor cores of an `architecture` ("hopper"), for products of
                        2-byte matrices; other products are refused
        "reproducible"  the same bits on the CPU and on a Hopper GPU: tensor cores for 2-byte
                        matrices, a fixed order for everything else, and exp, log and the like
                        rounded from float64

    Args:
        options: those of the name. `dtype` is the format of partial sums; left out, it is that of
            the values: float32, or float64. `rounding` is how they are rounded to it; left out, by
            the mode that is active for the format now.

    Raises:
        ValueError: an unknown name, or a value that an option does not take.
        TypeError: an option that the accumulator does not have.
    """
    if name not in _NAMES:
        raise ValueError(f"unknown accumulator {name!r}; expected one of {', '.join(_NAMES)}")
    if name == "float32" and not options:
        return FLOAT32
    _, given, known = _NAMES[name]
    if unknown := [option for option in options if option not in known]:
        raise TypeError(
            f"accumulator {name!r} has no option {unknown[0]!r}; its options are "
            f"{', '.join(known) or 'none'}"
        )
    chosen = {**given, **options}
    if "architecture" in chosen:
        instruction(chosen["architecture"], float16)  # complains about an unknown one
    size = chosen.get("size", 1)
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"size must be a number of terms, 1 or more, but {size!r} was given")
    if chosen.get("dtype") is not None:
        dtype = chosen["dtype"] = dtype_of(chosen["dtype"])
        if not dtype.is_float:
            raise ValueError(f"sums are held in a floating-point format, and {dtype.name} is none")
        chosen.setdefault("rounding", active_rounding().mode(dtype))
    if chosen.get("rounding") is not None:
        check_mode(chosen["rounding"])
    return _accumulator(name, **chosen)


@cache
def _accumulator(name: str, **attributes: Any) -> Accumulator:
    return _NAMES[name][0](name, **attributes)
