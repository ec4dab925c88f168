"""The kit a rule works with: an array module whose `sum` and `matmul` are the accumulator's."""

from __future__ import annotations

from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from tinymp.devices import Device, get_device
from tinymp.formats import DType, bfloat16, float16, unpack

Array = Any


class Packed:
    """A matrix as it is held: storage words, and the dtype that says what they mean.

    Matrix products see their operands in this form, because tensor cores do: they multiply 2-byte
    words and accumulate in float32.
    """

    __slots__ = ("dtype", "storage")

    def __init__(self, storage: Array, dtype: DType) -> None:
        self.storage = storage
        self.dtype = dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the matrix, or of the stack of matrices."""
        return tuple(self.storage.shape)

    @property
    def mT(self) -> Packed:
        """The matrix transposed (the last two axes swapped), without a copy."""
        return Packed(self.storage.swapaxes(-1, -2), self.dtype)

    def reshape(self, *shape: int) -> Packed:
        """The same words in another shape."""
        return Packed(self.storage.reshape(*shape), self.dtype)

    def values(self) -> Array:
        """Decoded values: float32, or float64 for a float64 matrix."""
        return unpack(self.storage, self.dtype, compute_type(self.dtype))


def compute_type(dtype: DType) -> np.dtype[Any]:
    """NumPy type in which operations on `dtype` compute: float32 for every narrower float."""
    return dtype.storage if dtype.kind != "float" or dtype.itemsize > 4 else np.dtype(np.float32)


@cache
def kit(device: str) -> Any:
    """The array module of `device` with these accumulations in place of its own.

    `sum(x, axis, keepdims)`
        float32 (or float64) sum in NumPy's order, of which only the error bound γ_n is promised.
    `matmul(x, y)`
        product of two `Packed` matrices (or stacks of them): float32 accumulation, float32 result
        (float64 for float64). Two matrices of the same 2-byte float go to tensor cores on a GPU.
    """
    on = get_device(device)
    xp = SimpleNamespace(**vars(on.xp))
    xp.sum = _sum
    xp.matmul = partial(_matmul, on)
    return xp


def _sum(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
    return x.sum(axis=axis, keepdims=keepdims)


def _matmul(device: Device, x: Packed, y: Packed) -> Array:
    if device.multiplies_words and x.dtype is y.dtype and x.dtype in (float16, bfloat16):
        return device.matmul_words(x.storage, y.storage, x.dtype)
    return device.matmul(x.values(), y.values())
