"""A matrix as it is held, and the type that operations compute in."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.formats import DType, unpack

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
