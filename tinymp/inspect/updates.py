"""Which updates of weights are lost in rounding, and which are amplified?

A weight w should become w + u, and becomes the number that this rounds to: w + applied. An update
that is small beside its weight vanishes, which is one of the reasons for float32 master weights
(Micikevicius et al., Mixed Precision Training, arXiv 1710.03740, section 3.1).

Under rounding to nearest, |applied| ≤ 2|u|, because w itself is a number at distance |u| from
w + u. Truncation knows no such bound: 1 - 2^-20 becomes 1 - 2^-8 in BF16. So there are three
counts: lost, amplified (|applied| > |u|) and, of these, more than doubled.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinymp.autograd import Tensor
from tinymp.devices import device_of
from tinymp.formats import unpack
from tinymp.inspect.text import percent, table
from tinymp.nn import Module
from tinymp.numerics.kit import compute_type
from tinymp.optim import Optimizer
from tinymp.optim.update import step_for

Array = Any


@dataclass(frozen=True)
class UpdateReport:
    """Counts of updates, and how much of them arrived.

    Attributes:
        total: number of weights.
        intended: updates other than zero.
        lost: of these, those that left the weight as it was.
        amplified: of these, those that moved it by more than intended, in either direction.
        more_than_doubled: of these, by more than twice as much, which one rounding to nearest never
            does (two in a row, through float32, do so rarely).
        sum_intended, sum_applied: sums of |u| and |applied|, where both are finite.
    """

    total: int = 0
    intended: int = 0
    lost: int = 0
    amplified: int = 0
    more_than_doubled: int = 0
    sum_intended: float = 0.0
    sum_applied: float = 0.0

    @property
    def lost_share(self) -> float:
        """Share of the intended updates that were lost; 0 where none was intended."""
        return self.lost / self.intended if self.intended else 0.0

    @property
    def amplified_share(self) -> float:
        """Share of the intended updates that were amplified; 0 where none was intended."""
        return self.amplified / self.intended if self.intended else 0.0

    def __add__(self, other: UpdateReport) -> UpdateReport:
        pairs = zip(self._counts(), other._counts(), strict=True)
        return UpdateReport(*[a + b for a, b in pairs])

    def _counts(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__dataclass_fields__)

    def __str__(self) -> str:
        counts = {
            "lost": self.lost,
            "amplified": self.amplified,
            "  more than doubled": self.more_than_doubled,
        }
        lines = [(name, f"{n:,}", percent(n, self.intended)) for name, n in counts.items()]
        title = f"{self.intended:,} updates of {self.total:,} weights"
        return f"{title}\n{table(('updates', 'number', 'share'), lines, right=(1, 2))}"


def update_report(before: Any, after: Any, intended: Any) -> UpdateReport:
    """Compare the update that a step applied with the one that it intended.

    Args:
        before, after: a tensor or array of weights before and after the step.
        intended: what was to be added to them, u in w + u, of the same shape.

    The comparison is exact: the difference after - before is taken with its rounding error.
    Weights and updates that are not finite count as intended, but as neither lost nor amplified.

    Raises:
        ValueError: shapes that differ.
    """
    w, new, u = (_float64(x) for x in (before, after, intended))
    if not w.shape == new.shape == u.shape:
        raise ValueError(
            f"update_report was given weights of shape {w.shape} before, {new.shape} after and "
            f"updates of shape {u.shape}; the shapes must be equal"
        )
    with np.errstate(all="ignore"):
        applied, error = _exact_difference(new, w)
        finite = np.isfinite(applied) & np.isfinite(u)
        wanted = (u != 0) | ~finite
        moved = finite & wanted & (new != w)
        return UpdateReport(
            total=int(u.size),
            intended=int(wanted.sum()),
            lost=int((finite & wanted & (new == w)).sum()),
            amplified=int((moved & _exceeds(applied, error, abs(u))).sum()),
            more_than_doubled=int((moved & _exceeds(applied, error, 2 * abs(u))).sum()),
            sum_intended=float(abs(u)[finite].sum()),
            sum_applied=float(abs(applied)[finite].sum()),
        )


@dataclass
class UpdateWatch:
    """Reports of the steps that ran inside `updates`.

    Attributes:
        total: all parameters and steps together.
        by_parameter: one for each parameter, under its name, all steps together.
        steps: one for each step, all parameters together.
    """

    total: UpdateReport = UpdateReport()
    by_parameter: dict[str, UpdateReport] = field(default_factory=dict)
    steps: list[UpdateReport] = field(default_factory=list)

    @contextmanager
    def step(self, optimizer: Optimizer, model: Module | None = None) -> Iterator[None]:
        """Compare what `optimizer.step()`, inside the block, does with what it intends.

            watch = mp.inspect.UpdateWatch()
            with watch.step(optimizer, model):
                optimizer.step()

        The optimizer's rule is run once more, in the compute dtype, on the weights, gradients and
        state from before. A step that is skipped counts as no step. Updates that an optimizer
        compensates for (`compensated=True`) are counted by what reached the weight.
        """
        names = {id(p): name for name, p in model.named_parameters()} if model is not None else {}
        planned = []
        for i, (parameter, u) in enumerate(intended_updates(optimizer)):
            name = names.get(id(parameter), f"parameter {i}")
            planned.append((name, parameter, parameter.version.count, _float64(parameter), u))
        yield
        stepped = [plan for plan in planned if plan[1].version.count != plan[2]]
        if not stepped:
            return
        of_step = UpdateReport()
        for name, parameter, _, before, u in stepped:
            found = update_report(before, parameter, u)
            of_step += found
            self.by_parameter[name] = self.by_parameter.get(name, UpdateReport()) + found
        self.steps.append(of_step)
        self.total += of_step

    def __str__(self) -> str:
        head = ("parameter", "updates", "lost", "amplified", "more than doubled")
        rows = [*self.by_parameter.items()]
        lines = [_line(name, report) for name, report in rows]
        return table(head, [*lines, None, _line("all", self.total)], right=range(1, 5))


def intended_updates(optimizer: Optimizer) -> list[tuple[Tensor, Array]]:
    """What the next `step` of an optimizer means to add to each parameter that has a gradient.

    In the parameter's compute dtype, float32 or float64: before it meets the weight and is rounded
    with it. Nothing is changed.
    """
    found = []
    for group in optimizer.param_groups:
        names = [n for n in optimizer.defaults if n not in ("rounding", "compensated")]
        options = {name: group[name] for name in names}
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = optimizer.state.get(parameter, {})
            compute = compute_type(parameter.dtype)
            w = parameter._values()
            slots = [
                unpack(state[name]._array, state[name].dtype, compute).copy()
                if name in state
                else parameter._device.xp.zeros_like(w)
                for name in optimizer.slots(group)
            ]
            gradient = unpack(parameter.grad._array, parameter.grad.dtype, compute)
            with np.errstate(all="ignore"):
                step = step_for(parameter, type(optimizer).rule, options)
                decrease = step(state.get("step", 0) + 1, w, gradient, *slots)
            found.append((parameter, -decrease))
    return found


def _line(name: str, report: UpdateReport) -> tuple[object, ...]:
    return (
        name,
        f"{report.intended:,}",
        percent(report.lost, report.intended),
        percent(report.amplified, report.intended),
        percent(report.more_than_doubled, report.intended),
    )


def _float64(values: Any) -> Array:
    """A copy of the values on the host."""
    if isinstance(values, Tensor):
        values = values._values()
    elif not hasattr(values, "dtype"):
        values = np.asarray(values, np.float64)
    return device_of(values).to_numpy(values).astype(np.float64)


def _exact_difference(x: Array, y: Array) -> tuple[Array, Array]:
    """x - y rounded, and its rounding error: their sum is exact.

    Source: Knuth, The Art of Computer Programming, vol. 2, section 4.2.2 (TwoSum).
    """
    difference = x - y
    y_part = difference - x
    return difference, (x - (difference - y_part)) - (y + y_part)


def _exceeds(difference: Array, error: Array, limit: Array) -> Array:
    """Whether |difference + error| > limit; |error| is at most half a unit of the difference."""
    beyond = np.where(difference > 0, error, -error)
    return (abs(difference) > limit) | ((abs(difference) == limit) & (beyond > 0))
