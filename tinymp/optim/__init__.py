"""Optimizers, learning-rate schedules and gradient clipping."""

from __future__ import annotations

from tinymp.optim import lr_scheduler
from tinymp.optim.adam import Adam, AdamW
from tinymp.optim.clipping import clip_grad_norm_, clip_grad_value_
from tinymp.optim.optimizer import Optimizer
from tinymp.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "clip_grad_norm_",
    "clip_grad_value_",
    "lr_scheduler",
]
