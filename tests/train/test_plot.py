"""The plot of a run: a PNG, the same each time, whatever the losses were."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tinymp.train import EpochRecord, plot_history

pytest.importorskip("matplotlib")


def record(epoch: int, loss: float, scale: float, skipped: bool) -> EpochRecord:
    return EpochRecord(
        epoch=epoch, loss=loss, test_loss=loss, test_accuracy=0.5, lr=0.1, loss_scale=scale,
        skipped_steps=int(skipped), seconds=0.1, step_losses=[loss, loss], step_scales=[scale] * 2,
        step_skipped=[skipped, False],
    )  # fmt: skip


@pytest.mark.parametrize(
    "history",
    [
        [record(1, 2.0, 1.0, False), record(2, 1.0, 1.0, False)],
        [record(1, 2.0, 2.0**16, True), record(2, 1.0, 2.0**15, False)],
        [record(1, math.nan, 1.0, False)],
        [record(1, 1e-30, 2.0**-30, True)],
    ],
    ids=["unscaled", "scaled", "diverged", "collapsed"],
)
def test_draws_every_kind_of_history(tmp_path: Path, history: list[EpochRecord]) -> None:
    for name in ("a.png", "b.png"):
        plot_history(history, tmp_path / name, "a run")
    content = (tmp_path / "a.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert content == (tmp_path / "b.png").read_bytes()
