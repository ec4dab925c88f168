"""The plot of a run: loss, and below it the loss scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tinymp.train.history import EpochRecord

# Okabe and Ito's palette, which colour-blind readers can tell apart; line styles serve print.
_BLUE, _VERMILION, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#999999"


def plot_history(history: list[EpochRecord], path: Path, title: str) -> None:
    """Draw the losses, and the loss scale where there is one, into a PNG file.

    Raises:
        ModuleNotFoundError: matplotlib is not installed; the message says how to get it.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "a plot needs matplotlib, which is not installed; install it with: "
            "python -m pip install matplotlib"
        ) from missing
    steps, losses, scales, skipped = _by_step(history)
    scaled = any(scale != 1 for scale in scales)
    figure = Figure(figsize=(6.4, 4.8 if scaled else 3.2), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a screen
    axes = figure.subplots(2 if scaled else 1, squeeze=False, sharex=True)[:, 0]
    _draw_losses(axes[0], history, steps, losses)
    axes[0].set_title(title)
    if scaled:
        _draw_scales(axes[1], steps, scales, skipped)
    axes[-1].set_xlabel("epoch")
    figure.savefig(path, dpi=110, metadata={"Software": "tinymp"})


def _by_step(history: list[EpochRecord]) -> tuple[list[float], ...]:
    """Time in epochs, loss, loss scale and skipping of every step."""
    steps, losses, scales, skipped = [], [], [], []
    for record in history:
        count = len(record.step_losses)
        steps += [record.epoch - 1 + (i + 1) / count for i in range(count)]
        losses += record.step_losses
        scales += record.step_scales
        skipped += [float(s) for s in record.step_skipped]
    return steps, losses, scales, skipped


def _draw_losses(
    axes: Any, history: list[EpochRecord], steps: list[float], losses: list[float]
) -> None:
    epochs = [record.epoch for record in history]
    train = [record.loss for record in history]
    test = [record.test_loss for record in history]
    axes.plot(steps, losses, color=_GREY, linewidth=0.6, label="training, each step")
    axes.plot(epochs, train, "o-", color=_BLUE, markersize=3, label="training, epoch")
    axes.plot(epochs, test, "s--", color=_VERMILION, markersize=3, label="test")
    axes.set_yscale("log")
    axes.set_ylabel("cross-entropy")
    axes.legend(frameon=False)


def _draw_scales(axes: Any, steps: list[float], scales: list[float], skipped: list[float]) -> None:
    axes.step(steps, scales, where="post", color=_GREEN, label="loss scale")
    marked = [i for i, was_skipped in enumerate(skipped) if was_skipped]
    if marked:
        axes.plot(
            [steps[i] for i in marked],
            [scales[i] for i in marked],
            "x",
            color=_VERMILION,
            label=f"skipped step ({len(marked)} in all)",
        )
    axes.set_yscale("log", base=2)
    axes.set_ylabel("loss scale")
    axes.legend(frameon=False)
