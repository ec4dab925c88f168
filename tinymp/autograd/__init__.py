"""The engine: tensors, the graph they leave behind, and the walk back through it."""

from __future__ import annotations

from tinymp.autograd.backward import run_backward
from tinymp.autograd.contract import Operand
from tinymp.autograd.dispatch import apply
from tinymp.autograd.modes import enable_grad, is_grad_enabled, no_grad
from tinymp.autograd.op import Op
from tinymp.autograd.tensor import Tensor

__all__ = [
    "Op", "Operand", "Tensor", "apply", "enable_grad", "is_grad_enabled", "no_grad", "run_backward",
]  # fmt: skip
