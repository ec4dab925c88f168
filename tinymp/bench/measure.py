"""Timing contestants beside each other, so that what disturbs the machine disturbs them alike.

All contestants of a race take turns: in each round every one runs once, for long enough that the
clock is no source of error. Ratios are formed within a round, and their median over the rounds is
reported, with the quartiles as spread. Processor time is taken beside the clock: it counts all
threads, and shows who is fast because it uses more cores, or waits for them actively.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Any, NamedTuple

# Threads of a library go on looking for work for a while and take a core from whoever comes next. A
# turn is measured when they sleep, and the contestant itself has been at work so long: a processor
# that had nothing to do is slower for a while, and caches are still another one's.
_WARM_UP = 0.05

_PARTS = 20  # of a turn, each timed by itself


class Contestant(NamedTuple):
    """Someone who does the work of a race: a name, and a function that does the work once."""

    name: str
    run: Callable[[], Any]


@dataclass(frozen=True)
class Race:
    """Work that several contestants do.

    Attributes:
        name: what is measured.
        baseline: the contestant by whose time the others' are divided.
        enter: makes the contestants; those whose library is missing do not come.
        speed: whether figures are speeds over the baseline's, not times.
        goals: for a contestant, the ratio it must and the one it is meant to reach.
    """

    name: str
    baseline: str
    enter: Callable[[], list[Contestant]]
    speed: bool = False
    goals: dict[str, tuple[float, float]] | None = None


class Timing(NamedTuple):
    """Times of one contestant, in seconds for doing the work once, one of each round."""

    clock: list[float]
    processor: list[float]


class Spread(NamedTuple):
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Result:
    """What a race gave: the timings by contestant."""

    race: Race
    timings: dict[str, Timing]

    def seconds(self, name: str) -> Spread:
        """Time for doing the work once."""
        return spread(self.timings[name].clock)

    def ratio(self, name: str) -> Spread | None:
        """Time over the baseline's (for speeds the reverse), of each round; None without one."""
        if self.race.baseline not in self.timings:
            return None
        base, own = self.timings[self.race.baseline].clock, self.timings[name].clock
        pairs = zip(own, base, strict=True)
        return spread([b / t if self.race.speed else t / b for t, b in pairs])

    def as_json(self) -> dict[str, Any]:
        """All of it as plain numbers and names, times in seconds."""
        return {
            "race": self.race.name,
            "baseline": self.race.baseline,
            "ratio_of": "speed" if self.race.speed else "time",
            "contestants": {
                name: {
                    "seconds": self.seconds(name)._asdict(),
                    "fastest": min(timing.clock),
                    "processor_seconds": median(timing.processor),
                    "ratio": None if (ratio := self.ratio(name)) is None else ratio._asdict(),
                    "goals": (self.race.goals or {}).get(name),
                }
                for name, timing in self.timings.items()
            },
        }


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles of at least one value."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, middle, high = quantiles(values, method="inclusive")
    return Spread(middle, low, high)


def run_race(race: Race, rounds: int, turn: float = 0.02) -> Result:
    """Let the contestants take `rounds` turns of about `turn` seconds each (one call at least).

    Raises:
        ValueError: less than one round.
    """
    if rounds < 1:
        raise ValueError(f"a race needs at least one round, but {rounds} was given")
    contestants = race.enter()
    calls = [_calls(contestant.run, turn) for contestant in contestants]
    timings = {contestant.name: Timing([], []) for contestant in contestants}
    for _ in range(rounds):
        for (name, run), n in zip(contestants, calls, strict=True):
            _warm_up(run)
            clock, processor = _time(run, n)
            timings[name].clock.append(clock)
            timings[name].processor.append(processor)
    return Result(race, timings)


def _warm_up(run: Callable[[], Any]) -> None:
    begin = perf_counter()
    while perf_counter() - begin < _WARM_UP:
        run()


def _time(run: Callable[[], Any], calls: int) -> tuple[float, float]:
    """Seconds of the clock and of the processor for one call, of so many at least.

    The clock's are the median of several parts: what interrupts one of them does not count.
    """
    part = -(-calls // _PARTS)
    parts = -(-calls // part)
    clock, processor = [], process_time()
    for _ in range(parts):
        begin = perf_counter()
        for _ in range(part):
            run()
        clock.append((perf_counter() - begin) / part)
    return median(clock), (process_time() - processor) / (parts * part)


def _calls(run: Callable[[], Any], turn: float) -> int:
    """How many calls make a turn."""
    run()  # the first call may compile, import or allocate
    calls = 1
    while (elapsed := _time(run, calls)[0] * calls) < turn:
        calls = max(2 * calls, min(int(1.1 * turn / max(elapsed, 1e-9) * calls), 10 * calls))
    return calls
