"""What did a real tensor core return? A few recordings, for lesson 3."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import numpy as np


def recorded_tiles() -> dict[str, np.ndarray[Any, Any]]:
    """Products of small FP16 matrices, D = A·B + C, by single instructions of an NVIDIA H200.

    Eight tiles of `mma.sync` m16n8k16, two of each kind: moderate values, values of widely
    different size, sums that cancel, and sums where C dominates. All values are finite.

    Returns:
        float16 `a` (8, 16, 16) and `b` (8, 16, 8), float32 `c` and `d` (8, 16, 8).
    """
    with files("tinymp.course").joinpath("h200_tiles.npz").open("rb") as file:
        words = dict(np.load(file, allow_pickle=False))
    values = {name: np.float16 if name in "ab" else np.float32 for name in "abcd"}
    return {name: words[name].view(dtype) for name, dtype in values.items()}
