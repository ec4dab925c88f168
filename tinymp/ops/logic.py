"""Truth: tests of elements, and logic on the answers."""

from __future__ import annotations

import numpy as np

from tinymp.autograd import Op, Tensor, apply
from tinymp.autograd.modes import not_for_capture
from tinymp.formats import int64
from tinymp.ops.arithmetic import Operand
from tinymp.ops.dims import check_tensors
from tinymp.ops.values import numpy

ISNAN = Op("isnan", lambda xp, x: xp.isnan(x), result="bool")
ISINF = Op("isinf", lambda xp, x: xp.isinf(x), result="bool")
ISFINITE = Op("isfinite", lambda xp, x: xp.isfinite(x), result="bool")

LOGICAL_AND = Op("logical_and", lambda xp, x, y: xp.logical_and(x, y), result="bool")
LOGICAL_OR = Op("logical_or", lambda xp, x, y: xp.logical_or(x, y), result="bool")
LOGICAL_XOR = Op("logical_xor", lambda xp, x, y: xp.logical_xor(x, y), result="bool")
LOGICAL_NOT = Op("logical_not", lambda xp, x: xp.logical_not(x), result="bool")

BITWISE_AND = Op("bitwise_and", lambda xp, x, y: x & y)
BITWISE_OR = Op("bitwise_or", lambda xp, x, y: x | y)
BITWISE_XOR = Op("bitwise_xor", lambda xp, x, y: x ^ y)
BITWISE_NOT = Op("bitwise_not", lambda xp, x: ~x)


def isnan(x: Tensor) -> Tensor:
    """Where x is not a number, a bool tensor."""
    return apply(ISNAN, x)


def isinf(x: Tensor) -> Tensor:
    """Where x is +inf or -inf, a bool tensor."""
    return apply(ISINF, x)


def isfinite(x: Tensor) -> Tensor:
    """Where x is neither infinite nor NaN, a bool tensor."""
    return apply(ISFINITE, x)


def equal(x: Tensor, y: Tensor) -> bool:
    """Whether both have the same shape and, as numbers, the same elements; NaN equals nothing."""
    check_tensors("equal", x, y)
    return np.array_equal(numpy(x), numpy(y))


def allclose(
    x: Tensor, y: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether |x - y| ≤ atol + rtol·|y| everywhere, of the exact values, in float64.

    Raises:
        ValueError: shapes that do not broadcast.
    """
    check_tensors("allclose", x, y)
    if any(n != m and 1 not in (n, m) for n, m in zip(x.shape[::-1], y.shape[::-1], strict=False)):
        raise ValueError(
            f"allclose was given shapes {x.shape} and {y.shape}; lengths must be equal or 1, "
            "counted from the last dimension"
        )
    a, b = numpy(x).astype(np.float64), numpy(y).astype(np.float64)
    with np.errstate(all="ignore"):
        near = np.isfinite(b) & (np.abs(a - b) <= atol + rtol * np.abs(b))
    both = np.isnan(a) & np.isnan(b) & equal_nan
    return bool(((a == b) | near | both).all())


def one_hot(labels: Tensor, num_classes: int = -1) -> Tensor:
    """1 at the place of each label in a new last dimension, int64; by default just long enough.

    Raises:
        TypeError: labels that are not int64.
        ValueError: a label outside 0 ... num_classes - 1.
    """
    check_tensors("one_hot", labels)
    if labels.dtype.kind != "int":
        raise TypeError(f"one_hot was given {labels.dtype.name} labels; they must be int64")
    not_for_capture("made labels one-hot")
    numbers = labels._array
    most = int(numbers.max()) + 1 if numbers.size else 0
    classes = most if num_classes == -1 else num_classes
    if most > classes or (numbers.size and int(numbers.min()) < 0) or classes < 1:
        raise ValueError(
            f"one_hot was given labels from {int(numbers.min()) if numbers.size else 'none'} to "
            f"{most - 1} for num_classes={num_classes}; they must be at least 0 and below it"
        )
    return Tensor((numbers[..., None] == labels._device.xp.arange(classes)).astype(np.int64), int64)


def logical_and(x: Operand, y: Operand) -> Tensor:
    """Where x and y are both not 0, a bool tensor; NaN is not 0."""
    return apply(LOGICAL_AND, x, y)


def logical_or(x: Operand, y: Operand) -> Tensor:
    """Where x or y is not 0, a bool tensor."""
    return apply(LOGICAL_OR, x, y)


def logical_xor(x: Operand, y: Operand) -> Tensor:
    """Where exactly one of x and y is not 0, a bool tensor."""
    return apply(LOGICAL_XOR, x, y)


def logical_not(x: Tensor) -> Tensor:
    """Where x is 0, a bool tensor."""
    return apply(LOGICAL_NOT, x)


def bitwise_and(x: Operand, y: Operand) -> Tensor:
    """x & y, bit by bit: of booleans, where both are true.

    Raises:
        TypeError: a floating-point operand.
    """
    _check_bits("bitwise_and", x, y)
    return apply(BITWISE_AND, x, y)


def bitwise_or(x: Operand, y: Operand) -> Tensor:
    """x | y, bit by bit: of booleans, where either is true.

    Raises:
        TypeError: a floating-point operand.
    """
    _check_bits("bitwise_or", x, y)
    return apply(BITWISE_OR, x, y)


def bitwise_xor(x: Operand, y: Operand) -> Tensor:
    """x ^ y, bit by bit: of booleans, where exactly one is true.

    Raises:
        TypeError: a floating-point operand.
    """
    _check_bits("bitwise_xor", x, y)
    return apply(BITWISE_XOR, x, y)


def bitwise_not(x: Tensor) -> Tensor:
    """~x, every bit flipped: of booleans, where x is false.

    Raises:
        TypeError: a floating-point operand.
    """
    _check_bits("bitwise_not", x)
    return apply(BITWISE_NOT, x)


def _check_bits(name: str, *operands: Operand) -> None:
    for x in operands:
        if isinstance(x, float) or (isinstance(x, Tensor) and x.dtype.is_float):
            given = x.dtype.name if isinstance(x, Tensor) else "float"
            raise TypeError(
                f"{name} was given a {given}; it takes booleans and integers; compare first, "
                "e.g. x > 0, or use the logical_ function of that name"
            )
