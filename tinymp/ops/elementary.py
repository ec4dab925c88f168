"""The elementary functions: exponentials and logarithms, roots, circular and hyperbolic functions.

Gradient rules start from the input, not from the result, wherever the result would bring its own
rounding into a difference: log1p and expm1 exist because such differences cancel.
"""

from __future__ import annotations

from math import log as ln
from math import pi
from math import sqrt as root
from typing import Any

from tinymp.autograd import Op, Tensor, apply
from tinymp.numerics.blockwise import blockwise
from tinymp.numerics.special import erf as error_function
from tinymp.numerics.special import gaussian
from tinymp.ops.arithmetic import RECIPROCAL, pow

EXP = Op(
    "exp", lambda xp, x: xp.exp(x), x=lambda xp, g, out: g * out, result="float", autocast="float32"
)
EXPM1 = Op(
    "expm1",
    lambda xp, x: xp.expm1(x),
    x=lambda xp, g, x: g * xp.exp(x),
    result="float",
    autocast="float32",
)
LOG = Op(
    "log", lambda xp, x: xp.log(x), x=lambda xp, g, x: g / x, result="float", autocast="float32"
)
LOG1P = Op(
    "log1p",
    lambda xp, x: xp.log1p(x),
    x=lambda xp, g, x: g / (1 + x),
    result="float",
    autocast="float32",
)
LOG2 = Op(
    "log2",
    lambda xp, x: xp.log2(x),
    x=lambda xp, g, x: g / ln(2) / x,
    result="float",
    autocast="float32",
)
LOG10 = Op(
    "log10",
    lambda xp, x: xp.log10(x),
    x=lambda xp, g, x: g / ln(10) / x,
    result="float",
    autocast="float32",
)
SQRT = Op("sqrt", lambda xp, x: xp.sqrt(x), x=lambda xp, g, out: g / (2 * out), result="float")


def _rsqrt_x(xp: Any, g: Any, x: Any) -> Any:
    s = xp.sqrt(x)
    return -0.5 * g / s / (s * s)


RSQRT = Op("rsqrt", lambda xp, x: 1 / xp.sqrt(x), x=_rsqrt_x, result="float", autocast="float32")

SIN = Op("sin", lambda xp, x: xp.sin(x), x=lambda xp, g, x: g * xp.cos(x), result="float")
COS = Op("cos", lambda xp, x: xp.cos(x), x=lambda xp, g, x: -g * xp.sin(x), result="float")
TAN = Op(
    "tan",
    lambda xp, x: xp.tan(x),
    x=lambda xp, g, x: g / xp.square(xp.cos(x)),
    result="float",
    autocast="float32",
)
# (1 - x)(1 + x), not 1 - x²: near ±1 the rounding of x² would be all that is left.
ASIN = Op(
    "asin",
    lambda xp, x: xp.arcsin(x),
    x=lambda xp, g, x: g / xp.sqrt((1 - x) * (1 + x)),
    result="float",
    autocast="float32",
)
ACOS = Op(
    "acos",
    lambda xp, x: xp.arccos(x),
    x=lambda xp, g, x: -g / xp.sqrt((1 - x) * (1 + x)),
    result="float",
    autocast="float32",
)
ATAN = Op("atan", lambda xp, x: xp.arctan(x), x=lambda xp, g, x: g / (1 + x * x), result="float")
SINH = Op(
    "sinh",
    lambda xp, x: xp.sinh(x),
    x=lambda xp, g, x: g * xp.cosh(x),
    result="float",
    autocast="float32",
)
COSH = Op(
    "cosh",
    lambda xp, x: xp.cosh(x),
    x=lambda xp, g, x: g * xp.sinh(x),
    result="float",
    autocast="float32",
)
TANH = Op(
    "tanh", lambda xp, x: xp.tanh(x), x=lambda xp, g, out: g * (1 - out * out), result="float"
)
# A hypotenuse and a product of two roots, because x² would overflow long before the slope vanishes.
ASINH = Op(
    "asinh", lambda xp, x: xp.arcsinh(x), x=lambda xp, g, x: g / xp.hypot(x, 1), result="float"
)
ACOSH = Op(
    "acosh",
    lambda xp, x: xp.arccosh(x),
    x=lambda xp, g, x: g / (xp.sqrt(x - 1) * xp.sqrt(x + 1)),
    result="float",
)
ATANH = Op(
    "atanh",
    lambda xp, x: xp.arctanh(x),
    x=lambda xp, g, x: g / ((1 - x) * (1 + x)),
    result="float",
)
ERF = Op(
    "erf",
    blockwise(error_function),
    x=blockwise(lambda xp, g, x: g * (2 / root(pi)) * gaussian(xp, x)),
    result="float",
)


def exp(x: Tensor) -> Tensor:
    """e to the power x."""
    return apply(EXP, x)


def expm1(x: Tensor) -> Tensor:
    """e^x - 1, without the cancellation near x = 0."""
    return apply(EXPM1, x)


def log(x: Tensor) -> Tensor:
    """Natural logarithm of x; -inf at 0, NaN below."""
    return apply(LOG, x)


def log1p(x: Tensor) -> Tensor:
    """Natural logarithm of 1 + x, accurate near x = 0; -inf at -1, NaN below."""
    return apply(LOG1P, x)


def log2(x: Tensor) -> Tensor:
    """Logarithm of x to base 2; -inf at 0, NaN below."""
    return apply(LOG2, x)


def log10(x: Tensor) -> Tensor:
    """Logarithm of x to base 10; -inf at 0, NaN below."""
    return apply(LOG10, x)


def sqrt(x: Tensor) -> Tensor:
    """Square root of x; NaN below 0."""
    return apply(SQRT, x)


def rsqrt(x: Tensor) -> Tensor:
    """1 / √x; infinite at 0, NaN below."""
    return apply(RSQRT, x)


def square(x: Tensor) -> Tensor:
    """x²."""
    return pow(x, 2)


def reciprocal(x: Tensor) -> Tensor:
    """1 / x; infinite at 0."""
    return apply(RECIPROCAL, x, numerator=1)


def sin(x: Tensor) -> Tensor:
    """Sine of x in radians; NaN at ±inf."""
    return apply(SIN, x)


def cos(x: Tensor) -> Tensor:
    """Cosine of x in radians; NaN at ±inf."""
    return apply(COS, x)


def tan(x: Tensor) -> Tensor:
    """Tangent of x in radians; NaN at ±inf."""
    return apply(TAN, x)


def asin(x: Tensor) -> Tensor:
    """Inverse sine, from -π/2 to π/2; NaN outside [-1, 1]."""
    return apply(ASIN, x)


def acos(x: Tensor) -> Tensor:
    """Inverse cosine, from 0 to π; NaN outside [-1, 1]."""
    return apply(ACOS, x)


def atan(x: Tensor) -> Tensor:
    """Inverse tangent, from -π/2 to π/2."""
    return apply(ATAN, x)


def sinh(x: Tensor) -> Tensor:
    """Hyperbolic sine of x."""
    return apply(SINH, x)


def cosh(x: Tensor) -> Tensor:
    """Hyperbolic cosine of x."""
    return apply(COSH, x)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent of x."""
    return apply(TANH, x)


def asinh(x: Tensor) -> Tensor:
    """Inverse hyperbolic sine of x."""
    return apply(ASINH, x)


def acosh(x: Tensor) -> Tensor:
    """Inverse hyperbolic cosine, at least 0; NaN below 1."""
    return apply(ACOSH, x)


def atanh(x: Tensor) -> Tensor:
    """Inverse hyperbolic tangent of x; infinite at ±1, NaN outside."""
    return apply(ATANH, x)


def erf(x: Tensor) -> Tensor:
    """Error function 2/√π ∫₀ˣ e^(-t²) dt."""
    return apply(ERF, x)
