"""Does FP16 learn what FP32 learns? A GPT of GPT-2's shape on the spelling corpus, byte by byte.

Both policies start from the same weights and see the same batches. The curves are smoothed by a
running mean before they are compared: a single batch of text is easier or harder than the next, for
both alike, and what rounding does to a single step is noise.

FP16's loss scale begins where no step is skipped, and is dynamic from there on. From the usual 2^16
it would skip the first steps until the scale is low enough; each moves its curve by a step, which
counts for much where the loss falls by a nat in a step, and says nothing about FP16.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tinymp.bench.gpu.gpt2 import FP16, FP32, configuration, initial_model, our_training
from tinymp.bench.gpu.verdict import Verdict
from tinymp.bench.steps import Steps
from tinymp.data import spelling_line, spelling_numbers
from tinymp.data.dataset import Array
from tinymp.models import GPT
from tinymp.ops import tensor
from tinymp.train import Configuration

STEPS = 200
_WINDOW = 20  # steps over which a curve is smoothed
_LR = 3e-5  # at 1e-4 single steps overshoot by tenths of a nat, in either format
_INITIAL_SCALE = 2.0**10


def default_configuration() -> Configuration:
    """GPT-2's shape on the GPU, for so many steps."""
    return configuration(epochs=STEPS, lr=_LR)


def batches(c: Configuration) -> Array:
    """Bytes of the corpus, int64 (steps, batch_size, context + 1), none of them twice."""
    shape = (c.epochs, c.batch_size, c.context + 1)
    wanted, text = int(np.prod(shape)), ""
    lines = 1024
    while len(text) < wanted:
        numbers = spelling_numbers(lines, seed=c.seed)
        text = "".join(spelling_line(int(number)) for number in numbers)
        lines *= 2
    tokens = np.frombuffer(text.encode("ascii"), np.uint8)[:wanted]
    return tokens.astype(np.int64).reshape(shape)


def learn(name: str, model: GPT, c: Configuration) -> list[float]:
    """The loss of each step of a contestant, in nats a byte."""
    training = our_training(name, model, c)
    if training.scaler.is_enabled():
        training.scaler.resume(_INITIAL_SCALE, 0)
    steps = Steps(training)
    for batch in batches(c):
        inputs, targets = (
            tensor(part.copy(), device=c.device) for part in (batch[:, :-1], batch[:, 1:])
        )
        steps(inputs, targets)
    return [record.loss for record in steps.finish()]


def measure_curves(c: Configuration) -> dict[str, list[float]]:
    """The losses of both policies."""
    model = initial_model(c)
    return {name: learn(name, model, c) for name in (FP16, FP32)}


def smoothed(losses: Sequence[float]) -> Array:
    """Means over each window of steps."""
    return np.convolve(losses, np.full(_WINDOW, 1 / _WINDOW), mode="valid")


def verdicts(curves: Mapping[str, Sequence[float]]) -> Iterator[Verdict]:
    """How far the loss fell, and how far the curves are from each other."""
    half, full = smoothed(curves[FP16]), smoothed(curves[FP32])
    fall = float(min(curve[0] - curve[-1] for curve in (half, full)))
    yield Verdict(f"loss falls in {len(curves[FP16])} steps, nats", fall, 2.0, at_least=True)
    gap = float(np.abs(half - full).max())
    yield Verdict("largest gap between FP16 and FP32, smoothed, nats", gap, 0.02)
