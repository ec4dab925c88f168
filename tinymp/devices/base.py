"""The one small face that every device has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

# A NumPy or a CuPy array. CuPy's arrays answer to NumPy's names but share no base class with them,
# and CuPy carries no types, so neither can be said more precisely.
Array = Any


class Format(Protocol):
    """Anything that names a number format, such as a ``tinymp.formats.DType``."""

    @property
    def name(self) -> str:
        """The format's name, for example ``"bfloat16"``."""


class Device(ABC):
    """A place where arrays live. There is one object per place: get it with ``get_device``.

    Attributes:
        name: ``"cpu"``, or ``"cuda:0"`` and so on.
        xp: the array module of the place, ``numpy`` or ``cupy``.
    """

    name: str
    xp: Any

    def __repr__(self) -> str:
        return f"tinymp.devices.get_device({self.name!r})"

    def __str__(self) -> str:
        return self.name

    @abstractmethod
    def asarray(self, values: Any, dtype: Any = None) -> Array:
        """Return ``values`` (array, nested sequence or number) as an array here, copied if needed.

        ``dtype`` is a NumPy dtype; None keeps what ``values`` has.
        """

    @abstractmethod
    def to_numpy(self, array: Array) -> Array:
        """Return an array of this device as a NumPy array of the same dtype and shape."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all work handed to this device is done."""

    @abstractmethod
    def matmul(self, a: Array, b: Array) -> Array:
        """Product of two float32 or two float64 arrays, with NumPy's ``matmul`` shapes.

        float32 operands are multiplied and accumulated in float32, never in TF32.
        """

    @abstractmethod
    def matmul_words(self, a: Array, b: Array, dtype: Format) -> Array:
        """Product of 2-byte floats as they are stored, accumulated in float32, returned as float32.

        ``a`` and ``b`` have NumPy's ``matmul`` shapes and hold ``float16`` values, or the words of
        a 2-byte format as ``uint16``. ``dtype`` names that format: float16 or bfloat16.
        """

    @abstractmethod
    def philox_words(self, count: int, seed: int, draw: int) -> Array:
        """Return the first ``count`` uint32 words of the Philox stream ``draw`` of ``seed``."""


def widen(xp: Any, words: Array, dtype: Format) -> Array:
    """Return stored float16 or bfloat16 elements as float32, exactly."""
    if words.dtype.itemsize != 2:
        raise TypeError(
            f"expected 2-byte elements, float16 or uint16 words, but got an array of {words.dtype}"
        )
    if dtype.name == "float16":
        return words.view(xp.float16).astype(xp.float32)
    if dtype.name == "bfloat16":
        return (words.view(xp.uint16).astype(xp.uint32) << 16).view(xp.float32)
    raise TypeError(
        f"expected the 2-byte format float16 or bfloat16, but got {dtype.name}; "
        "use matmul for float32 and float64"
    )
