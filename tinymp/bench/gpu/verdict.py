"""A figure beside the one that it must reach, and the one that is aimed at."""

from __future__ import annotations

from typing import Any, NamedTuple


class Verdict(NamedTuple):
    """What was reached.

    Attributes:
        what: the figure means.
        figure: measured.
        must, aim: where it is to be; None for no aim.
        at_least: whether larger is better.
    """

    what: str
    figure: float
    must: float
    aim: float | None = None
    at_least: bool = False

    def meets(self, goal: float) -> bool:
        """Whether the figure is there."""
        return self.figure >= goal if self.at_least else self.figure <= goal

    def as_json(self) -> dict[str, Any]:
        """All of it as plain numbers and names."""
        return {**self._asdict(), "met": self.meets(self.must)}
