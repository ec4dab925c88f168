"""Normalisation with one weight a channel: over the batch, or over groups of channels."""

from __future__ import annotations

from math import prod
from typing import Any

from tinymp.autograd import Op, Tensor, apply, no_grad
from tinymp.formats import float32, float64
from tinymp.ops.dims import check_tensors
from tinymp.ops.elementwise import cast
from tinymp.ops.inplace import copy_
from tinymp.ops.linear_algebra import check_floats
from tinymp.ops.normalization import normal_x
from tinymp.ops.reductions import mean as mean_of
from tinymp.ops.reductions import var as variance_of
from tinymp.ops.shape import reshape

Array = Any


def _batch_norm(
    xp: Any,
    x: Array,
    mean: Array,
    var: Array,
    weight: Array = None,
    bias: Array = None,
    *,
    eps: float,
    training: bool,
) -> Any:
    rstd = 1 / xp.sqrt(var + eps)
    out = (x - mean) * rstd
    if weight is not None:
        out = out * weight
    if bias is not None:
        out = out + bias
    return out, rstd


def _batch_norm_x(
    xp: Any, g: Array, x: Array, mean: Array, weight: Array, rstd: Array, training: bool
) -> Array:
    if weight is not None:
        g = g * weight
    if not training:  # the statistics are constants
        return g * rstd
    return normal_x(xp, g, (x - mean) * rstd, rstd, (0, 2))


# Statistics and parameters pass in the compute dtype and do not decide that of the result: under
# autocast a float16 image stays float16, as in PyTorch, though its weights are float32.
BATCH_NORM = Op(
    "batch_norm",
    _batch_norm,
    x=_batch_norm_x,
    weight=lambda xp, g, x, mean, rstd: g * ((x - mean) * rstd),
    bias=lambda xp, g: g,
    undecoded=("mean", "var", "weight", "bias"),
    residuals=("rstd",),
    result="float",
    accumulates="backward",
)


def _group_norm(
    xp: Any, x: Array, weight: Array = None, bias: Array = None, *, groups: int, eps: float
) -> Any:
    rows = x.reshape(x.shape[0], groups, -1)
    n = rows.shape[-1]
    mean = xp.sum(rows, -1, True) / n
    deviation = rows - mean
    rstd = 1 / xp.sqrt(xp.sum(deviation * deviation, -1, True) / n + eps)
    normal = (deviation * rstd).reshape(x.shape)
    out = normal if weight is None else normal * weight
    return (out if bias is None else out + bias), mean, rstd


def _normal(x: Array, mean: Array, rstd: Array, groups: int) -> Array:
    return ((x.reshape(x.shape[0], groups, -1) - mean) * rstd).reshape(x.shape)


def _group_norm_x(
    xp: Any, g: Array, x: Array, weight: Array, mean: Array, rstd: Array, groups: int
) -> Array:
    rows = (x.shape[0], groups, -1)
    g = (g if weight is None else g * weight).reshape(rows)
    return normal_x(xp, g, (x.reshape(rows) - mean) * rstd, rstd, (-1,)).reshape(x.shape)


GROUP_NORM = Op(
    "group_norm",
    _group_norm,
    x=_group_norm_x,
    weight=lambda xp, g, x, mean, rstd, groups: g * _normal(x, mean, rstd, groups),
    bias=lambda xp, g: g,
    residuals=("mean", "rstd"),
    result="float",
    autocast="float32",
    accumulates="both",
)


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / √(variance + eps) · weight + bias for each channel of (N, C, ...).

    The result has the dtype of `x`, whatever that of the parameters.

    In `training` mean and variance are those of the batch, over all but the channels, in float32
    (float64 for float64), and the running ones (C,), if given, move by the share `momentum` towards
    them in place (the variance towards that over n - 1). Otherwise they are the running ones.

    Raises:
        ValueError: fewer than two dimensions, a parameter that is not of shape (C,), one value a
            channel in training, no running statistics outside of it.

    Source: Ioffe & Szegedy, Batch Normalization (arXiv 1502.03167), algorithms 1 and 2.
    """
    parameters = {"weight": weight, "bias": bias}
    statistics = {"running_mean": running_mean, "running_var": running_var}
    _check_channels("batch_norm", x, parameters | statistics)
    channels = reshape(x, (*x.shape[:2], prod(x.shape[2:])))
    wide = float64 if x.dtype is float64 else float32
    if training:
        n = channels.shape[0] * channels.shape[2]
        if n == 1:
            raise ValueError(
                f"batch_norm was given a batch of shape {x.shape} in training: one value a channel "
                "has no variance; give it more, or call eval() first"
            )
        with no_grad():
            exact = cast(channels, wide)
            mean = mean_of(exact, (0, 2), keepdim=True)
            var = variance_of(exact, (0, 2), correction=0, keepdim=True)
            moved = ((running_mean, mean), (running_var, var * (n / max(n - 1, 1))))
            for running, now in moved:
                if running is not None:
                    now = reshape(cast(now, running.dtype), -1)
                    copy_(running, running + momentum * (now - running))
    elif running_mean is None or running_var is None:
        raise ValueError(
            "batch_norm was given no running statistics outside of training; give both, or "
            "training=True"
        )
    else:
        mean, var = (cast(t.detach(), wide).reshape(-1, 1) for t in (running_mean, running_var))
    columns = [None if p is None else reshape(cast(p, wide), -1, 1) for p in (weight, bias)]
    out = apply(BATCH_NORM, channels, mean, var, *columns, eps=eps, training=training)
    return reshape(out, x.shape)


def group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / √(variance + eps) · weight + bias, for each sample of (N, C, ...).

    Mean and variance are taken over `num_groups` groups of neighbouring channels, and all that
    follows these; weight and bias are of shape (C,).

    Raises:
        ValueError: fewer than two dimensions, groups that do not divide the channels, a parameter
            that is not of shape (C,).

    Source: Wu & He, Group Normalization (arXiv 1803.08494), section 3.
    """
    _check_channels("group_norm", x, {"weight": weight, "bias": bias})
    if num_groups < 1 or x.shape[1] % num_groups:
        raise ValueError(
            f"group_norm was given {num_groups} groups for {x.shape[1]} channels; the first must "
            "divide the second"
        )
    channels = reshape(x, (*x.shape[:2], prod(x.shape[2:])))
    columns = [None if p is None else reshape(p, -1, 1) for p in (weight, bias)]
    return reshape(apply(GROUP_NORM, channels, *columns, groups=num_groups, eps=eps), x.shape)


def _check_channels(name: str, x: Tensor, parameters: dict[str, Tensor | None]) -> None:
    check_tensors(name, x)
    if x.ndim < 2:
        raise ValueError(
            f"{name} was given a tensor of shape {x.shape}; it takes (N, C, ...), C channels"
        )
    given = {role: p for role, p in parameters.items() if p is not None}
    check_floats(name, *given.values())
    for role, parameter in given.items():
        if parameter.shape != x.shape[1:2]:
            raise ValueError(
                f"{name} was given a {role} of shape {parameter.shape} for a tensor of shape "
                f"{x.shape}; it must be {x.shape[1:2]}"
            )
