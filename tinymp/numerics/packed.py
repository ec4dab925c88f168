"""A matrix as it is held, and the type that operations compute in."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from tinymp.formats import DType, bfloat16, float16, unpack

Array = Any


class Packed:
    """A matrix as it is held: storage words, and the dtype that says what they mean.

    Matrix products see their operands in this form, because tensor cores do: they multiply 2-byte
    words and accumulate in float32. Values are decoded once, however often they are asked for,
    transposed or in another shape; they live as long as this object, which is one operation.
    """

    __slots__ = ("_origin", "_values", "dtype", "storage")

    def __init__(self, storage: Array, dtype: DType) -> None:
        self.storage = storage
        self.dtype = dtype
        self._values: Array = None
        # What this one is a view of, and how to look at it: its values are then seen so, too.
        self._origin: tuple[Packed, Callable[[Array], Array]] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the matrix, or of the stack of matrices."""
        return tuple(self.storage.shape)

    @property
    def mT(self) -> Packed:
        """The matrix transposed (the last two axes swapped), without a copy."""
        return self.seen(_transposed)

    def reshape(self, *shape: int) -> Packed:
        """The same words in another shape."""
        return self.seen(lambda array: array.reshape(shape))

    def __getitem__(self, rows: slice) -> Packed:
        """Some of the first axis, decoded by itself."""
        return Packed(self.storage[rows], self.dtype)

    def values(self) -> Array:
        """Decoded values: float32, or float64 for a float64 matrix."""
        if self._values is None:
            if self._origin is None:
                self._values = unpack(self.storage, self.dtype, compute_type(self.dtype))
            else:
                origin, view = self._origin
                self._values = view(origin.values())
        return self._values

    def seen(self, view: Callable[[Array], Array]) -> Packed:
        """The words as `view` shows them: a function of an array that only moves its elements."""
        seen = Packed(view(self.storage), self.dtype)
        if self.dtype.itemsize < 4:  # else the storage is the values
            seen._origin = self, view
        return seen


def values_of(x: Packed | Array) -> Array:
    """The values of a matrix as products take it: decoded, or what it is."""
    return x.values() if type(x) is Packed else x


def is_two_byte_pair(x: Packed | Array, y: Packed | Array) -> bool:
    """Whether both matrices are packed in one 2-byte float, as tensor cores multiply them."""
    return (
        type(x) is Packed
        and type(y) is Packed
        and x.dtype is y.dtype
        and x.dtype in (float16, bfloat16)
    )


def _transposed(array: Array) -> Array:
    return array.swapaxes(-1, -2)


@cache
def compute_type(dtype: DType) -> np.dtype[Any]:
    """NumPy type in which operations on `dtype` compute: float32 for every narrower float."""
    return dtype.storage if dtype.kind != "float" or dtype.itemsize > 4 else np.dtype(np.float32)
