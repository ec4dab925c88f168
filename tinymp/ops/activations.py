"""Activations: the functions of one element that networks put between their layers."""

from __future__ import annotations

from math import inf, pi
from math import sqrt as root
from typing import Any

from tinymp.autograd import Op, Tensor, apply
from tinymp.numerics.blockwise import blockwise
from tinymp.numerics.special import normal
from tinymp.ops.arithmetic import mul, neg
from tinymp.ops.elementary import tanh

Array = Any

# Where, not a product with the mask: an infinite gradient times 0 would be NaN.
RELU = Op(
    "relu",
    lambda xp, x: xp.maximum(x, 0),
    x=lambda xp, g, out: xp.where(out <= 0, 0, g),
    exact=True,
)
LEAKY_RELU = Op(
    "leaky_relu",
    lambda xp, x, *, slope: xp.where(x > 0, x, x * slope),
    x=lambda xp, g, x, slope: xp.where(x > 0, g, g * slope),
    result="float",
)
# The smaller of x and 0 is what the exponential sees: e^x of a large x that is not used overflows.
ELU = Op(
    "elu",
    lambda xp, x, *, alpha: xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0))),
    x=lambda xp, g, x, alpha: xp.where(x > 0, g, g * alpha * xp.exp(xp.minimum(x, 0))),
    result="float",
)
# Unlike clamp, it has no slope at the bounds themselves.
HARDTANH = Op(
    "hardtanh",
    lambda xp, x, *, low, high: xp.clip(x, low, high),
    x=lambda xp, g, x, low, high: xp.where((x <= low) | (x >= high), 0, g),
)


def _sigmoid(xp: Any, x: Array) -> Array:
    e = xp.exp(-xp.abs(x))  # in (0, 1]: cannot overflow
    return xp.where(x >= 0, 1, e) / (1 + e)


SIGMOID = Op("sigmoid", _sigmoid, x=lambda xp, g, out: g * out * (1 - out), result="float")


def _silu_x(xp: Any, g: Array, x: Array) -> Array:
    s = _sigmoid(xp, x)
    return g * s * (1 + x * (1 - s))


SILU = Op("silu", lambda xp, x: x * _sigmoid(xp, x), x=_silu_x, result="float")


def _softplus(xp: Any, x: Array, *, beta: float, threshold: float) -> Array:
    z = beta * x
    smooth = (xp.maximum(z, 0) + xp.log1p(xp.exp(-xp.abs(z)))) / beta
    return xp.where(z > threshold, x, smooth)


SOFTPLUS = Op(
    "softplus",
    _softplus,
    x=lambda xp, g, x, beta, threshold: xp.where(
        beta * x > threshold, g, g * _sigmoid(xp, beta * x)
    ),
    result="float",
    autocast="float32",
)


@blockwise
def _gelu_x(xp: Any, g: Array, x: Array) -> Array:
    cdf, pdf = normal(xp, x)
    return g * (cdf + x * pdf)


GELU = Op(
    "gelu",
    blockwise(lambda xp, x: x * normal(xp, x)[0]),
    x=_gelu_x,
    result="float",
)


def _gelu_curve(xp: Any, x: Array) -> Array:
    """tanh(√(2/π)·(x + 0.044715·x³))"""
    z = 0.044715 * x
    z *= x
    z *= x
    z += x
    z *= root(2 / pi)
    return xp.tanh(z)


@blockwise
def _gelu_tanh(xp: Any, x: Array) -> Array:
    out = _gelu_curve(xp, x)
    out += 1
    out *= 0.5 * x
    return out


@blockwise
def _gelu_tanh_x(xp: Any, g: Array, x: Array) -> Array:
    t = _gelu_curve(xp, x)
    slope = 3 * 0.044715 * x
    slope *= x
    slope += 1
    slope *= root(2 / pi)
    bend = 1 - t * t
    bend *= x
    bend *= slope
    t += 1
    t += bend
    t *= 0.5 * g
    return t


GELU_TANH = Op("gelu_tanh", _gelu_tanh, x=_gelu_tanh_x, result="float")


def relu(x: Tensor) -> Tensor:
    """The larger of x and 0; its gradient at 0 is 0."""
    return apply(RELU, x)


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, `negative_slope`·x elsewhere."""
    return apply(LEAKY_RELU, x, slope=negative_slope)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, `alpha`·(e^x - 1) elsewhere.

    Source: Clevert, Unterthiner & Hochreiter, Fast and Accurate Deep Network Learning by
    Exponential Linear Units (arXiv 1511.07289).
    """
    return apply(ELU, x, alpha=alpha)


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x cut to [min_val, max_val]; the gradient is 0 at the bounds and outside.

    Raises:
        ValueError: `min_val` is not below `max_val`.
    """
    if not min_val < max_val:
        raise ValueError(
            f"hardtanh was given min_val={min_val} and max_val={max_val}; the first must be smaller"
        )
    return apply(HARDTANH, x, low=min_val, high=max_val)


def relu6(x: Tensor) -> Tensor:
    """x cut to [0, 6].

    Source: Sandler et al., MobileNetV2 (arXiv 1801.04381), section 4, for arithmetic of low
    precision.
    """
    return hardtanh(x, 0.0, 6.0)


def selu(x: Tensor) -> Tensor:
    """`elu` with the alpha, times the scale, that keep mean 0 and variance 1 from layer to layer.

    Source: Klambauer, Unterthiner, Mayr & Hochreiter, Self-Normalizing Neural Networks (arXiv
    1706.02515), equation 2, with the constants that keep mean 0 and variance 1.
    """
    return mul(elu(x, 1.6732632423543772), 1.0507009873554805)


def logsigmoid(x: Tensor) -> Tensor:
    """log sigmoid(x), without the underflow of taking the logarithm afterwards."""
    return neg(softplus(neg(x), threshold=inf))


def mish(x: Tensor) -> Tensor:
    """x·tanh(softplus(x)).

    Source: Misra, Mish: A Self Regularized Non-Monotonic Activation Function (arXiv 1908.08681).
    """
    return mul(x, tanh(softplus(x)))


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e^-x), without overflow for any x."""
    return apply(SIGMOID, x)


def silu(x: Tensor) -> Tensor:
    """x·sigmoid(x), also called swish."""
    return apply(SILU, x)


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta·x)) / beta, a smooth relu; x itself where beta·x > `threshold`."""
    return apply(SOFTPLUS, x, beta=beta, threshold=threshold)


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
