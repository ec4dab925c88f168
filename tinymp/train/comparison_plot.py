"""The plot of a comparison: what each policy reached, and beside it what happened inside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinymp.inspect.style import BLACK, BLUE, GREY, ORANGE, VERMILION, WHITE
from tinymp.train.comparison import NOISE, REFERENCE, Summary, verdict

#: Marker and colour of a verdict: shapes tell them apart in grey.
_MARKS = {
    "": ("o", BLACK),
    "reference": ("o", WHITE),
    "better": ("o", BLUE),
    "within noise": ("o", BLUE),
    "unclear": ("D", ORANGE),
    "worse": ("X", VERMILION),
    "divergent": (">", VERMILION),
}


def plot_comparison(found: Sequence[Summary], path: Path, title: str) -> None:
    """Draw a PNG file: left the test loss of every run, right shares of gradients and updates.

    Raises:
        ModuleNotFoundError: matplotlib is not installed; the message says how to get it.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "a plot needs matplotlib, which is not installed; install it with: "
            'pip install "tinymp[plots]"'
        ) from missing
    figure = Figure(figsize=(9.6, 1.8 + 0.42 * len(found)), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a screen
    losses, shares = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    _draw_losses(losses, found)
    _draw_shares(shares, found)
    places = range(len(found))
    losses.set_yticks(places, [f"{s.policy}\n{_rounding(s)}" for s in found], fontsize="small")
    losses.set_ylim(len(found) - 0.4, -0.6)
    figure.suptitle(title, fontsize="medium")
    figure.savefig(path, dpi=130, metadata={"Software": "tinymp"})


def _rounding(found: Summary) -> str:
    return "" if found.rounding == "none" else f"({found.rounding})"


def _draw_losses(axes: Any, found: Sequence[Summary]) -> None:
    from matplotlib.ticker import LogLocator

    reference = next((summary for summary in found if summary.policy == REFERENCE), None)
    finite = [run.loss for summary in found for run in summary.runs if math.isfinite(run.loss)]
    right = max(finite, default=1.0) * 1.3
    drawn = set()
    for place, summary in enumerate(found):
        word = verdict(summary, reference) if reference else ""
        word = "reference" if summary is reference else word
        marker, colour = _MARKS[word]
        key = {"label": word} if word and word not in drawn else {}
        drawn.add(word)
        losses = [run.loss if math.isfinite(run.loss) else right for run in summary.runs]
        axes.plot(
            losses, [place] * len(losses), linestyle="", marker=marker, color=colour,
            markersize=7, alpha=0.6, markeredgecolor=BLACK, markeredgewidth=0.5, **key,
        )  # fmt: skip
        if not summary.diverged:
            axes.plot(summary.mean("loss"), place, "|", color=BLACK, markersize=16)
    if reference and len(reference.runs) > 1 and not reference.diverged:
        mean, spread = reference.mean("loss"), reference.spread("loss")
        axes.axvspan(
            mean - NOISE * spread, mean + NOISE * spread, color=GREY, alpha=0.5, linewidth=0,
            label=f"{REFERENCE} ± {NOISE:g} standard deviations",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda loss, _: f"{loss:g}")
    axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.set_xlabel("test loss at the end (a mark for each seed, | their mean)")
    axes.grid(axis="y", color=GREY, linewidth=0.5)
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), ncols=3
        )


def _draw_shares(axes: Any, found: Sequence[Summary]) -> None:
    kinds = (
        ("underflow", "gradients that underflow", VERMILION, "////"),
        ("lost", "updates lost", BLUE, ""),
        ("more_than_doubled", "updates more than doubled", ORANGE, "...."),
    )
    height = 0.26
    for i, (name, label, colour, hatch) in enumerate(kinds):
        axes.barh(
            [place + (i - 1) * height for place in range(len(found))],
            [100 * summary.mean(name) for summary in found],
            height, color=colour, hatch=hatch, edgecolor=BLACK, linewidth=0.5, label=label,
        )  # fmt: skip
    axes.set_xlim(0, 100)
    axes.set_xlabel("share, %")
    axes.grid(axis="y", color=GREY, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1))
