"""What a comparison says: mean and spread over seeds, and a verdict on each policy."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np

from tinymp.amp.policy import get_policy
from tinymp.inspect import Ledger
from tinymp.train.compare import Run
from tinymp.train.configuration import Configuration

REFERENCE = "fp32"
NOISE, WORSE = 2.0, 3.0  # in pooled standard deviations

#: Verdicts, from good to bad.
VERDICTS = ("better", "within noise", "unclear", "worse", "divergent")

_ROUNDING = {"nearest_even": "nearest", "toward_zero": "truncated", "stochastic": "stochastic"}


@dataclass(frozen=True)
class Summary:
    """The runs of one policy, one for each seed.

    Attributes:
        policy: its name.
        runs: one or more.
    """

    policy: str
    runs: tuple[Run, ...]

    def mean(self, name: str) -> float:
        """Mean of an attribute of the runs over the seeds."""
        return fmean(getattr(run, name) for run in self.runs)

    def spread(self, name: str) -> float:
        """Standard deviation over the seeds (with n - 1); 0 for a single seed."""
        values = [getattr(run, name) for run in self.runs]
        return stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else 0.0

    @property
    def diverged(self) -> int:
        """Number of runs that ended with an infinite or NaN loss."""
        return sum(not math.isfinite(run.loss) for run in self.runs)

    @property
    def memory(self) -> Ledger:
        """Bytes by kind; the same for each seed."""
        return Ledger(self.runs[0].memory)

    @property
    def rounding(self) -> str:
        """How the policy rounds to formats below float32, in words."""
        policy = get_policy(self.policy)
        if policy.param.itemsize >= 4 and not policy.autocasts:
            return "none"
        words = _ROUNDING[policy.rounding]
        own = policy.update_rounding
        return f"{words}, updates {_ROUNDING[own]}" if own else words


def summaries(runs: Sequence[Run]) -> list[Summary]:
    """The runs by policy, in the order in which policies first occur."""
    names = list(dict.fromkeys(run.policy for run in runs))
    return [Summary(name, tuple(run for run in runs if run.policy == name)) for name in names]


def distance(found: Summary, reference: Summary) -> float:
    """By how many pooled standard deviations the mean test loss is above the reference's.

    The pooled deviation is √((s₁² + s₂²)/2), that of the seeds: it tells how much luck matters.
    (Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd edition, 1988, chapter 2.)
    """
    difference = found.mean("loss") - reference.mean("loss")
    pooled = math.sqrt((found.spread("loss") ** 2 + reference.spread("loss") ** 2) / 2)
    if pooled == 0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / pooled


def verdict(found: Summary, reference: Summary) -> str:
    """One of `VERDICTS`; "" for a single seed, which says nothing about noise."""
    if found.diverged:
        return "divergent"
    if min(len(found.runs), len(reference.runs)) < 2 or reference.diverged:
        return ""
    d = distance(found, reference)
    if abs(d) < NOISE:
        return "within noise"
    if abs(d) <= WORSE:
        return "unclear"
    return "worse" if d > 0 else "better"


def recovered(plain: Summary, remedied: Summary, reference: Summary) -> float:
    """Share of the gap in test loss from `plain` to the reference that `remedied` closes."""
    gap = plain.mean("loss") - reference.mean("loss")
    return (plain.mean("loss") - remedied.mean("loss")) / gap if gap else math.nan


def recoveries(found: Sequence[Summary]) -> list[tuple[str, str, float]]:
    """(plain, remedied, share) for each policy without masters that is worse, and its remedies.

    The remedies have no masters either: stochastic rounding, or compensated updates.
    """
    by_name = {summary.policy: summary for summary in found}
    reference = by_name.get(REFERENCE)
    if reference is None:
        return []
    pairs = []
    for plain in found:
        if "-naive" not in plain.policy or "stochastic" in plain.rounding:
            continue
        if verdict(plain, reference) != "worse":
            continue
        for remedied in found:
            policy = get_policy(remedied.policy)
            same_format = policy.param is get_policy(plain.policy).param
            if same_format and ("stochastic" in remedied.rounding or policy.compensated):
                share = recovered(plain, remedied, reference)
                pairs.append((plain.policy, remedied.policy, share))
    return pairs


def as_json(configurations: Sequence[Configuration], runs: Sequence[Run]) -> str:
    """All figures: settings, summaries and every run. NaN and infinity become null."""
    found = summaries(runs)
    reference = next((summary for summary in found if summary.policy == REFERENCE), None)
    settings = configurations[0].as_dict()
    document = {
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "machine": platform.machine(),
        },
        "settings": {name: settings[name] for name in settings if name not in ("policy", "seed")},
        "policies": [_figures(summary, reference) for summary in found],
        "gap_recovered": [
            {"of": plain, "by": remedied, "share": share}
            for plain, remedied, share in recoveries(found)
        ],
        "runs": [asdict(run) for run in runs],
    }
    return json.dumps(_finite(document), indent=1, allow_nan=False) + "\n"


def _figures(found: Summary, reference: Summary | None) -> dict[str, Any]:
    return {
        "policy": found.policy,
        "rounding": found.rounding,
        "seeds": len(found.runs),
        "diverged": found.diverged,
        "loss": found.mean("loss"),
        "loss_spread": found.spread("loss"),
        "accuracy": found.mean("accuracy"),
        "accuracy_spread": found.spread("accuracy"),
        "verdict": verdict(found, reference) if reference else "",
        "pooled_deviations": distance(found, reference) if reference else math.nan,
    }


def _finite(value: Any) -> Any:
    """`value` with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
