"""How fast is it, and beside whom? Casts, operations and training steps, timed in one run."""

from __future__ import annotations

from tinymp.bench.measure import Contestant, Race, Result, Timing, run_race

__all__ = ["Contestant", "Race", "Result", "Timing", "run_race"]
