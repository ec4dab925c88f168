"""A loss scale that only falls: what is wrong? A smaller scale cures overflow, but never a NaN.

A scaler sees no more than gradients that are not finite, and halves its scale. If the loss itself
is NaN, it would do so down to zero, one skipped step after the other, while nothing is trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

#: Steps in a row with inf or NaN, at one and the same scale, after which they are reported.
PATIENCE = 20

_ADVICE = (
    "Look for NaN in the data, for activations above float16's largest value 65504 in the "
    "forward pass, and for log(0), 0/0 or the square root of 0 in the loss; lower the learning "
    "rate; or try bfloat16, which has float32's range."
)


class LossScaleWarning(RuntimeWarning):
    """Steps are being skipped for a reason that no loss scale can mend."""


class ScaleRecord(NamedTuple):
    """One step as the scaler saw it.

    `step`: number of the update, from 0. `scale`: the scale of that step's losses. `largest`: the
    largest absolute value in the unscaled gradients, inf or NaN included. `found_inf`: whether it
    was one of these. `skipped`: whether an optimizer's step was left out for it.
    """

    step: int
    scale: float
    largest: float
    found_inf: bool
    skipped: bool


def diagnose(trace: Sequence[ScaleRecord], scale: float, losses: Sequence[float]) -> str | None:
    """What is wrong, in words; None while it looks like ordinary overflow.

    `trace` ends with a step in which inf or NaN was found, `scale` is the one that follows, and
    `losses` are that step's losses before scaling. Each kind of trouble is told once in a run.
    """
    last = trace[-1]
    run = sum(1 for _ in takewhile(lambda record: record.found_inf, reversed(trace)))
    broken = [loss for loss in losses if not math.isfinite(loss)]
    found = f"inf or NaN in the gradients of {run} step{'s' if run > 1 else ''} in a row"
    if scale == 0:
        trouble = f"the loss scale has fallen to 0 after {found}: no gradient is left"
    elif run == 1 and broken:
        trouble = (
            f"step {last.step} was skipped because its loss was {broken[0]} before scaling: that "
            "is no overflow of gradients, and no loss scale can mend it"
        )
    elif scale < 1 <= last.scale:
        trouble = (
            f"the loss scale has fallen to {scale:g} after {found}: at 1 nothing is scaled up any "
            "more, so scaling is not what made them overflow"
        )
    elif run == PATIENCE and scale == last.scale:
        trouble = f"{found}, and the policy keeps the loss scale at {scale:g}: nothing is trained"
    else:
        return None
    return f"{trouble}. {_ADVICE}"
