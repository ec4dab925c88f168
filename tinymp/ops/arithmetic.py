"""Arithmetic and comparison, element by element, with NumPy's broadcasting."""

from __future__ import annotations

import numpy as np

from tinymp.autograd import Op, Tensor, apply

Number = float | int | bool
Operand = Tensor | Number

ADD = Op("add", lambda xp, x, y: x + y, x=lambda xp, g: g, y=lambda xp, g: g)
SUB = Op("sub", lambda xp, x, y: x - y, x=lambda xp, g: g, y=lambda xp, g: -g)
MUL = Op("mul", lambda xp, x, y: x * y, x=lambda xp, g, y: g * y, y=lambda xp, g, x: g * x)
DIV = Op(
    "div",
    lambda xp, x, y: x / y,
    x=lambda xp, g, y: g / y,
    y=lambda xp, g, x, y: -g * (x / y) / y,
    result="float",
)
# A number over a tensor: an operation of its own, because PyTorch's autocast tells it from DIV.
# Divided twice, because x² may over- or underflow where the gradient does not.
RECIPROCAL = Op(
    "reciprocal",
    lambda xp, x, *, numerator: numerator / x,
    x=lambda xp, g, x, numerator: -numerator * g / x / x,
    result="float",
    autocast="float32",
)
FLOOR_DIVIDE = Op(
    "floor_divide",
    lambda xp, x, y: xp.floor_divide(x, y),
    x=lambda xp, g: xp.zeros_like(g),
    y=lambda xp, g: xp.zeros_like(g),
)
REMAINDER = Op(
    "remainder",
    lambda xp, x, y: xp.remainder(x, y),
    x=lambda xp, g: g,
    y=lambda xp, g, x, y: -g * xp.floor_divide(x, y),
)
NEG = Op("neg", lambda xp, x: -x, x=lambda xp, g: -g)
POW = Op(
    "pow",
    lambda xp, x, y: xp.power(x, y),
    # d(x^y)/dx = y·x^(y-1), which is 0 for y = 0 even where x^(y-1) is infinite.
    x=lambda xp, g, x, y: xp.where(xp.equal(y, 0), 0, g * y * xp.power(x, y - 1)),
    # d(x^y)/dy = x^y·log x, whose limit at x = 0 is 0 for y ≥ 0. (The logarithm of a Python number
    # would be float64.)
    y=lambda xp, g, x, y, out: xp.where((x == 0) & (y >= 0), 0, g * out * xp.log(x, dtype=g.dtype)),
    autocast="float32",
)

EQ = Op("eq", lambda xp, x, y: x == y, result="bool")
NE = Op("ne", lambda xp, x, y: x != y, result="bool")
LT = Op("lt", lambda xp, x, y: x < y, result="bool")
LE = Op("le", lambda xp, x, y: x <= y, result="bool")
GT = Op("gt", lambda xp, x, y: x > y, result="bool")
GE = Op("ge", lambda xp, x, y: x >= y, result="bool")


def add(x: Operand, y: Operand) -> Tensor:
    """x + y."""
    return apply(ADD, x, y)


def sub(x: Operand, y: Operand) -> Tensor:
    """x - y."""
    return apply(SUB, x, y)


def mul(x: Operand, y: Operand) -> Tensor:
    """x · y, element by element."""
    return apply(MUL, x, y)


def div(x: Operand, y: Operand) -> Tensor:
    """x / y; two integers give float32."""
    return apply(DIV, x, y)


def floor_divide(x: Operand, y: Operand) -> Tensor:
    """⌊x / y⌋, in the common dtype; its gradient is 0. Integers by 0 give 0."""
    return apply(FLOOR_DIVIDE, x, y)


def remainder(x: Operand, y: Operand) -> Tensor:
    """x - y·⌊x / y⌋, which has the sign of y, as Python's %. Integers by 0 give 0."""
    return apply(REMAINDER, x, y)


def divide_by(x: Tensor, numerator: Operand) -> Tensor:
    """numerator / x, for a number on the left: under autocast the float32 reciprocal, as PyTorch.

    Rounded once, where PyTorch rounds 1 / x and then the product.
    """
    if isinstance(numerator, np.generic):
        numerator = numerator.item()  # NumPy's scalars would widen the computation
    if not isinstance(numerator, int | float):
        return apply(DIV, numerator, x)
    return apply(RECIPROCAL, x, numerator=numerator)


def neg(x: Tensor) -> Tensor:
    """-x."""
    return apply(NEG, x)


def pow(x: Operand, y: Operand) -> Tensor:
    """x to the power y."""
    return apply(POW, x, y)


def eq(x: Operand, y: Operand) -> Tensor:
    """x = y, a bool tensor; NaN equals nothing."""
    return apply(EQ, x, y)


def ne(x: Operand, y: Operand) -> Tensor:
    """x ≠ y, a bool tensor."""
    return apply(NE, x, y)


def lt(x: Operand, y: Operand) -> Tensor:
    """x < y, a bool tensor."""
    return apply(LT, x, y)


def le(x: Operand, y: Operand) -> Tensor:
    """x ≤ y, a bool tensor."""
    return apply(LE, x, y)


def gt(x: Operand, y: Operand) -> Tensor:
    """x > y, a bool tensor."""
    return apply(GT, x, y)


def ge(x: Operand, y: Operand) -> Tensor:
    """x ≥ y, a bool tensor."""
    return apply(GE, x, y)
