"""Softmax, layer and RMS normalisation: each computed whole and rounded once."""

from __future__ import annotations

from math import prod
from typing import Any

from tinymp.autograd import Op, Tensor, apply
from tinymp.formats import float32, float64
from tinymp.numerics.blockwise import rowwise
from tinymp.ops.dims import check_tensors, one_dim
from tinymp.ops.shape import reshape

Array = Any


def _shifted(xp: Any, x: Array, dim: int) -> Array:
    """`x` less its largest value along `dim`: the shift cancels, without it e^x overflows."""
    return x - xp.max(x, axis=dim, keepdims=True) if x.size else x


def _softmax(xp: Any, x: Array, *, dim: int) -> Array:
    e = xp.exp(_shifted(xp, x, dim))
    e /= xp.sum(e, dim, True)
    return e


SOFTMAX = Op(
    "softmax",
    _softmax,
    x=lambda xp, g, out, dim: out * (g - xp.sum(g * out, dim, True)),
    result="float",
    autocast="float32",
    accumulates="both",
)


def _log_softmax(xp: Any, x: Array, *, dim: int) -> Array:
    shifted = _shifted(xp, x, dim)
    return shifted - xp.log(xp.sum(xp.exp(shifted), dim, True))


LOG_SOFTMAX = Op(
    "log_softmax",
    _log_softmax,
    x=lambda xp, g, out, dim: g - xp.exp(out) * xp.sum(g, dim, True),
    result="float",
    autocast="float32",
    accumulates="both",
)


@rowwise("x")
def _layer_norm(xp: Any, x: Array, weight: Array = None, bias: Array = None, *, eps: float) -> Any:
    n = x.shape[-1]
    mean = xp.sum(x, -1, True) / n
    out = x - mean
    rstd = 1 / xp.sqrt(xp.sum(out * out, -1, True) / n + eps)
    out *= rstd
    if weight is not None:
        out *= weight
    if bias is not None:
        out += bias
    return out, mean, rstd


@rowwise("g", "x", "mean", "rstd")
def _layer_norm_gradients(
    xp: Any, g: Array, x: Array, weight: Array, mean: Array, rstd: Array
) -> tuple[Array, Array]:
    normal = x - mean
    normal *= rstd
    if weight is None:
        return normal_x(xp, g, normal, rstd, (-1,)), None
    return normal_x(xp, g * weight, normal, rstd, (-1,)), g * normal


def normal_x(xp: Any, g: Array, normal: Array, rstd: Array, axes: tuple[int, ...]) -> Array:
    """Gradient through (x - mean)·rstd, both taken over `axes`.

    The result does not change when x is shifted or scaled, so those two directions are taken out
    of the gradient (Ba, Kiros & Hinton, arXiv 1607.06450).
    """
    n = prod(g.shape[i] for i in axes)
    shift = xp.sum(g, axes, True) / n
    scale = xp.sum(g * normal, axes, True) / n
    gradient = g - shift
    gradient -= normal * scale
    gradient *= rstd
    return gradient


LAYER_NORM = Op(
    "layer_norm",
    _layer_norm,
    together={("x", "weight"): _layer_norm_gradients},
    bias=lambda xp, g: g,
    residuals=("mean", "rstd"),
    result="float",
    autocast="float32",
    accumulates="both",
)


def _rms_norm(xp: Any, x: Array, weight: Array = None, *, eps: float) -> Any:
    rrms = 1 / xp.sqrt(xp.sum(x * x, -1, True) / x.shape[-1] + eps)
    return (x * rrms if weight is None else x * rrms * weight), rrms


def _rms_norm_x(xp: Any, g: Array, x: Array, weight: Array, rrms: Array) -> Array:
    normal = x * rrms
    if weight is not None:
        g = g * weight
    return rrms * (g - normal * (xp.sum(g * normal, -1, True) / x.shape[-1]))


RMS_NORM = Op(
    "rms_norm",
    _rms_norm,
    x=_rms_norm_x,
    weight=lambda xp, g, x, rrms: g * (x * rrms),
    residuals=("rrms",),
    result="float",
    autocast="float32",
    accumulates="both",
)


def softmax(x: Tensor, dim: int) -> Tensor:
    """e^x / Σ e^x along `dim`."""
    return apply(SOFTMAX, x, dim=one_dim(dim, x, "softmax"))


def log_softmax(x: Tensor, dim: int) -> Tensor:
    """log softmax along `dim`, without the underflow of taking the logarithm afterwards."""
    return apply(LOG_SOFTMAX, x, dim=one_dim(dim, x, "log_softmax"))


def layer_norm(
    x: Tensor,
    normalized_shape: tuple[int, ...] | list[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / √(variance + eps) · weight + bias over the last dimensions.

    Mean and variance are computed, and kept for backward, in the compute dtype.

    Raises:
        ValueError: `x` does not end in `normalized_shape`, or weight or bias is not of that shape.

    Source: Ba, Kiros & Hinton, Layer Normalization (arXiv 1607.06450), section 3.
    """
    rows, flat = _as_rows("layer_norm", x, normalized_shape, weight=weight, bias=bias)
    return _back(apply(LAYER_NORM, rows, *flat, eps=eps), x.shape)


def rms_norm(
    x: Tensor,
    normalized_shape: tuple[int, ...] | list[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """x / √(mean of x² + eps) · weight over the last dimensions.

    `eps`: by default that of the compute dtype, 2^-23 (2^-52 for float64).

    Raises:
        ValueError: `x` does not end in `normalized_shape`, or the weight is not of that shape.

    Source: Zhang & Sennrich, Root Mean Square Layer Normalization (arXiv 1910.07467), section 4.
    """
    rows, flat = _as_rows("rms_norm", x, normalized_shape, weight=weight)
    if eps is None:
        eps = (float64 if x.dtype is float64 else float32).eps
    return _back(apply(RMS_NORM, rows, *flat, eps=eps), x.shape)


def _as_rows(
    name: str, x: Tensor, normalized_shape: tuple[int, ...] | list[int], **parameters: Tensor | None
) -> tuple[Tensor, list[Tensor | None]]:
    """`x` and the parameters with one last dimension for all that is normalised together."""
    check_tensors(name, x)
    shape = tuple(normalized_shape)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(
            f"{name} over {shape} was given a tensor of shape {x.shape}; it must end in those "
            "lengths"
        )
    for role, parameter in parameters.items():
        if parameter is not None and parameter.shape != shape:
            raise ValueError(
                f"{name} over {shape} was given a {role} of shape {parameter.shape}; it must "
                f"be {shape}"
            )
    if len(shape) == 1:
        return x, list(parameters.values())
    n = prod(shape)
    flat = [p if p is None else reshape(p, n) for p in parameters.values()]
    return reshape(x, (*x.shape[: -len(shape)], n)), flat


def _back(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return x if x.shape == shape else reshape(x, shape)
