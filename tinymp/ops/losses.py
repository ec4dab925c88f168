"""Losses, each computed from the model's output to the mean in one operation.

Those that compare numbers with numbers are here, those that compare scores with class labels in
`classification.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinymp.autograd import Op, Tensor, apply
from tinymp.autograd.modes import decide
from tinymp.ops.arithmetic import div
from tinymp.ops.dims import check_tensors

Array = Any
REDUCTIONS = ("mean", "sum", "none")


def reduced(xp: Any, losses: Array, reduction: str) -> Array:
    """The losses themselves, their sum or their mean."""
    if reduction == "none":
        return losses
    total = xp.sum(losses)
    return total / losses.size if reduction == "mean" else total


def spread(g: Array, count: int, reduction: str) -> Array:
    """The gradient that each of `count` losses receives."""
    return g / count if reduction == "mean" else g


def _of_difference(name: str, loss: Callable[..., Array], slope: Callable[..., Array]) -> Op:
    """A loss that depends on d = x - y alone: `loss(xp, d, bend)` with derivative `slope`."""

    def gradient(xp: Any, g: Array, x: Array, y: Array, bend: float, reduction: str) -> Array:
        return spread(g, x.size, reduction) * slope(xp, x - y, bend)

    return Op(
        name,
        lambda xp, x, y, *, bend, reduction: reduced(xp, loss(xp, x - y, bend), reduction),
        x=gradient,
        y=lambda xp, g, x, y, bend, reduction: -gradient(xp, g, x, y, bend, reduction),
        result="float",
        autocast="float32",
        accumulates="forward",
    )


def _huber(xp: Any, d: Array, delta: float) -> Array:
    size = xp.abs(d)
    return xp.where(size <= delta, 0.5 * d * d, delta * (size - 0.5 * delta))


MSE = _of_difference("mse_loss", lambda xp, d, _: d * d, lambda xp, d, _: 2 * d)
L1 = _of_difference("l1_loss", lambda xp, d, _: xp.abs(d), lambda xp, d, _: xp.sign(d))
HUBER = _of_difference("huber_loss", _huber, lambda xp, d, delta: xp.clip(d, -delta, delta))
SMOOTH_L1 = _of_difference(
    "smooth_l1_loss",
    lambda xp, d, beta: _huber(xp, d, beta) / beta,
    lambda xp, d, beta: xp.clip(d, -beta, beta) / beta,
)


def _bce(
    xp: Any,
    x: Array,
    y: Array,
    weight: Array = None,
    pos_weight: Array = None,
    *,
    reduction: str,
) -> Array:
    # log(1 + e^-x) = log(1 + e^-|x|) + max(-x, 0): the exponential cannot overflow.
    softplus = xp.log1p(xp.exp(-xp.abs(x))) + xp.maximum(-x, 0)
    positive = 1 if pos_weight is None else 1 + (pos_weight - 1) * y
    losses = (1 - y) * x + positive * softplus
    return reduced(xp, losses if weight is None else losses * weight, reduction)


def _bce_x(
    xp: Any, g: Array, x: Array, y: Array, weight: Array, pos_weight: Array, reduction: str
) -> Array:
    e = xp.exp(-xp.abs(x))
    below = xp.where(x >= 0, e, 1) / (1 + e)  # sigmoid(-x)
    positive = 1 if pos_weight is None else 1 + (pos_weight - 1) * y
    slope = (1 - y) - positive * below
    return spread(g, x.size, reduction) * (slope if weight is None else slope * weight)


def _bce_y(
    xp: Any, g: Array, x: Array, y: Array, weight: Array, pos_weight: Array, reduction: str
) -> Array:
    slope = -x
    if pos_weight is not None:
        softplus = xp.log1p(xp.exp(-xp.abs(x))) + xp.maximum(-x, 0)
        slope = slope + (pos_weight - 1) * softplus
    return spread(g, x.size, reduction) * (slope if weight is None else slope * weight)


BCE_WITH_LOGITS = Op(
    "binary_cross_entropy_with_logits",
    _bce,
    x=_bce_x,
    y=_bce_y,
    result="float",
    autocast="float32",
    accumulates="forward",
)


def _logs(xp: Any, x: Array) -> tuple[Array, Array]:
    """log x and log(1 - x), at least -100, as in PyTorch: a certain mistake costs 100."""
    return xp.maximum(xp.log(x), -100), xp.maximum(xp.log1p(-x), -100)


def _bce_of_chances(xp: Any, x: Array, y: Array, weight: Array = None, *, reduction: str) -> Array:
    log, complement = _logs(xp, x)
    losses = -(y * log + (1 - y) * complement)
    return reduced(xp, losses if weight is None else losses * weight, reduction)


def _bce_of_chances_x(
    xp: Any, g: Array, x: Array, y: Array, weight: Array, reduction: str
) -> Array:
    slope = (x - y) / xp.maximum(x * (1 - x), 1e-12)
    return spread(g, x.size, reduction) * (slope if weight is None else slope * weight)


def _bce_of_chances_y(xp: Any, g: Array, x: Array, weight: Array, reduction: str) -> Array:
    log, complement = _logs(xp, x)
    slope = complement - log
    return spread(g, x.size, reduction) * (slope if weight is None else slope * weight)


BCE = Op(
    "binary_cross_entropy",
    _bce_of_chances,
    x=_bce_of_chances_x,
    y=_bce_of_chances_y,
    result="float",
    autocast="float32",
    accumulates="forward",
)


def _kl_div(xp: Any, x: Array, y: Array, *, log_target: bool, reduction: str) -> Array:
    if log_target:
        return reduced(xp, xp.exp(y) * (y - x), reduction)
    log = xp.log(xp.where(y == 0, 1, y))  # 0·log 0 is 0, its limit
    return reduced(xp, y * (log - x), reduction)


def _kl_div_x(xp: Any, g: Array, x: Array, y: Array, log_target: bool, reduction: str) -> Array:
    return -spread(g, x.size, reduction) * (xp.exp(y) if log_target else y)


def _kl_div_y(xp: Any, g: Array, x: Array, y: Array, log_target: bool, reduction: str) -> Array:
    if log_target:
        return spread(g, x.size, reduction) * xp.exp(y) * (1 + y - x)
    slope = 1 + xp.log(xp.where(y == 0, 1, y)) - x
    return spread(g, x.size, reduction) * xp.where(y == 0, 0, slope)


KL_DIV = Op(
    "kl_div",
    _kl_div,
    x=_kl_div_x,
    y=_kl_div_y,
    result="float",
    autocast="float32",
    accumulates="forward",
)


def mse_loss(x: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
    """(x - y)², its mean or sum over all elements, or each ("none").

    Raises:
        ValueError: shapes that differ, or an unknown reduction.
    """
    _check_pair(x, y, reduction, "mse_loss")
    return apply(MSE, x, y, bend=0, reduction=reduction)


def l1_loss(x: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
    """|x - y|, its mean or sum over all elements, or each ("none").

    Raises:
        ValueError: shapes that differ, or an unknown reduction.
    """
    _check_pair(x, y, reduction, "l1_loss")
    return apply(L1, x, y, bend=0, reduction=reduction)


def huber_loss(x: Tensor, y: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """(x - y)²/2 where |x - y| ≤ `delta`, from there on with constant slope `delta`.

    Raises:
        ValueError: shapes that differ, an unknown reduction, a `delta` that is not above 0.

    Source: Huber, Robust Estimation of a Location Parameter (Ann. Math. Statist. 35, 1964).
    """
    _check_pair(x, y, reduction, "huber_loss")
    if not delta > 0:
        raise ValueError(f"huber_loss was given delta={delta}; it must be above 0")
    return apply(HUBER, x, y, bend=delta, reduction=reduction)


def smooth_l1_loss(x: Tensor, y: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """`huber_loss` with `delta` = `beta`, divided by `beta`: slope 1 far out; `l1_loss` for 0.

    Raises:
        ValueError: shapes that differ, an unknown reduction, a `beta` below 0.
    """
    if beta == 0:
        return l1_loss(x, y, reduction)
    _check_pair(x, y, reduction, "smooth_l1_loss")
    if not beta > 0:
        raise ValueError(f"smooth_l1_loss was given beta={beta}; it must be at least 0")
    return apply(SMOOTH_L1, x, y, bend=beta, reduction=reduction)


def binary_cross_entropy_with_logits(
    x: Tensor,
    y: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """-y·log sigmoid(x)·pos_weight - (1 - y)·log(1 - sigmoid(x)), times `weight`.

    `y`: probabilities, of the shape of `x`. `weight` and `pos_weight` broadcast to that shape; they
    take no gradient.

    Raises:
        ValueError: shapes that differ or do not broadcast, or an unknown reduction.
    """
    name = "binary_cross_entropy_with_logits"
    _check_pair(x, y, reduction, name)
    _check_factors(name, x, weight=weight, pos_weight=pos_weight)
    return apply(BCE_WITH_LOGITS, x, y, weight, pos_weight, reduction=reduction)


def binary_cross_entropy(
    x: Tensor, y: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """-y·log x - (1 - y)·log(1 - x), times `weight`, of probabilities `x`; logarithms are ≥ -100.

    Where `x` is a sigmoid take `binary_cross_entropy_with_logits`: a sigmoid of 2 bytes is 1 for
    every logit above 8 (float16) or 6 (bfloat16), and what it was is lost.

    Raises:
        ValueError: shapes that differ or do not broadcast, an unknown reduction, an `x` outside
            [0, 1].
    """
    name = "binary_cross_entropy"
    _check_pair(x, y, reduction, name)
    _check_factors(name, x, weight=weight)
    if decide(_leaves_0_to_1, x):
        raise ValueError(
            f"{name} was given a number outside [0, 1]; it takes probabilities; use "
            "binary_cross_entropy_with_logits for logits"
        )
    return apply(BCE, x, y, weight, reduction=reduction)


def _leaves_0_to_1(x: Tensor) -> bool:
    values = x._values()
    return bool(((values < 0) | (values > 1)).any())


def _check_factors(name: str, x: Tensor, **factors: Tensor | None) -> None:
    for role, factor in factors.items():
        if factor is not None and (
            factor.ndim > x.ndim
            or any(n not in (1, m) for n, m in zip(factor.shape[::-1], x.shape[::-1], strict=False))
        ):
            given = f"a {role} of shape {factor.shape} for logits of shape {x.shape}"
            raise ValueError(f"{name} was given {given}; it must broadcast to them")


def kl_div(x: Tensor, y: Tensor, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """Kullback-Leibler divergence y·(log y - x), of log-probabilities `x` from probabilities `y`.

    `log_target`: `y` holds logarithms, too. `reduction`: "mean" over all elements, as in PyTorch;
    "batchmean" is the sum over the first length, which is the divergence of a mean sample.

    Raises:
        ValueError: shapes that differ, or an unknown reduction.
    """
    check_tensors("kl_div", x, y)
    if reduction == "batchmean":
        return div(kl_div(x, y, "sum", log_target), x.shape[0] if x.ndim else 1)
    _check_pair(x, y, reduction, "kl_div")
    return apply(KL_DIV, x, y, log_target=log_target, reduction=reduction)


def check_reduction(reduction: str, name: str) -> None:
    """Refuse a reduction that is not one.

    Raises:
        ValueError: it is not.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(
            f"reduction={reduction!r} was given to {name}; it must be one of "
            f"{', '.join(REDUCTIONS)}"
        )


def _check_pair(x: Tensor, y: Tensor, reduction: str, name: str) -> None:
    check_reduction(reduction, name)
    check_tensors(name, x, y)
    if x.shape != y.shape:
        raise ValueError(
            f"{name} was given shapes {x.shape} and {y.shape}; they must be equal, or a missing "
            "dimension would silently compare everything with everything"
        )
