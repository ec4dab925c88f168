"""What a training run shows: a bar that moves, a line for each epoch, and a table at the end."""

from __future__ import annotations

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tinymp.inspect import Ledger
from tinymp.train import EpochRecord, StepRecord, Training

_HEADER = "epoch    loss  test loss  test accuracy   loss scale  skipped  seconds"


class Watcher:
    """Shows the steps of a run as a progress bar (in a terminal only), and its epochs as lines."""

    def __init__(self, screen: Console, training: Training, history: list[EpochRecord]) -> None:
        self._screen = screen
        self._scaled = training.scaler.is_enabled()
        self._history = history
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps, loss {task.fields[loss]:.4f},"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=screen,
            transient=True,
            disable=not screen.is_terminal,
        )
        epochs, steps = training.configuration.epochs, len(training.loader)
        self._task = self._bar.add_task(
            "", total=epochs * steps, completed=training.epoch * steps, loss=float("nan")
        )

    def __enter__(self) -> Self:
        self._screen.print(_HEADER, style="bold")
        for record in self._history:
            self.epoch(record)
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def step(self, record: StepRecord | None) -> None:
        """Move the bar by a step; of one that is still on a GPU there is no record."""
        if record is not None:
            self._bar.update(self._task, loss=record.loss)
        self._bar.advance(self._task)

    def epoch(self, record: EpochRecord) -> None:
        """Print the line of an epoch."""
        scale = _scale(record) if self._scaled else "none"
        self._screen.print(
            f"{record.epoch:5d}  {record.loss:6.4f} {record.test_loss:10.4f} "
            f"{record.test_accuracy:12.2%} {scale:>14s} {record.skipped_steps:8d} "
            f"{record.seconds:8.2f}"
        )


def summary(training: Training, history: list[EpochRecord], ledger: Ledger) -> Table:
    """What a run reached, and what it keeps in memory, as a table of two columns."""
    configuration = training.configuration
    table = Table(
        title=f"{training.task.name}, policy {configuration.policy}, seed {configuration.seed}",
        title_style="bold",
        show_header=False,
    )
    table.add_column()
    table.add_column(justify="right")
    if history:
        last = history[-1]
        steps = sum(len(record.step_losses) for record in history)
        table.add_row("test accuracy", f"{last.test_accuracy:.2%}")
        table.add_row("training loss, last epoch", f"{last.loss:.5f}")
        if training.scaler.is_enabled():
            table.add_row("loss scale", _scale(last))
            table.add_row("skipped steps", f"{last.skipped_steps} of {steps:,}")
        else:
            table.add_row("loss scale", "none")
        table.add_section()
    for kind, entry in ledger.entries.items():
        dtypes = sorted(entry, key=lambda dtype: -entry[dtype])
        table.add_row(f"{kind} ({', '.join(dtypes)})", f"{ledger.bytes(kind):,} bytes")
    table.add_section()
    seconds = sum(record.seconds for record in history)
    table.add_row("epochs", f"{len(history)} of {configuration.epochs}")
    table.add_row("time", f"{seconds:.1f} s")
    return table


def _scale(record: EpochRecord) -> str:
    return f"{record.loss_scale:,.10g}"
