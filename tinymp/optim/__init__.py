"""Optimizers, learning-rate schedules and gradient clipping."""

from __future__ import annotations

from tinymp.optim.adam import Adam, AdamW
from tinymp.optim.optimizer import Optimizer
from tinymp.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
]
