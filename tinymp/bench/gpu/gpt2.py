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


def measure_all(c: Configuration, rounds: int, compiled: bool) -> Iterator[StepsOf]:
    """Every contestant's steps; with `compiled`, PyTorch's compiled ones, too."""
    model = initial_model(c)
    for name in _POLICIES:
        yield measure_ours(name, model, c, rounds)
    if installed("torch"):
        manners = [*_MANNERS, Manner("FP16 AMP", fused=True, compiled=True)]
        for manner in manners if compiled else _MANNERS:
            yield measure_pytorchs(manner, model, c, rounds)


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
    """What was reached, of those contestants that were there."""
    seconds = {name: found.step.median for name, found in steps.items()}
    fp32, tf32, by_products, fused = (manner.name for manner in _MANNERS)
    ours = steps[FP16]
    for name in (FP16, CAPTURED):
        if by_products not in steps:
            break
        amp, attention = seconds[name] / seconds[by_products], seconds[name] / seconds[fused]
        yield Verdict(f"step of {name} / PyTorch AMP, attention by products", amp, 0.75)
        yield Verdict(f"step of {name} / PyTorch AMP, fused attention", attention, 1.2, 1.0)
        own = steps[name].peak.arrays / steps[fused].peak.arrays
        yield Verdict(f"peak of {name} / PyTorch AMP, fused attention", own, 1.0)
    for name, theirs in ((FP32, fp32), (TF32, tf32)):
        if theirs in steps:
            yield Verdict(f"step of {name} / PyTorch's", seconds[name] / seconds[theirs], 1.1)
    for other, factor in ((FP32, 4.0), (TF32, 1.5)):
        speed = seconds[other] / seconds[CAPTURED]
        yield Verdict(f"speed of {CAPTURED} over {other}", speed, factor, at_least=True)
    activations = steps[FP32].saved or 1
    # Labels and statistics, 8 and 4 bytes a row on both sides, do not count: two digits.
    share = round((ours.saved or 0) / activations, 2)
    yield Verdict("saved activations, FP16 over FP32", share, 0.5)
    allowed = 16 * parameters + activations / 2
    what = f"peak of {FP16} / (16 bytes a parameter + half of FP32's activations)"
    yield Verdict(what, ours.peak.arrays / allowed, 1.05)
    yield Verdict(f"peak of {FP16}, GiB", ours.peak.arrays / 2**30, 8.9, 5.1)
