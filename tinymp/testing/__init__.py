"""Laws that others can hold their own operations to: gradients, and rounding once."""

from __future__ import annotations

from tinymp.testing.gradcheck import gradcheck
from tinymp.testing.operation import check_operation
from tinymp.testing.pytorch import pytorch_oracle
from tinymp.testing.rounded import assert_rounded, unit_roundoff

__all__ = ["assert_rounded", "check_operation", "gradcheck", "pytorch_oracle", "unit_roundoff"]
