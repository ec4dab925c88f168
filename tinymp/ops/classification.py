"""Losses of class scores against class labels, each computed whole in one operation."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.autograd import Op, Tensor, apply
from tinymp.autograd.modes import decide
from tinymp.ops.losses import check_reduction
from tinymp.ops.shape import permute, reshape

Array = Any


def _rows(
    xp: Any, labels: Array, weight: Array, ignore_index: int | None, dtype: Any
) -> tuple[Array, Array, Array]:
    """Which rows count, their labels (0 for the others), and the weights of these labels.

    The first is None where all do (`ignore_index` is None), the last where all weights are 1.
    """
    if ignore_index is None:
        return None, labels, None if weight is None else weight[labels]
    counts = labels != ignore_index
    labels = xp.where(counts, labels, 0)
    each = counts.astype(dtype) if weight is None else xp.where(counts, weight[labels], 0)
    return counts, labels, each


def _chosen(xp: Any, x: Array, labels: Array) -> Array:
    """In each row, the element that the label names."""
    return x[xp.arange(len(labels)), labels]


def _reduced(xp: Any, losses: Array, counts: Array, each: Array, reduction: str) -> Array:
    """The mean is that of the rows that count, by their weights."""
    if counts is not None:
        losses = xp.where(counts, losses, 0)
    if reduction == "none":
        return losses
    total = xp.sum(losses)
    return total / _total(xp, losses, each) if reduction == "mean" else total


def _total(xp: Any, rows: Array, each: Array) -> Array | int:
    """The weights of all rows together."""
    return len(rows) if each is None else xp.sum(each)


def _spread(xp: Any, g: Array, labels: Array, each: Array, reduction: str) -> Array:
    """The gradient that each loss receives, as a column."""
    if reduction == "none":
        return g[:, None]
    # A scalar is divided five times as fast as an array without axes.
    return g[()] / _total(xp, labels, each) if reduction == "mean" else g


def _cross_entropy(
    xp: Any,
    x: Array,
    labels: Array,
    weight: Array = None,
    *,
    ignore_index: int | None,
    reduction: str,
    smoothing: float,
) -> Any:
    highest = xp.max(x, axis=1, keepdims=True)
    e = x - highest
    xp.exp(e, out=e)
    logsumexp = (xp.log(xp.sum(e, 1, True)) + highest)[:, 0]
    counts, labels, each = _rows(xp, labels, weight, ignore_index, x.dtype)
    losses = logsumexp - _chosen(xp, x, labels)
    if each is not None:
        losses *= each
    if smoothing:
        missed = logsumexp[:, None] - x
        every = xp.sum(missed if weight is None else missed * weight, 1)
        losses = (1 - smoothing) * losses + smoothing / x.shape[1] * every
    return _reduced(xp, losses, counts, each, reduction), logsumexp


def _cross_entropy_x(
    xp: Any,
    g: Array,
    x: Array,
    labels: Array,
    weight: Array,
    logsumexp: Array,
    ignore_index: int | None,
    reduction: str,
    smoothing: float,
) -> Array:
    """Softmax minus the label's distribution: one-hot, or partly spread over all classes."""
    counts, labels, each = _rows(xp, labels, weight, ignore_index, x.dtype)
    hot = 1 if weight is None else each
    gradient = x - logsumexp[:, None]
    xp.exp(gradient, out=gradient)
    if weight is not None or smoothing:
        classes = x.shape[1]
        every = smoothing / classes * (xp.ones(classes, x.dtype) if weight is None else weight)
        gradient *= xp.reshape((1 - smoothing) * hot + xp.sum(every), (-1, 1))
        gradient -= every
    gradient[xp.arange(len(labels)), labels] -= (1 - smoothing) * hot
    gradient *= _spread(xp, g, labels, each, reduction)
    if counts is not None:
        gradient[~counts] = 0
    return gradient


CROSS_ENTROPY = Op(
    "cross_entropy",
    _cross_entropy,
    x=_cross_entropy_x,
    undecoded=("labels",),
    residuals=("logsumexp",),
    result="float",
    autocast="float32",
    accumulates="both",
)


def _nll(
    xp: Any,
    x: Array,
    labels: Array,
    weight: Array = None,
    *,
    ignore_index: int | None,
    reduction: str,
) -> Array:
    counts, labels, each = _rows(xp, labels, weight, ignore_index, x.dtype)
    losses = -_chosen(xp, x, labels)
    return _reduced(xp, losses if each is None else losses * each, counts, each, reduction)


def _nll_x(
    xp: Any,
    g: Array,
    labels: Array,
    weight: Array,
    x_shape: tuple[int, ...],
    ignore_index: int | None,
    reduction: str,
) -> Array:
    counts, labels, each = _rows(xp, labels, weight, ignore_index, g.dtype)
    gradient = xp.zeros(x_shape, g.dtype)
    gradient[xp.arange(len(labels)), labels] = -1 if each is None else -each
    gradient *= _spread(xp, g, labels, each, reduction)
    if counts is not None:
        gradient[~counts] = 0  # also where no row counts, and the mean divides by 0
    return gradient


NLL = Op(
    "nll_loss",
    _nll,
    x=_nll_x,
    undecoded=("labels",),
    result="float",
    autocast="float32",
    accumulates="both",
)


def cross_entropy(
    x: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(x)[label], from logits of shape (N, C), (C,) or (N, C, d...) and int64 labels.

    `weight`: a factor for each class, (C,). `ignore_index`: a label that does not count.
    `reduction`: "mean" and "sum" over all labels that count ("mean" by their weights), or "none": a
    loss for each. `label_smoothing`: the share of each label that is spread over all classes.

    Raises:
        TypeError: labels that are no int64 tensor.
        ValueError: shapes that do not fit, a label outside 0 ... C-1, an unknown reduction, a
            smoothing outside [0, 1].

    Source of smoothing: Szegedy et al., Rethinking the Inception Architecture (arXiv 1512.00567),
    section 7.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(
            f"cross_entropy was given label_smoothing={label_smoothing}; it is a share, from 0 to 1"
        )
    rows, numbers, ignored = _as_rows("cross_entropy", x, labels, weight, ignore_index, reduction)
    loss = apply(
        CROSS_ENTROPY,
        rows,
        numbers,
        weight,
        ignore_index=ignored,
        reduction=reduction,
        smoothing=label_smoothing,
    )
    return reshape(loss, labels.shape) if reduction == "none" and rows is not x else loss


def nll_loss(
    x: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-x[label], from log-probabilities of shape (N, C), (C,) or (N, C, d...) and int64 labels.

    With `log_softmax` in front it is `cross_entropy`, rounded once more; for the rest see there.

    Raises:
        TypeError: labels that are no int64 tensor.
        ValueError: shapes that do not fit, a label outside 0 ... C-1, an unknown reduction.
    """
    rows, numbers, ignored = _as_rows("nll_loss", x, labels, weight, ignore_index, reduction)
    loss = apply(NLL, rows, numbers, weight, ignore_index=ignored, reduction=reduction)
    return reshape(loss, labels.shape) if reduction == "none" and rows is not x else loss


def _as_rows(
    name: str,
    x: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
) -> tuple[Tensor, Tensor, int | None]:
    """Logits as one row for each label, the labels, and `ignore_index` if it has to be looked for.

    What was given is checked on the way.
    """
    check_reduction(reduction, name)
    if not isinstance(labels, Tensor) or labels.dtype.kind != "int":
        kind = labels.dtype.name if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"{name} was given {kind} labels; they are class numbers, an int64 tensor")
    given = x.shape
    shape = given[:1] + given[2:] if len(given) > 1 else ()
    if not given or labels.shape != shape:
        raise ValueError(
            f"{name} was given logits of shape {given} and labels of shape "
            f"{labels.shape}; with logits of shape (N, C, ...) the labels have shape (N, ...), "
            f"here {shape}"
        )
    classes = given[1] if len(given) > 1 else given[0]
    if weight is not None and weight.shape != (classes,):
        raise ValueError(
            f"{name} was given a weight of shape {weight.shape}; it must hold one number for "
            f"each of {classes} classes"
        )
    ignored = None if decide(_all_count, labels, name, classes, ignore_index) else ignore_index
    if len(given) != 2:  # classes last, then one row a label
        x = reshape(permute(x, (0, *range(2, x.ndim), 1)) if x.ndim > 2 else x, -1, classes)
        labels = reshape(labels, -1)
    return x, labels, ignored


def _all_count(labels: Tensor, name: str, classes: int, ignore_index: int) -> bool:
    """Refuse labels that are no class; whether all are one, so that none is ignored."""
    numbers = labels._array
    if labels._device.kernels is not None:
        # Asked on the GPU, without waiting for the answer: the labels may hold any number.
        complaint = (
            f"{name} was given the label {{}}; with {classes} classes labels are 0 to "
            f"{classes - 1}, or ignore_index={ignore_index}"
        )
        labels._device.check_range(numbers, 0, classes, ValueError, complaint, allowed=ignore_index)
        return False
    unsigned = numbers.view(np.uint64)  # as such, negative ones are large
    if numbers.size == 0 or unsigned.item(unsigned.argmax()) < classes:
        return not 0 <= ignore_index < classes
    wrong = (unsigned >= classes) & (numbers != ignore_index)
    if wrong.any():
        first = int(wrong.reshape(-1).argmax())
        place = [int(i) for i in np.unravel_index(first, labels.shape)]
        raise ValueError(
            f"{name} was given the label {int(numbers.reshape(-1)[first])} at {place}; with "
            f"{classes} classes labels are 0 to {classes - 1}, or ignore_index={ignore_index}"
        )
    return False
