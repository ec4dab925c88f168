"""Functions made of functions: their gradients, their recomputation, their text as plain NumPy."""

from __future__ import annotations

from tinymp.transforms.capture import Captured, capture
from tinymp.transforms.checkpoint import checkpoint
from tinymp.transforms.gradients import grad, value_and_grad

__all__ = ["Captured", "capture", "checkpoint", "grad", "value_and_grad"]
