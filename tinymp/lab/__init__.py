"""The numerics laboratory: experiments about sums, products, updates and loss scales.

Each is a function that returns a `Result`: `print(mp.lab.sums().table())`, `.plot("sums.png")`.
"""

from __future__ import annotations

from tinymp.lab.dots import dots
from tinymp.lab.experiments import EXPERIMENTS, Experiment, get_experiment
from tinymp.lab.matmul import matmul
from tinymp.lab.result import Curve, Panel, Result
from tinymp.lab.scale import scale
from tinymp.lab.sums import sums
from tinymp.lab.updates import updates

__all__ = [
    "EXPERIMENTS",
    "Curve",
    "Experiment",
    "Panel",
    "Result",
    "dots",
    "get_experiment",
    "matmul",
    "scale",
    "sums",
    "updates",
]
