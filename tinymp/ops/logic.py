"""Truth: tests of elements, and logic on the answers."""

from __future__ import annotations

from tinymp.autograd import Op, Tensor, apply
from tinymp.ops.arithmetic import Operand

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
