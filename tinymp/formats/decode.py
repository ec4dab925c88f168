"""Which values do words stand for? The public ``decode``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.devices import device_of
from tinymp.formats.dtype import DTYPES, DType, dtype_of
from tinymp.formats.fast import decode_fast
from tinymp.formats.rule import Array, decode_rule


def decode(words: Any, dtype: DType | str) -> Array:
    """Return the exact values of words, as float32 (as float64 where float32 cannot hold them).

    Args:
        words: NumPy or CuPy array of ``dtype.words`` or of ``dtype.storage``, any shape and
            strides; or a Python integer or nested list of integers.
        dtype: the floating-point format that the words are of, or its name.

    Returns:
        An array of the shape of ``words`` on the same device. Words of float32 and float64 are not
        copied: the values are a view.

    Raises:
        TypeError: for words of another type, and for a ``dtype`` that is not floating-point.
    """
    dtype = dtype_of(dtype)
    if not dtype.is_float:
        raise TypeError(
            f"decode reads words of floating-point formats, and {dtype.name} is none; use one of "
            f"{', '.join(d.name for d in DTYPES if d.is_float)}"
        )
    if not hasattr(words, "dtype"):
        words = np.asarray(words, dtype=dtype.words)
    if words.dtype != dtype.words and words.dtype != dtype.storage:
        raise TypeError(
            f"words of {dtype.name} are {dtype.words}, but {words.dtype} was given; "
            "to convert values, use encode"
        )
    words = np.asarray(words) if isinstance(words, np.generic) else words
    return values_of(words, dtype)


def values_of(words: Array, dtype: DType) -> Array:
    """Return ``decode`` of an array of words or storage, without its conveniences and checks."""
    if isinstance(words, np.ndarray | np.generic):
        return decode_fast(np.asarray(words), dtype)
    values = device_of(words).kernels.decode_words(words.view(dtype.words), dtype)
    return decode_rule(words.view(dtype.words), dtype) if values is NotImplemented else values
