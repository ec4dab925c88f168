"""Laws that others can hold their own encoders and operations to."""

from __future__ import annotations

from tinymp.testing.aimed import aimed_values
from tinymp.testing.gradcheck import gradcheck
from tinymp.testing.laws import LAWS, Violation, check_encoder
from tinymp.testing.operation import check_operation
from tinymp.testing.pytorch import pytorch_oracle
from tinymp.testing.rounded import assert_rounded, unit_roundoff

__all__ = [
    "LAWS",
    "Violation",
    "aimed_values",
    "assert_rounded",
    "check_encoder",
    "check_operation",
    "gradcheck",
    "pytorch_oracle",
    "unit_roundoff",
]
