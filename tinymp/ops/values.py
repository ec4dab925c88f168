"""Out of the engine: a tensor's values as NumPy arrays, Python numbers and text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinymp.autograd import Tensor
from tinymp.ops.indexing import getitem


def numpy(x: Tensor) -> np.ndarray[Any, Any]:
    """A copy of the exact values on the host: float64, float32 for narrower floats, int64, bool."""
    values: np.ndarray[Any, Any] = x._device.to_numpy(x._values())
    return values.copy()


def numel(x: Tensor) -> int:
    """Number of elements."""
    return x.size


def item(x: Tensor) -> float | int | bool:
    """The only element, as a Python number.

    Raises:
        ValueError: the tensor has more or less than one element.
    """
    if x.size != 1:
        raise ValueError(
            f"item() was called on a tensor of shape {x.shape}; it needs exactly one element; "
            "use .numpy() or .tolist() for all"
        )
    value: float | int | bool = x._device.to_numpy(x._values()).item()
    return value


def tolist(x: Tensor) -> Any:
    """Exact values as nested lists of Python numbers."""
    return numpy(x).tolist()


def as_bool(x: Tensor) -> bool:
    """Truth of the only element."""
    return bool(item(x))


def as_float(x: Tensor) -> float:
    """The only element as a Python float."""
    return float(item(x))


def as_int(x: Tensor) -> int:
    """The only element, cut to a Python integer."""
    return int(item(x))


def as_index(x: Tensor) -> int:
    """The only element of an integer tensor, wherever Python wants an index.

    Raises:
        TypeError: a floating-point tensor.
    """
    if x.dtype.kind == "float":
        raise TypeError(
            f"a {x.dtype.name} tensor cannot be an index; convert it first, with int(...)"
        )
    return int(item(x))


def length(x: Tensor) -> int:
    """Length of the first dimension.

    Raises:
        TypeError: the tensor has no dimensions.
    """
    if x.ndim == 0:
        raise TypeError(
            "a tensor without dimensions has no length and cannot be iterated over; "
            "use .size for the number of elements, .item() for its value"
        )
    return x.shape[0]


def iterate(x: Tensor) -> Iterator[Tensor]:
    """The parts of `x` along its first dimension.

    Raises:
        TypeError: the tensor has no dimensions.
    """
    return (getitem(x, i) for i in range(length(x)))


def text(x: Tensor) -> str:
    """Values, dtype, device and place in the graph."""
    values = np.array2string(numpy(x), separator=", ", prefix="tensor(", threshold=100)
    marks = [values, f"dtype={x.dtype.name}"]
    if x.device != "cpu":
        marks.append(f"device={x.device!r}")
    if x.node is not None:
        marks.append(f"made by {x.node.name}")
    elif x.requires_grad:
        marks.append("requires_grad=True")
    return f"tensor({', '.join(marks)})"
