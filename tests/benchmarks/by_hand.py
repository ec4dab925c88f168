"""The step written by hand. It ships with the package, so that `tinymp bench` has it everywhere."""

from __future__ import annotations

from tinymp.bench.by_hand import MLP

__all__ = ["MLP"]
