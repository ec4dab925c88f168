"""What does a loss scale save? The gradients of a training run, against the ranges of formats."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.autograd.graph import Node
from tinymp.data import load_digits
from tinymp.formats import DType, bfloat16, float8_e4m3fn, float8_e5m2, float16
from tinymp.inspect.exponents import boundaries
from tinymp.inspect.watching import Watcher
from tinymp.lab.result import Curve, Panel, Result, own_randomness
from tinymp.models import MLP
from tinymp.nn.functional import cross_entropy
from tinymp.ops import tensor
from tinymp.optim import AdamW

Array = np.ndarray[Any, Any]

_FORMATS = (float16, bfloat16, float8_e5m2, float8_e4m3fn)
_SHARE = "share of gradients other than 0, %"


class _Gradients(Watcher):
    """The gradients that backward computes in its block, of activations and of weights.

    That of the loss itself is left out: losses are kept in float32.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Array] = []

    def backward(self, node: Node, g: Array, gradients: list[tuple[Any, Array]]) -> None:
        self.found += [gradient.flatten() for _, gradient in gradients if gradient.size > 1]

    def magnitudes(self) -> Array:
        """The sizes of those other than zero, in ascending order."""
        every = np.abs(np.concatenate(self.found).astype(np.float64))
        return np.sort(every[every > 0])


def scale(
    steps: int = 200, hidden: int = 64, loss_weight: float = 1.0, largest: int = 24, seed: int = 0
) -> Result:
    """Share of a run's gradients that each format would lose, by loss scale.

    A network with one hidden layer is trained on all 1,438 images of digits at once, in float32, by
    AdamW. At the first, the middle and the last step every gradient is recorded, of activations and
    of weights. Scaled by 2^0, 2^1, ... and rounded to nearest, one that was not zero is *flushed*
    if it becomes zero, and it may overflow.

    Args:
        steps: of training, 4 or more.
        hidden: width of the network.
        loss_weight: factor on the loss, as one term among others may have.
        largest: exponent of the largest scale.
        seed: of the network's first weights.

    Raises:
        ValueError: fewer steps, or `largest` below 1.
    """
    if steps < 4 or largest < 1:
        raise ValueError(
            f"scale was given steps={steps} and largest={largest}; it needs 4 steps or more and a "
            "largest scale of 2^1 or more"
        )
    recorded = _recorded(steps, hidden, loss_weight, seed)
    last = recorded[steps]
    exponents = range(largest + 1)
    flushed = {dtype.name: _flushed(last, dtype, exponents) for dtype in _FORMATS}
    overflow = {dtype.name: _overflow(last, dtype, exponents) for dtype in _FORMATS}
    by_step = {step: _flushed(sizes, float16, exponents) for step, sizes in recorded.items()}
    x = tuple(map(float, exponents))
    return Result(
        name="scale",
        question="What does a loss scale save?",
        settings={
            "steps": steps, "hidden": hidden, "loss_weight": loss_weight, "largest": largest,
            "seed": seed,
        },
        head=("format", "flushed unscaled", "least lost at", "flushed there", "overflow from"),
        rows=tuple((name, *_row(flushed[name], overflow[name])) for name in flushed),
        findings=_findings(last, flushed["float16"], by_step),
        panels=(
            _panel(f"flushed to zero, step {steps}", x, flushed),
            _panel(f"overflow, step {steps}", x, overflow),
            _panel(
                "flushed to zero in float16", x, {f"step {n}": y for n, y in by_step.items()}
            ),
            _sizes(recorded),
        ),
    )  # fmt: skip


def _recorded(steps: int, hidden: int, loss_weight: float, seed: int) -> dict[int, Array]:
    """Sizes of the gradients of the first, the middle and the last step, by the step's number."""
    digits = load_digits()
    inputs, targets = tensor(digits.inputs), tensor(digits.targets)
    found = {}
    with own_randomness(seed):
        model = MLP(64, [hidden], 10)
        optimizer = AdamW(model.parameters(), lr=3e-3)
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            loss = cross_entropy(model(inputs), targets) * loss_weight
            with _Gradients() as gradients:
                loss.backward()
            if step in (1, steps // 2, steps):
                found[step] = gradients.magnitudes()
            optimizer.step()
    return found


def _flushed(sizes: Array, dtype: DType, exponents: range) -> list[float]:
    """Share of sorted `sizes` that become zero, for each scale: exact, scales being powers of 2."""
    limit = boundaries(dtype, "nearest_even").survives
    return [float(np.searchsorted(sizes, limit * 2.0**-e)) / len(sizes) for e in exponents]


def _overflow(sizes: Array, dtype: DType, exponents: range) -> list[float]:
    limit = boundaries(dtype, "nearest_even").overflows
    return [1 - float(np.searchsorted(sizes, limit * 2.0**-e)) / len(sizes) for e in exponents]


def _row(flushed: list[float], overflow: list[float]) -> tuple[str, ...]:
    lost = [f + o for f, o in zip(flushed, overflow, strict=True)]
    best = lost.index(min(lost))
    overflows = [e for e, share in enumerate(overflow) if share > 0]
    return (
        f"{flushed[0]:.2%}",
        f"2^{best}",
        f"{flushed[best]:.2%}",
        f"2^{overflows[0]}" if overflows else "-",
    )


def _panel(title: str, x: tuple[float, ...], shares: dict[str, list[float]]) -> Panel:
    curves = tuple(
        Curve(name, x, tuple(100 * share for share in found), style=i)
        for i, (name, found) in enumerate(shares.items())
    )
    return Panel(title, "log2 of the loss scale", _SHARE, curves, x_scale="linear")


def _sizes(recorded: dict[int, Array]) -> Panel:
    """How the gradients of each step are spread over the powers of two."""
    exponents = {step: np.frexp(sizes)[1] - 1 for step, sizes in recorded.items()}
    low = min(int(np.quantile(e, 0.001)) for e in exponents.values())
    high = max(int(e.max()) for e in exponents.values())
    places = np.arange(low, high + 1)
    return Panel(
        "sizes; float16 flushes 2^-25 and less",
        "e, for gradients from 2^e to 2^(e+1)",
        _SHARE,
        tuple(
            Curve(
                f"step {step}",
                tuple(map(float, places)),
                tuple(float(100 * np.mean(found == e)) for e in places),
                style=i,
            )
            for i, (step, found) in enumerate(exponents.items())
        ),
        x_scale="linear",
    )


def _findings(
    last: Array, flushed: list[float], by_step: dict[int, list[float]]
) -> tuple[str, ...]:
    limits = boundaries(float16, "nearest_even")
    subnormal = float(np.mean((last >= limits.survives) & (last < limits.normal)))
    middle = len(flushed) // 2
    unscaled = {step: found[0] for step, found in by_step.items()}
    shares = ", ".join(f"{share:.1%} at step {step}" for step, share in unscaled.items())
    shrink = sorted(unscaled.values()) == list(unscaled.values())
    return (
        f"Unscaled, float16 flushes {flushed[0]:.1%} of the last step's gradients, and holds "
        f"another {subnormal:.1%} as subnormal numbers, with fewer bits. A scale of 2^{middle} "
        f"leaves {flushed[middle]:.2%} flushed.",
        f"So float16 would flush {shares}"
        + (": gradients shrink as the network learns." if shrink else "."),
    )
