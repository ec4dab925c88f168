"""Does the time of a step grow in proportion to the work? A straight line, and what it misses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinymp.amp import Policy
from tinymp.bench.measure import Contestant, Race, run_race
from tinymp.bench.mlp import tinymp, work

DEPTHS = (4, 8, 16, 32, 64)
BATCHES = (256, 512, 1024, 2048, 4096)
WIDTH = 256


@dataclass(frozen=True)
class Fit:
    """The line seconds = constant + slope·x through measured times, by least squares.

    Attributes:
        of: what x counts.
        x, seconds: what was measured.
        constant, slope: of the line.
        residual: the largest distance of a time from the line, as a share of the time.
    """

    of: str
    x: Sequence[int]
    seconds: Sequence[float]
    constant: float
    slope: float
    residual: float

    def as_json(self) -> dict[str, Any]:
        """All of it as plain numbers and names."""
        return {**vars(self), "x": list(self.x), "seconds": list(self.seconds)}


def fit(of: str, x: Sequence[int], seconds: Sequence[float]) -> Fit:
    """The line that misses the times least, each relative to itself."""
    t = np.array(seconds)
    terms = np.stack([np.ones(len(x)), np.array(x, np.float64)], 1) / t[:, None]
    constant, slope = np.linalg.lstsq(terms, np.ones(len(x)), rcond=None)[0]
    residual = float(np.abs(terms @ np.array([constant, slope]) - 1).max())
    return Fit(of, x, seconds, float(constant), float(slope), residual)


def measure(rounds: int) -> list[Fit]:
    """Time steps of perceptrons of more and more layers, then on larger and larger batches."""
    by_depth = {n: ((WIDTH,) * n + (10,), 64) for n in DEPTHS}
    by_batch = {n: ((WIDTH, WIDTH, WIDTH, 10), n) for n in BATCHES}
    fits = []
    for of, shapes in (("layers", by_depth), ("examples in a batch", by_batch)):

        def enter(shapes: dict[int, Any] = shapes) -> list[Contestant]:
            return [Contestant(str(n), tinymp(work(*s), Policy())) for n, s in shapes.items()]

        result = run_race(Race(of, str(min(shapes)), enter), rounds)
        fits.append(fit(of, list(shapes), [result.seconds(str(n)).median for n in shapes]))
    return fits
