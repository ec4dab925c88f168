"""Races on a GPU, whose figures are rates: operations or bytes a second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinymp.bench.gpu.clock import run_gpu_race
from tinymp.bench.gpu.memory import give_back
from tinymp.bench.measure import Race, Result

TERAFLOPS, TERABYTES = "TFLOP/s", "TB/s"


@dataclass(frozen=True)
class GpuRace(Race):
    """Work that several contestants do on a GPU; see `bench.Race`.

    Attributes:
        work: operations or bytes of doing it once; 0 where only time counts.
        unit: TERAFLOPS or TERABYTES.
        gapless: whether kernels alone are timed, or the time between them, too.
    """

    work: float = 0.0
    unit: str = TERAFLOPS
    gapless: bool = True

    def run(self, rounds: int) -> Result:
        """Let the contestants take turns, in the memory that nobody uses."""
        give_back()
        return run_gpu_race(self, rounds, self.gapless)

    def rate(self, seconds: float) -> float:
        """In `unit`, for doing the work once in so many seconds."""
        return self.work / seconds / 1e12


def as_json(result: Result) -> dict[str, Any]:
    """A result as plain numbers and names, with rates."""
    race = result.race
    assert isinstance(race, GpuRace)
    found = result.as_json()
    for name, entry in found["contestants"].items():
        entry["host_seconds"] = entry.pop("processor_seconds")
        if race.work:
            entry["rate"] = race.rate(result.seconds(name).median)
    return {**found, "work": race.work, "unit": race.unit}
