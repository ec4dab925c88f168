"""Losses, each computed from the model's output to the mean in one operation."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.autograd import Op, Tensor, apply
from tinymp.ops.shape import permute, reshape

Array = Any
REDUCTIONS = ("mean", "sum", "none")


def _reduced(xp: Any, losses: Array, reduction: str) -> Array:
    if reduction == "none":
        return losses
    total = xp.sum(losses)
    return total / losses.size if reduction == "mean" else total


def _spread(g: Array, count: int, reduction: str) -> Array:
    """The gradient that each of `count` losses receives."""
    return g / count if reduction == "mean" else g


def _cross_entropy(xp: Any, x: Array, labels: Array, *, reduction: str) -> Any:
    highest = xp.max(x, axis=1)
    logsumexp = xp.log(xp.sum(xp.exp(x - highest[:, None]), 1)) + highest
    losses = logsumexp - xp.take_along_axis(x, labels[:, None], 1)[:, 0]
    return _reduced(xp, losses, reduction), logsumexp


def _cross_entropy_x(
    xp: Any, g: Array, x: Array, labels: Array, logsumexp: Array, reduction: str
) -> Array:
    """Softmax minus the one-hot label."""
    gradient = xp.exp(x - logsumexp[:, None])
    gradient[xp.arange(len(labels)), labels] -= 1
    g = _spread(g, len(labels), reduction)
    return gradient * (g[:, None] if reduction == "none" else g)


CROSS_ENTROPY = Op(
    "cross_entropy",
    _cross_entropy,
    x=_cross_entropy_x,
    undecoded=("labels",),
    residuals=("logsumexp",),
    result="float",
    autocast="float32",
)
MSE = Op(
    "mse_loss",
    lambda xp, x, y, *, reduction: _reduced(xp, (x - y) * (x - y), reduction),
    x=lambda xp, g, x, y, reduction: _spread(g, x.size, reduction) * 2 * (x - y),
    y=lambda xp, g, x, y, reduction: _spread(g, x.size, reduction) * 2 * (y - x),
    result="float",
    autocast="float32",
)


def cross_entropy(x: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
    """-log softmax(x)[label], from logits of shape (N, C), (C,) or (N, C, d...) and int64 labels.

    `reduction`: "mean" and "sum" over all labels, or "none": a loss for each.

    Raises:
        TypeError: labels that are no int64 tensor.
        ValueError: shapes that do not fit, a label outside 0 ... C-1, an unknown reduction.
    """
    _check_reduction(reduction, "cross_entropy")
    if not isinstance(labels, Tensor) or labels.dtype.kind != "int":
        given = labels.dtype.name if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(
            f"cross_entropy was given {given} labels; they are class numbers, an int64 tensor"
        )
    shape = x.shape[:1] + x.shape[2:] if x.ndim > 1 else ()
    if x.ndim == 0 or labels.shape != shape:
        raise ValueError(
            f"cross_entropy was given logits of shape {x.shape} and labels of shape "
            f"{labels.shape}; with logits of shape (N, C, ...) the labels have shape (N, ...), "
            f"here {shape}"
        )
    classes = x.shape[1] if x.ndim > 1 else x.shape[0]
    wrong = (labels._array < 0) | (labels._array >= classes)
    if wrong.any():
        first = int(wrong.reshape(-1).argmax())
        place = [int(i) for i in np.unravel_index(first, labels.shape)]
        label = int(labels._array.reshape(-1)[first])
        raise ValueError(
            f"cross_entropy was given the label {label} at {place}; with {classes} classes labels "
            f"are 0 to {classes - 1}"
        )
    if x.ndim > 2:  # classes last, then one row a label
        x = permute(x, (0, *range(2, x.ndim), 1))
    loss = apply(CROSS_ENTROPY, reshape(x, -1, classes), reshape(labels, -1), reduction=reduction)
    return reshape(loss, shape) if reduction == "none" else loss


def mse_loss(x: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
    """(x - y)², its mean or sum over all elements, or each ("none").

    Raises:
        ValueError: shapes that differ, or an unknown reduction.
    """
    _check_reduction(reduction, "mse_loss")
    if x.shape != y.shape:
        raise ValueError(
            f"mse_loss was given shapes {x.shape} and {y.shape}; they must be equal, or a missing "
            "dimension would silently compare everything with everything"
        )
    return apply(MSE, x, y, reduction=reduction)


def _check_reduction(reduction: str, name: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(
            f"reduction={reduction!r} was given to {name}; it must be one of "
            f"{', '.join(REDUCTIONS)}"
        )
