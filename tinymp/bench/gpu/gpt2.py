"""The training step of GPT-2's shape, by tinymp and by PyTorch: time and memory.

Contestants come one after another, each in a GPU that the one before has left: otherwise their
memory could not be told apart. All learn one batch again and again, from the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from tinymp.bench.gpu.clock import gpu_seconds
from tinymp.bench.gpu.memory import CupyPeak, Peak, driver_bytes, give_back
from tinymp.bench.gpu.pytorch import shared
from tinymp.bench.gpu.pytorch_gpt import Manner, pytorch_step
from tinymp.bench.gpu.verdict import Verdict
from tinymp.bench.machine import installed
from tinymp.bench.measure import Spread, spread
from tinymp.bench.steps import Steps
from tinymp.devices import get_device, manual_seed
from tinymp.devices.gemm import set_float32_matmul_precision
from tinymp.models import GPT
from tinymp.train import Configuration, Training, make_task, measure, recipe
from tinymp.train.gpt2_shape import token_batch

FP16, CAPTURED = "tinymp FP16", "tinymp FP16, captured"
FP32, TF32 = "tinymp FP32", "tinymp TF32"
_POLICIES = {FP16: "fp16", CAPTURED: "fp16", FP32: "fp32", TF32: "fp32"}
_MANNERS = [
    Manner("FP32", fused=False),
    Manner("TF32", fused=False),
    Manner("FP16 AMP", fused=False),
    Manner("FP16 AMP", fused=True),
]
_WARM_UP = 5
_TURN = 0.2  # seconds of a round


@dataclass(frozen=True)
class StepsOf:
    """What the steps of one contestant took.

    Attributes:
        name: of the contestant.
        seconds: of a step, the mean over each round.
        host: seconds that the host took to start a step, likewise.
        peak: memory at most.
        saved: bytes saved for backward, by our ledger; None for PyTorch.
        losses: of the first step and of the last. All contestants begin with the same weights, so
            their first losses differ by rounding errors alone.
    """

    name: str
    seconds: list[float]
    host: list[float]
    peak: Peak
    saved: int | None
    losses: tuple[float, float]

    @property
    def step(self) -> Spread:
        """Seconds of a step, over the rounds."""
        return spread(self.seconds)

    def as_json(self) -> dict[str, Any]:
        """All of it as plain numbers and names."""
        return {
            "contestant": self.name,
            "step_seconds": self.step._asdict(),
            "host_seconds": spread(self.host)._asdict(),
            "peak_bytes": self.peak._asdict(),
            "saved_bytes": self.saved,
            "first_loss": self.losses[0],
            "last_loss": self.losses[1],
        }


def configuration(**settings: Any) -> Configuration:
    """GPT-2's shape on the GPU, other `settings` apart."""
    # The learning rate is to stay above zero for as long as steps are timed.
    return recipe({"data": "gpt2-shape", "device": "cuda", "epochs": 2000, **settings})


def initial_model(c: Configuration) -> GPT:
    """The weights from which all contestants start; they copy them."""
    return _initial_model(c.seed, c.vocabulary, c.context, c.width, c.layers, c.heads)


@cache
def _initial_model(
    seed: int, vocabulary: int, context: int, width: int, layers: int, heads: int
) -> GPT:
    manual_seed(seed)
    return GPT(vocabulary, context, width, layers, heads)  # 124 million random numbers take long


def contestants(
    c: Configuration, rounds: int, compiled: bool
) -> Iterator[tuple[str, Callable[[], StepsOf]]]:
    """Everyone who is there, and what measures their steps; PyTorch compiled only if asked for."""
    for name in _POLICIES:
        yield name, lambda name=name: measure_ours(name, initial_model(c), c, rounds)  # type: ignore[misc]
    if installed("torch"):
        manners = [*_MANNERS, Manner("FP16 AMP", fused=True, compiled=True)]
        for manner in manners if compiled else _MANNERS:
            yield (
                manner.name,
                lambda manner=manner: measure_pytorchs(manner, initial_model(c), c, rounds),  # type: ignore[misc]
            )


def our_training(name: str, model: GPT, c: Configuration) -> Training:
    """A training of a copy of the model, under the policy of a contestant."""
    c = replace(c, policy=_POLICIES[name], capture=name == CAPTURED)
    return Training(replace(make_task(c), model=lambda: deepcopy(model)), c)


def measure_ours(name: str, model: GPT, c: Configuration, rounds: int) -> StepsOf:
    """Our steps, as `tinymp train` takes them."""
    give_back()
    before = driver_bytes()
    set_float32_matmul_precision("high" if name == TF32 else "highest")
    try:
        return _measure_training(name, our_training(name, model, c), rounds, before)
    finally:
        set_float32_matmul_precision("highest")


def _measure_training(name: str, training: Training, rounds: int, before: int) -> StepsOf:
    c = training.configuration
    inputs, targets = token_batch(c, get_device(c.device), 0)
    steps = Steps(training)

    def step() -> None:
        steps(inputs, targets)

    with CupyPeak() as count:
        for _ in range(_WARM_UP):
            step()
    peak = count.peak()
    seconds, host = _timed(step, rounds)
    records = steps.finish()
    losses = records[0].loss, records[-1].loss
    saved = measure(training).bytes("saved activations")
    return StepsOf(name, seconds, host, peak._replace(driver=peak.driver - before), saved, losses)


def measure_pytorchs(manner: Manner, model: GPT, c: Configuration, rounds: int) -> StepsOf:
    """PyTorch's steps."""
    import torch

    give_back()
    before = driver_bytes()
    torch.cuda.reset_peak_memory_stats()
    tokens, following = (shared(x) for x in token_batch(c, get_device(c.device), 0))
    step = pytorch_step(model, tokens, following, manner, c.lr)
    first = step()
    for _ in range(_WARM_UP - 1):
        step()
    torch.cuda.synchronize()
    peak = Peak(
        torch.cuda.max_memory_allocated(),
        torch.cuda.max_memory_reserved(),
        driver_bytes() - before,
    )
    seconds, host = _timed(step, rounds)
    return StepsOf(manner.name, seconds, host, peak, None, (float(first), float(step())))


def _timed(step: Callable[[], Any], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of the GPU's clock and of the host for a step, in each round."""
    once, _ = gpu_seconds(step, 2)
    steps = max(1, round(_TURN / once))
    pairs = [gpu_seconds(step, steps) for _ in range(rounds)]
    return [gpu for gpu, _ in pairs], [host for _, host in pairs]


def verdicts(steps: Mapping[str, StepsOf], parameters: int) -> Iterator[Verdict]:
    """What was reached by those contestants that were there."""
    seconds = {name: found.step.median for name, found in steps.items()}
    fp32, tf32, by_products, fused = (manner.name for manner in _MANNERS)

    def over(what: str, own: str, other: str, must: float, aim: float | None = None) -> Any:
        if own in steps and other in steps:
            yield Verdict(f"{what} of {own} / {other}", seconds[own] / seconds[other], must, aim)

    for name in (FP16, CAPTURED):
        yield from over("step", name, by_products, 0.75)
        yield from over("step", name, fused, 1.2, 1.0)
    yield from over("step", FP32, fp32, 1.1)
    yield from over("step", TF32, tf32, 1.1)
    for other, must in ((FP32, 4.0), (TF32, 1.5)):
        if CAPTURED in steps and other in steps:
            speed = seconds[other] / seconds[CAPTURED]
            yield Verdict(f"speed of {CAPTURED} over {other}", speed, must, at_least=True)
    for name in (FP16, CAPTURED):
        if name in steps:
            yield from _memory_verdicts(name, steps, parameters, fused)


def _memory_verdicts(
    name: str, steps: Mapping[str, StepsOf], parameters: int, fused: str
) -> Iterator[Verdict]:
    peak = steps[name].peak.arrays
    if FP32 in steps:
        activations, own = steps[FP32].saved or 1, steps[name].saved or 0
        # Labels and statistics, 8 and 4 bytes a row on both sides, do not count: two digits.
        yield Verdict(f"saved by {name} / by {FP32}", round(own / activations, 2), 0.5)
        allowed = 16 * parameters + activations / 2
        what = f"peak of {name} / (16 bytes a parameter + half of what {FP32} saves)"
        yield Verdict(what, peak / allowed, 1.05)
    if fused in steps:
        ratio = peak / steps[fused].peak.arrays
        aim = 5.1 * 2**30 / steps[fused].peak.arrays
        yield Verdict(f"peak of {name} / {fused}", ratio, 1.0, aim)
