"""How a run went, epoch by epoch: the lines of `history.jsonl`."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch of training.

    Attributes:
        epoch: its number, from 1.
        loss: mean training loss of its steps.
        test_loss: mean loss over the test set after it.
        test_accuracy: share of the test set classified correctly after it, 0 to 1.
        lr: learning rate of the last step.
        loss_scale: loss scale after it; 1 without loss scaling.
        skipped_steps: steps skipped from the beginning of the run because of an inf or NaN.
        seconds: time it took.
        step_losses: training loss of each step.
        step_scales: loss scale that each step used.
        step_skipped: whether each step was skipped.
    """

    epoch: int
    loss: float
    test_loss: float
    test_accuracy: float
    lr: float
    loss_scale: float
    skipped_steps: int
    seconds: float
    step_losses: list[float]
    step_scales: list[float]
    step_skipped: list[bool]

    def as_line(self) -> str:
        """The record as a line of JSON, which has no NaN and no infinity: null stands for both."""
        return json.dumps(_finite_or_null(asdict(self)), allow_nan=False) + "\n"

    @classmethod
    def from_line(cls, line: str) -> EpochRecord:
        """The record of a line; null becomes NaN."""
        return cls(**_nan_for_null(json.loads(line)))


def _finite_or_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite_or_null(x) for key, x in value.items()}
    if isinstance(value, list):
        return [_finite_or_null(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _nan_for_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nan_for_null(x) for key, x in value.items()}
    if isinstance(value, list):
        return [_nan_for_null(x) for x in value]
    return math.nan if value is None else value
