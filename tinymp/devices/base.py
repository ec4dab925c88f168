"""The one small face that every device has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np

# A NumPy or a CuPy array. CuPy's arrays answer to NumPy's names but share no base class with them,
# and CuPy carries no types, so neither can be said more precisely.
Array = Any


class Format(Protocol):
    """Anything that names a number format, such as a `tinymp.formats.DType`."""

    @property
    def name(self) -> str:
        """The format's name, for example `"bfloat16"`."""


class Device(ABC):
    """A place where arrays live. There is one object per place: get it with `get_device`.

    Attributes:
        name: `"cpu"`, or `"cuda:0"` and so on.
        xp: the array module of the place, `numpy` or `cupy`.
        multiplies_words: whether `matmul_words` is the fast way here, on tensor cores.
        kernels: what serves operations in place of their rules, `devices.kernels.serving`; None
            where the rules on `xp` are all there is.
    """

    name: str
    xp: Any
    multiplies_words = False
    kernels: Any = None

    def __repr__(self) -> str:
        return f"tinymp.devices.get_device({self.name!r})"

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        # A copy of a tensor is where the tensor is: there is one object per place.
        from tinymp.devices.lookup import get_device

        return get_device, (self.name,)

    @abstractmethod
    def asarray(self, values: Any, dtype: Any = None) -> Array:
        """Return `values` (array, nested sequence or number) as an array here, copied if needed.

        `dtype` is a NumPy dtype; None keeps what `values` has.
        """

    @abstractmethod
    def to_numpy(self, array: Array) -> Array:
        """Return an array of this device as a NumPy array of the same dtype and shape."""

    @abstractmethod
    def check_range(
        self,
        numbers: Array,
        low: int,
        high: int,
        error: type[Exception],
        complaint: str,
        allowed: int | None = None,
    ) -> None:
        """Raise an error unless low <= n < high, or n is `allowed`, for all int64 `numbers`.

        `complaint` is its message, with `{}` where the wrong number stands. A GPU is not waited
        for: there the error is raised when its results are asked for.
        """

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all work handed to this device is done."""

    @abstractmethod
    def matmul(self, a: Array, b: Array) -> Array:
        """Product of two float32 or two float64 arrays, with NumPy's `matmul` shapes.

        float32 operands are multiplied and accumulated in float32, never in TF32.
        """

    @abstractmethod
    def matmul_words(self, a: Array, b: Array, dtype: Format) -> Array:
        """Product of 2-byte floats as they are stored, accumulated in float32, returned as float32.

        `a` and `b` have NumPy's `matmul` shapes and hold `float16` values, or the words of
        a 2-byte format as `uint16`. `dtype` names that format: float16 or bfloat16.
        """

    @abstractmethod
    def philox_words(self, count: int, seed: int, draw: int) -> Array:
        """Return the first `count` uint32 words of the Philox stream `draw` of `seed`."""


def check_two_byte(words: Array, dtype: Format) -> None:
    """Raise a TypeError unless `words` can hold, and `dtype` is, float16 or bfloat16."""
    if dtype.name not in ("float16", "bfloat16"):
        raise TypeError(
            f"matmul_words: expected the format float16 or bfloat16, but got {dtype.name}; "
            "use matmul for float32 and float64"
        )
    if words.dtype not in (np.float16, np.uint16):
        raise TypeError(
            f"matmul_words: expected elements of {dtype.name} as float16 values or uint16 words, "
            f"but got an array of {words.dtype}; encode it first"
        )


def widen(words: Array, dtype: Format) -> Array:
    """Return stored float16 or bfloat16 elements (NumPy or CuPy) as float32, exactly."""
    check_two_byte(words, dtype)
    if dtype.name == "float16":
        return words.view(np.float16).astype(np.float32)
    # A bfloat16 is the upper half of a float32.
    return (words.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
