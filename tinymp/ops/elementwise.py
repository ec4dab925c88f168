"""Functions of each element on its own, and choices between elements."""

from __future__ import annotations

from math import pi
from math import sqrt as root
from typing import Any

from tinymp.autograd import Op, Tensor, apply
from tinymp.formats import DType, float32
from tinymp.numerics.special import normal_cdf, normal_pdf
from tinymp.ops.arithmetic import Operand

EXP = Op(
    "exp", lambda xp, x: xp.exp(x), x=lambda xp, g, out: g * out, result="float", autocast="float32"
)
LOG = Op(
    "log", lambda xp, x: xp.log(x), x=lambda xp, g, x: g / x, result="float", autocast="float32"
)
SQRT = Op("sqrt", lambda xp, x: xp.sqrt(x), x=lambda xp, g, out: g / (2 * out), result="float")
TANH = Op(
    "tanh", lambda xp, x: xp.tanh(x), x=lambda xp, g, out: g * (1 - out * out), result="float"
)
ABS = Op("abs", lambda xp, x: xp.abs(x), x=lambda xp, g, x: g * xp.sign(x))
# Where, not a product with the mask: an infinite gradient times 0 would be NaN.
RELU = Op("relu", lambda xp, x: xp.maximum(x, 0), x=lambda xp, g, out: xp.where(out <= 0, 0, g))


def _sigmoid(xp: Any, x: Any) -> Any:
    e = xp.exp(-xp.abs(x))  # in (0, 1]: cannot overflow
    return xp.where(x >= 0, 1, e) / (1 + e)


SIGMOID = Op("sigmoid", _sigmoid, x=lambda xp, g, out: g * out * (1 - out), result="float")

GELU = Op(
    "gelu",
    lambda xp, x: x * normal_cdf(xp, x),
    x=lambda xp, g, x: g * (normal_cdf(xp, x) + x * normal_pdf(xp, x)),
    result="float",
)


def _gelu_tanh(xp: Any, x: Any) -> Any:
    return 0.5 * x * (1 + xp.tanh(root(2 / pi) * (x + 0.044715 * x * x * x)))


def _gelu_tanh_x(xp: Any, g: Any, x: Any) -> Any:
    t = xp.tanh(root(2 / pi) * (x + 0.044715 * x * x * x))
    slope = root(2 / pi) * (1 + 3 * 0.044715 * x * x)
    return g * 0.5 * (1 + t + x * (1 - t * t) * slope)


GELU_TANH = Op("gelu_tanh", _gelu_tanh, x=_gelu_tanh_x, result="float")

# Where both are equal each gets half of the gradient, where one is NaN each gets all of it.
MAXIMUM = Op(
    "maximum",
    lambda xp, x, y: xp.maximum(x, y),
    x=lambda xp, g, x, y: xp.where(x == y, g / 2, xp.where(x < y, 0, g)),
    y=lambda xp, g, x, y: xp.where(x == y, g / 2, xp.where(x > y, 0, g)),
)
MINIMUM = Op(
    "minimum",
    lambda xp, x, y: xp.minimum(x, y),
    x=lambda xp, g, x, y: xp.where(x == y, g / 2, xp.where(x > y, 0, g)),
    y=lambda xp, g, x, y: xp.where(x == y, g / 2, xp.where(x < y, 0, g)),
)


def _clamp_x(xp: Any, g: Any, x: Any, low: float | None, high: float | None) -> Any:
    if low is not None:
        g = xp.where(x >= low, g, 0)
    return g if high is None else xp.where(x <= high, g, 0)


CLAMP = Op("clamp", lambda xp, x, *, low, high: xp.clip(x, low, high), x=_clamp_x)
WHERE = Op(
    "where",
    lambda xp, condition, x, y: xp.where(condition, x, y),
    x=lambda xp, g, condition: xp.where(condition, g, 0),
    y=lambda xp, g, condition: xp.where(condition, 0, g),
    undecoded=("condition",),
)
DROPOUT = Op(
    "dropout",
    lambda xp, x, keep, *, p: xp.where(keep, x / (1 - p), 0),
    x=lambda xp, g, keep, p: xp.where(keep, g / (1 - p), 0),
    undecoded=("keep",),
)
# Rounding to another dtype: the value passes, the dispatcher rounds it. Backward rounds the
# gradient to the dtype of the input.
CAST = Op("cast", lambda xp, x, *, dtype: x, x=lambda xp, g: g, result="attribute")


def cast(x: Tensor, dtype: DType) -> Tensor:
    """`x` rounded to `dtype` by the active rounding mode; `x` itself where it is of that dtype.

    Backward rounds the gradient to the dtype of `x`.
    """
    return x if x.dtype is dtype else apply(CAST, x, dtype=dtype)


def exp(x: Tensor) -> Tensor:
    """e to the power x."""
    return apply(EXP, x)


def log(x: Tensor) -> Tensor:
    """Natural logarithm of x; -inf at 0, NaN below."""
    return apply(LOG, x)


def sqrt(x: Tensor) -> Tensor:
    """Square root of x; NaN below 0."""
    return apply(SQRT, x)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent of x."""
    return apply(TANH, x)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e^-x), without overflow for any x."""
    return apply(SIGMOID, x)


def relu(x: Tensor) -> Tensor:
    """The larger of x and 0; its gradient at 0 is 0."""
    return apply(RELU, x)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x·Φ(x), Φ the normal distribution function; `approximate="tanh"` takes the tanh formula.

    Raises:
        ValueError: another `approximate`.

    Source: Hendrycks & Gimpel, Gaussian Error Linear Units (arXiv 1606.08415), section 2.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(
            f"approximate={approximate!r} was given to gelu; it must be 'none' or 'tanh'"
        )
    return apply(GELU if approximate == "none" else GELU_TANH, x)


def abs(x: Tensor) -> Tensor:
    """Absolute value of x; its gradient at 0 is 0."""
    return apply(ABS, x)


def maximum(x: Operand, y: Operand) -> Tensor:
    """The larger of x and y; NaN where either is NaN. Equal elements share the gradient."""
    return apply(MAXIMUM, x, y)


def minimum(x: Operand, y: Operand) -> Tensor:
    """The smaller of x and y; NaN where either is NaN. Equal elements share the gradient."""
    return apply(MINIMUM, x, y)


def clamp(x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """x cut to the interval [min, max]; its gradient is 0 outside.

    Integers with a bound that is a float give float32.

    Raises:
        TypeError: a bound that is not a number.
        ValueError: neither bound was given.
    """
    if min is None and max is None:
        raise ValueError("clamp was given neither min nor max; give at least one of them")
    for bound in (min, max):
        if not isinstance(bound, int | float | None):
            raise TypeError(
                f"clamp was given a {type(bound).__name__} as a bound; it takes numbers; use "
                "maximum and minimum for tensors"
            )
    if not x.dtype.is_float and (isinstance(min, float) or isinstance(max, float)):
        x = cast(x, float32)
    return apply(CLAMP, x, low=min, high=max)


clip = clamp


def where(condition: Tensor, x: Operand, y: Operand) -> Tensor:
    """x where `condition` (bool) is true, y elsewhere.

    Raises:
        TypeError: `condition` is not a bool tensor.
    """
    if not isinstance(condition, Tensor) or condition.dtype.kind != "bool":
        given = condition.dtype.name if isinstance(condition, Tensor) else type(condition).__name__
        raise TypeError(
            f"where was given a {given} condition; it must be a bool tensor, e.g. x > 0"
        )
    return apply(WHERE, condition, x, y)
