"""What does a step of training cost, in time and in memory? On the CPU, or on a GPU.

Steps are timed in groups: the clock is read, and the device waited for, between groups only, so
that measuring adds nothing to a step.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from tinymp.bench.measure import Spread, spread
from tinymp.bench.steps import Steps
from tinymp.devices import get_device
from tinymp.inspect import Ledger
from tinymp.train import StepRecord, Training, measure
from tinymp.train.gpt2_shape import token_batch

WARM_UP = 3  # steps that compile kernels, choose algorithms, make the optimizer's state
_GROUP = 5


@dataclass(frozen=True)
class StepCost:
    """What was measured.

    Attributes:
        seconds: of a step, the mean over each group.
        first: seconds of all warm-up steps together.
        tokens: that a step learns from.
        parameters: elements, those that are shared once.
        ledger: bytes by kind.
        peak: the most memory on a GPU; None on the CPU.
        record: of the last step.
    """

    seconds: list[float]
    first: float
    tokens: int
    parameters: int
    ledger: Ledger
    peak: Any
    record: StepRecord

    @property
    def step(self) -> Spread:
        """Seconds of a step: median and quartiles over the groups."""
        return spread(self.seconds)

    def as_json(self) -> dict[str, Any]:
        """All of it as plain numbers and names."""
        return {
            "step_seconds": self.step._asdict(),
            "group_seconds": self.seconds,
            "warm_up_seconds": self.first,
            "tokens_per_second": self.tokens / self.step.median,
            "parameters": self.parameters,
            "ledger_bytes": self.ledger.entries,
            "peak_bytes": None if self.peak is None else self.peak._asdict(),
            "loss": float(self.record.loss),
            "loss_scale": float(self.record.scale),
        }


def check_steps(steps: int) -> None:
    """Raise a ValueError if so many steps are over before anything is warm."""
    if steps <= WARM_UP:
        raise ValueError(
            f"{steps} steps were given, but the first {WARM_UP} warm up and are not timed; give "
            f"{WARM_UP + 1} at least"
        )


def step_cost(training: Training) -> StepCost:
    """Train on generated tokens, and count what a step took once all was warm.

    `training` is of the task gpt2-shape, whose epochs are steps. Each has tokens of its own.

    Raises:
        ValueError: no more steps than those of warm-up.
    """
    configuration = training.configuration
    check_steps(configuration.epochs)
    device = get_device(configuration.device)
    steps = Steps(training)
    parameters = sum(p.size for p in dict.fromkeys(training.model.parameters()))
    on_gpu = device.name != "cpu"
    counting: Any = nullcontext()
    if on_gpu:
        from tinymp.bench.gpu.memory import CupyPeak, give_back

        give_back()
        counting = CupyPeak()
    began = perf_counter()
    with counting:
        for step in range(WARM_UP):
            steps(*token_batch(configuration, device, step))
    device.synchronize()
    first = perf_counter() - began
    peak = counting.peak() if on_gpu else None
    ledger = measure(training)

    seconds = []
    for start in range(WARM_UP, configuration.epochs, _GROUP):
        group = range(start, min(start + _GROUP, configuration.epochs))
        device.synchronize()
        began = perf_counter()
        for step in group:
            steps(*token_batch(configuration, device, step))
        device.synchronize()
        seconds.append((perf_counter() - began) / len(group))
    return StepCost(
        seconds,
        first,
        configuration.batch_size * configuration.context,
        parameters,
        ledger,
        peak,
        steps.finish()[-1],
    )
