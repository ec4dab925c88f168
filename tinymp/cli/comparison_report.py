"""What a comparison shows: how many runs are done, and tables that fit 100 columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tinymp.train import Run
from tinymp.train.comparison import REFERENCE, Summary, distance, recoveries, verdict

_GOOD = {"better": "green", "within noise": "green", "worse": "red", "divergent": "red"}


class RunsWatcher:
    """Counts the runs that are finished, and in a terminal tells of the last one."""

    def __init__(self, screen: Console, total: int) -> None:
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("runs{task.fields[last]},"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=screen,
            transient=True,
            disable=not screen.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, last="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def finished(self, run: Run) -> None:
        """Move the bar by a run."""
        last = f" ({run.policy}, seed {run.seed}: loss {run.loss:.4g})"
        self._bar.update(self._task, advance=1, last=last)


def results(found: Sequence[Summary]) -> Table:
    """What each policy reached, with a verdict."""
    reference = next((summary for summary in found if summary.policy == REFERENCE), None)
    table = _table("What was reached: mean ± standard deviation over the seeds")
    table.add_column("policy", no_wrap=True)
    table.add_column("rounding", max_width=10)
    for name in (
        "test loss", "test acc.,\n%", "verdict", "σ\naway", "skipped\nsteps", "ms a\nstep",
    ):  # fmt: skip
        table.add_column(name, justify="right")
    for summary in found:
        word = verdict(summary, reference) if reference and summary is not reference else ""
        far = distance(summary, reference) if word and word != "divergent" and reference else None
        table.add_row(
            summary.policy,
            summary.rounding,
            _with_spread(summary, "loss", ".4f"),
            _with_spread(summary, "accuracy", ".1f", 100),
            f"[{_GOOD.get(word, 'default')}]{word}[/]" if word else "-",
            "-" if far is None else _short(far, "+"),
            f"{summary.mean('skipped_steps'):.4g}",
            _short(1000 * summary.mean("step_seconds")),
        )
    return table


def insides(found: Sequence[Summary]) -> Table:
    """Why: gradients that underflowed, updates that did not arrive, and bytes."""
    table = _table("What happened inside: gradients and updates in %; bytes at their peak")
    table.add_column("policy", no_wrap=True)
    for name in (
        "gradients\nunderflow", "updates\nlost", "updates\namplified", "more than\ndoubled",
        "gradients\nbytes", "activations\nbytes", "all\nbytes",
    ):  # fmt: skip
        table.add_column(name, justify="right")
    for summary in found:
        shares = ("underflow", "lost", "amplified", "more_than_doubled")
        sizes = [summary.memory.bytes(kind) for kind in ("gradients", "saved activations")]
        table.add_row(
            summary.policy,
            *(_share(summary.mean(name)) for name in shares),
            *(f"{size:,}" for size in [*sizes, summary.memory.total]),
        )
    return table


def findings(found: Sequence[Summary]) -> list[str]:
    """Sentences on what the tables do not say by themselves."""
    lines = [
        f"{remedied} recovers {share:.0%} of the gap in loss that {plain} leaves to {REFERENCE}."
        for plain, remedied, share in recoveries(found)
    ]
    lines += [
        f"{summary.policy}: {summary.diverged} of {len(summary.runs)} runs diverged."
        for summary in found
        if summary.diverged
    ]
    if not any(summary.policy == REFERENCE for summary in found):
        lines.append(f"Without {REFERENCE} among the policies there is no verdict.")
    elif min(len(summary.runs) for summary in found) < 2:
        lines.append("A single seed says nothing about noise, so there is no verdict.")
    else:
        lines.append(
            "Verdict: the distance of the mean test loss from that of fp32, in pooled standard "
            "deviations σ over the seeds: under 2 within noise, over 3 worse, unclear between."
        )
    lines += _on_bytes(found)
    lines.append(
        "A lost update leaves its weight as it was, an amplified one moves it further than meant: "
        "rounding to nearest by hardly more than twice as far, truncation by much more. Stochastic "
        "rounding and compensation lose and amplify, too, but over many steps they even it out."
    )
    return lines


def _on_bytes(found: Sequence[Summary]) -> list[str]:
    """What the activations and gradients of a 2-byte policy take beside those of float32."""
    by_name = {summary.policy: summary.memory.entries for summary in found}
    narrow = next((name for name in ("fp16", "bf16") if name in by_name), None)
    if narrow is None or REFERENCE not in by_name:
        return []
    entry = by_name[narrow]["saved activations"]
    halved = sum(entry.get(name, 0) for name in ("float16", "bfloat16"))
    as_wide = sum(entry.values()) - halved
    full = sum(by_name[REFERENCE]["saved activations"].values()) - as_wide
    gradients, wide_gradients = (
        sum(by_name[name]["gradients"].values()) for name in (narrow, REFERENCE)
    )
    return [
        f"{narrow} saves activations in {halved:,} bytes where {REFERENCE} takes {full:,} "
        f"({halved / full:.2f}), and gradients in {gradients:,} where it takes "
        f"{wide_gradients:,} ({gradients / wide_gradients:.2f}). The loss and the labels take "
        f"{as_wide:,} bytes in both."
    ]


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )


def _with_spread(summary: Summary, name: str, form: str, factor: float = 1.0) -> str:
    """Mean of an attribute and, where there are several seeds, its spread."""
    text = f"{factor * summary.mean(name):{form}}"
    if len(summary.runs) < 2 or not math.isfinite(summary.mean(name)):
        return text
    return f"{text} ± {factor * summary.spread(name):{form}}"


def _share(share: float) -> str:
    """A share in percent; never a 0 for something."""
    if math.isnan(share):
        return "-"
    return "0" if share == 0 else "< 0.01" if share < 1e-4 else f"{100 * share:.2f}"


def _short(x: float, sign: str = "") -> str:
    """A number with one decimal where it is small enough to need one."""
    return f"{x:{sign}.1f}" if abs(x) < 99.95 else f"{x:{sign}.0f}"
