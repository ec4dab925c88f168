"""Losses, as modules. Each has a `reduction`: "mean", "sum" or "none"."""

from __future__ import annotations

from tinymp import ops
from tinymp.autograd import Tensor
from tinymp.nn.module import Module


class CrossEntropyLoss(Module):
    """-log softmax(x)[label] of logits and int64 labels; see `functional.cross_entropy`.

    `weight` is a buffer: it moves with the module, and is not learned.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.label_smoothing = label_smoothing

    weight: Tensor | None

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """x: (N, C, ...); labels: (N, ...)."""
        return ops.cross_entropy(
            x, labels, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )


class NLLLoss(Module):
    """-x[label] of log-probabilities and int64 labels; see `functional.nll_loss`."""

    def __init__(
        self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = reduction

    weight: Tensor | None

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """x: (N, C, ...); labels: (N, ...)."""
        return ops.nll_loss(x, labels, self.weight, self.ignore_index, self.reduction)


class BCEWithLogitsLoss(Module):
    """Binary cross entropy of logits; see `functional.binary_cross_entropy_with_logits`."""

    def __init__(
        self,
        weight: Tensor | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)
        self.reduction = reduction

    weight: Tensor | None
    pos_weight: Tensor | None

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x and y: the same shape; y from 0 to 1."""
        return ops.binary_cross_entropy_with_logits(
            x, y, self.weight, self.reduction, self.pos_weight
        )


class BCELoss(Module):
    """Binary cross entropy of probabilities; see `functional.binary_cross_entropy`."""

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean") -> None:
        self.register_buffer("weight", weight)
        self.reduction = reduction

    weight: Tensor | None

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x and y: the same shape, both from 0 to 1."""
        return ops.binary_cross_entropy(x, y, self.weight, self.reduction)


class MSELoss(Module):
    """(x - y)²."""

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x and y: the same shape."""
        return ops.mse_loss(x, y, self.reduction)


class L1Loss(Module):
    """|x - y|."""

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x and y: the same shape."""
        return ops.l1_loss(x, y, self.reduction)


class HuberLoss(Module):
    """(x - y)²/2 where |x - y| ≤ `delta`, from there on with constant slope."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        self.reduction = reduction
        self.delta = delta

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x and y: the same shape."""
        return ops.huber_loss(x, y, self.reduction, self.delta)


class SmoothL1Loss(Module):
    """The Huber loss with `delta` = `beta`, divided by `beta`."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        self.reduction = reduction
        self.beta = beta

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x and y: the same shape."""
        return ops.smooth_l1_loss(x, y, self.reduction, self.beta)


class KLDivLoss(Module):
    """Kullback-Leibler divergence of log-probabilities; `reduction` may be "batchmean", too."""

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        self.reduction = reduction
        self.log_target = log_target

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x and y: the same shape."""
        return ops.kl_div(x, y, self.reduction, self.log_target)
