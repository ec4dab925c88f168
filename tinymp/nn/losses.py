"""Losses, as modules."""

from __future__ import annotations

from tinymp import ops
from tinymp.autograd import Tensor
from tinymp.nn.module import Module


class CrossEntropyLoss(Module):
    """-log softmax(x)[label] of logits and int64 labels; `reduction` is "mean", "sum" or "none"."""

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """x: (N, C, ...); labels: (N, ...)."""
        return ops.cross_entropy(x, labels, self.reduction)


class MSELoss(Module):
    """(x - y)²; `reduction` is "mean", "sum" or "none"."""

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x and y: the same shape."""
        return ops.mse_loss(x, y, self.reduction)
