"""Running rules without NumPy's floating-point warnings."""

from __future__ import annotations

from tinymp.formats.quiet import QUIET, quietly

__all__ = ["QUIET", "quietly"]
