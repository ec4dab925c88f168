"""How sums are made: accumulation, and the bounds of its errors."""

from __future__ import annotations
