"""How are sums and matrix products accumulated? In float32, in float64, or as tensor cores do.

An accumulator is an immutable value. Those that add in a stated order are in `ordered`; names and
options of all of them in `named`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from operator import add
from typing import Any

import numpy as np

from tinymp.devices import Device, device_of
from tinymp.formats import DType, float64
from tinymp.numerics import reproducible, summation
from tinymp.numerics.packed import Packed, is_two_byte_pair, values_of
from tinymp.numerics.reductions import sum_along
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

    def packed_matmul(self, device: Device, x: Packed | Array, y: Packed | Array) -> Array:
        """Product of matrices on `device`, packed or values, as values."""
        return self.matmul(values_of(x), values_of(y))

    def multiplies_words(self, device: Device) -> bool:
        """Whether words as they are held, rather than values, make a product on `device`."""
        return False

    def cumsum(self, x: Array, axis: int) -> Array:
        """Sums of the values so far along `axis`: each is rounded as this accumulator rounds."""
        return x.cumsum(axis=axis)

    def segment_sums(self, x: Array, first: Array) -> Array:
        """Sums of runs of rows of `x`, all of them; run i begins at row `first[i]`, the first at 0.

        Runs of one length are summed together.
        """
        xp = device_of(x).xp
        lengths = xp.concatenate([first[1:], xp.asarray([len(x)])]) - first
        sums = xp.empty((len(first), *x.shape[1:]), x.dtype)
        for length in np.unique(device_of(x).to_numpy(lengths)).tolist():
            which = lengths == length
            rows = first[which] + xp.arange(length)[:, None]
            sums[which] = self.sum(x[rows], 0)
        return sums

    def held_in(self, compute: DType) -> DType:
        """The format of partial sums of values of `compute`, float32 or float64."""
        return compute

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
        if type(x) is np.ndarray:
            return sum_along(x, axis, keepdims)
        return x.sum(axis=axis, keepdims=keepdims)

    def segment_sums(self, x: Array, first: Array) -> Array:
        return device_of(x).xp.add.reduceat(x, first, axis=0)

    def matmul(self, x: Array, y: Array) -> Array:
        return device_of(x).matmul(x, y)

    def packed_matmul(self, device: Device, x: Packed | Array, y: Packed | Array) -> Array:
        if device.multiplies_words and is_two_byte_pair(x, y):
            return device.matmul_words(x.storage, y.storage, x.dtype)
        return device.matmul(values_of(x), values_of(y))

    def multiplies_words(self, device: Device) -> bool:
        return device.multiplies_words


class Double(Accumulator):
    """float64, in whatever order the device is fastest, rounded once to the values' type."""

    def sum(
        self, x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
    ) -> Array:
        if x.dtype.kind != "f":
            return x.sum(axis=axis, keepdims=keepdims)
        wide = x.sum(axis=axis, keepdims=keepdims, dtype=np.float64)
        return wide.astype(x.dtype, copy=False)

    def cumsum(self, x: Array, axis: int) -> Array:
        if x.dtype.kind != "f":
            return x.cumsum(axis=axis)
        return x.cumsum(axis=axis, dtype=np.float64).astype(x.dtype, copy=False)

    def held_in(self, compute: DType) -> DType:
        return float64

    def matmul(self, x: Array, y: Array) -> Array:
        wide = device_of(x).matmul(x.astype(np.float64), y.astype(np.float64))
        return wide.astype(x.dtype, copy=False)


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

    def packed_matmul(self, device: Device, x: Packed | Array, y: Packed | Array) -> Array:
        if not is_two_byte_pair(x, y):
            raise TypeError(
                f'accumulation("tensor_core") was given a product of {x.dtype.name} and '
                f"{y.dtype.name}; it applies to two tensors of one 2-byte float; cast both, for "
                "example under autocast, or choose another accumulation for this product"
            )
        return tensor_core_matmul(x.storage, y.storage, x.dtype, architecture=self.architecture)

    def multiplies_words(self, device: Device) -> bool:
        return True


class Reproducible(Accumulator):
    """float32 with the same bits on every device: see `reproducible`, which says how."""

    def sum(
        self, x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
    ) -> Array:
        if x.dtype.kind != "f":
            return x.sum(axis=axis, keepdims=keepdims)
        terms, shape = summation.terms_along(x, axis, keepdims)
        return reproducible.sum_by_halves(terms).reshape(shape)

    def cumsum(self, x: Array, axis: int) -> Array:
        return summation.running(add, x, axis) if x.dtype.kind == "f" else x.cumsum(axis=axis)

    def matmul(self, x: Array, y: Array) -> Array:
        return reproducible.product_in_order(x, y)

    def packed_matmul(self, device: Device, x: Packed | Array, y: Packed | Array) -> Array:
        if is_two_byte_pair(x, y):
            return reproducible.product_in_parts(device, x, y)
        return self.matmul(values_of(x), values_of(y))

    def multiplies_words(self, device: Device) -> bool:
        return True

    def functions(self, xp: Any) -> dict[str, Callable[..., Array]]:
        return reproducible.functions(xp)


#: The default.
FLOAT32 = Native("float32")
