"""What a step of training takes and what it leaves: parts of a batch, and a record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from tinymp.autograd import Tensor


@dataclass(frozen=True)
class StepRecord:
    """One step: its mean loss, the loss scale it used, and whether it was skipped."""

    loss: float
    scale: float
    skipped: bool


def microbatches(
    inputs: Tensor, targets: Tensor, count: int
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Parts of a batch, as equal as can be, and the share of the batch that each is."""
    if count == 1:
        yield inputs, targets, 1.0
        return
    bounds = [len(inputs) * i // count for i in range(count + 1)]
    for start, end in pairwise(bounds):
        if end > start:  # a last batch may have fewer examples than there are parts
            yield inputs[start:end], targets[start:end], (end - start) / len(inputs)
