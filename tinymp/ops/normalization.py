"""Softmax and layer normalisation: each computed whole in the compute dtype and rounded once."""

from __future__ import annotations

from math import prod
from typing import Any

from tinymp.autograd import Op, Tensor, apply
from tinymp.ops.dims import one_dim
from tinymp.ops.shape import reshape

Array = Any


def _shifted(xp: Any, x: Array, dim: int) -> Array:
    """`x` less its largest value along `dim`: the shift cancels, without it e^x overflows."""
    return x - xp.max(x, axis=dim, keepdims=True) if x.size else x


def _softmax(xp: Any, x: Array, *, dim: int) -> Array:
    e = xp.exp(_shifted(xp, x, dim))
    return e / xp.sum(e, dim, True)


SOFTMAX = Op(
    "softmax",
    _softmax,
    x=lambda xp, g, out, dim: out * (g - xp.sum(g * out, dim, True)),
    result="float",
    autocast="float32",
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
)


def _layer_norm(xp: Any, x: Array, weight: Array = None, bias: Array = None, *, eps: float) -> Any:
    n = x.shape[-1]
    mean = xp.sum(x, -1, True) / n
    deviation = x - mean
    rstd = 1 / xp.sqrt(xp.sum(deviation * deviation, -1, True) / n + eps)
    out = deviation * rstd
    if weight is not None:
        out = out * weight
    if bias is not None:
        out = out + bias
    return out, mean, rstd


def _layer_norm_x(xp: Any, g: Array, x: Array, weight: Array, mean: Array, rstd: Array) -> Array:
    n = x.shape[-1]
    normal = (x - mean) * rstd
    if weight is not None:
        g = g * weight
    # Ba, Kiros & Hinton, Layer Normalization (arXiv 1607.06450): the normalised x does not change
    # when x is shifted or scaled, so those two directions are taken out of the gradient.
    shift = xp.sum(g, -1, True) / n
    scale = xp.sum(g * normal, -1, True) / n
    return rstd * (g - shift - normal * scale)


LAYER_NORM = Op(
    "layer_norm",
    _layer_norm,
    x=_layer_norm_x,
    weight=lambda xp, g, x, mean, rstd: g * ((x - mean) * rstd),
    bias=lambda xp, g: g,
    residuals=("mean", "rstd"),
    result="float",
    autocast="float32",
)


def softmax(x: Tensor, dim: int) -> Tensor:
    """e^x / Σ e^x along `dim`."""
    return apply(SOFTMAX, x, dim=one_dim(dim, x.ndim, "softmax"))


def log_softmax(x: Tensor, dim: int) -> Tensor:
    """log softmax along `dim`, without the underflow of taking the logarithm afterwards."""
    return apply(LOG_SOFTMAX, x, dim=one_dim(dim, x.ndim, "log_softmax"))


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
    shape = tuple(normalized_shape)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(
            f"layer_norm over {shape} was given a tensor of shape {x.shape}; it must end in those "
            "lengths"
        )
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None and parameter.shape != shape:
            raise ValueError(
                f"layer_norm over {shape} was given a {name} of shape {parameter.shape}; it must "
                f"be {shape}"
            )
    n = prod(shape)
    flat = [p if p is None or len(shape) == 1 else reshape(p, n) for p in (weight, bias)]
    if len(shape) == 1:
        return apply(LAYER_NORM, x, *flat, eps=eps)
    rows = reshape(x, (*x.shape[: -len(shape)], n))
    return reshape(apply(LAYER_NORM, rows, *flat, eps=eps), x.shape)
