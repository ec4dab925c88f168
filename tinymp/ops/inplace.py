"""Changes in place, for tensors outside the graph: parameters, buffers and gradients."""

from __future__ import annotations

from typing import Any

from tinymp.autograd import Tensor
from tinymp.ops.conversion import to
from tinymp.ops.creation import tensor
from tinymp.ops.elementwise import clamp
from tinymp.ops.indexing import as_index


def setitem(x: Tensor, index: Any, source: Any) -> None:
    """`x[index] = source`: overwrite elements with values, rounded to the dtype of `x`.

    Whatever was saved for backward from this storage is out of date then, and backward says so.

    Raises:
        RuntimeError: `x` requires a gradient and grad mode is on.
        ValueError: a shape that does not broadcast to that of `x[index]`.
    """
    if isinstance(source, Tensor):
        values = to(source.detach(), x.dtype, x.device)
    else:
        values = tensor(source, x.dtype, x.device)
    parts = index if isinstance(index, tuple) else (index,)
    x._write(tuple(as_index(part, x) for part in parts), values)


def copy_(x: Tensor, source: Any) -> Tensor:
    """Overwrite `x` with the values of `source` (a tensor, an array or a number); see `setitem`."""
    setitem(x, ..., source)
    return x


def fill_(x: Tensor, value: float) -> Tensor:
    """Overwrite every element of `x` with `value`; see `setitem`."""
    return copy_(x, value)


def zero_(x: Tensor) -> Tensor:
    """Overwrite every element of `x` with 0."""
    return copy_(x, 0)


def add_(x: Tensor, other: Tensor | float, alpha: float = 1) -> Tensor:
    """x ← x + alpha·other, in the dtype of `x`; see `setitem`."""
    return copy_(x, x.detach() + other * alpha)


def sub_(x: Tensor, other: Tensor | float, alpha: float = 1) -> Tensor:
    """x ← x - alpha·other, in the dtype of `x`; see `setitem`."""
    return copy_(x, x.detach() - other * alpha)


def div_(x: Tensor, other: Tensor | float) -> Tensor:
    """x ← x / other, in the dtype of `x`; see `setitem`."""
    return copy_(x, x.detach() / other)


def clamp_(x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """x ← x cut to [min, max]; see `setitem`."""
    return copy_(x, clamp(x.detach(), min, max))


def mul_(x: Tensor, other: Tensor | float) -> Tensor:
    """x ← x·other, in the dtype of `x`; see `setitem`."""
    return copy_(x, x.detach() * other)
