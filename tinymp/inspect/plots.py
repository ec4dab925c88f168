"""What do the findings look like? A plot for each; matplotlib is needed, and only for these.

Every function returns a figure that needs no screen: `figure.savefig("name.png")`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinymp.formats import DType
from tinymp.inspect.attribution import Attribution
from tinymp.inspect.exponents import CLASSES, Boundaries, Histogram, boundaries
from tinymp.inspect.ledger import KINDS, Ledger
from tinymp.inspect.style import (
    BLACK,
    BLUE,
    CLASS_STYLES,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    WHITE,
    YELLOW,
)
from tinymp.inspect.text import percent
from tinymp.inspect.updates import UpdateReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KIND_COLOURS = (BLUE, GREY, SKY, VERMILION, PURPLE, ORANGE, YELLOW, GREEN, WHITE)
_HATCHES = ("", "..", "//", "\\\\", "xx", "--", "++", "oo", "")


def plot_histogram(found: Histogram, title: str = "") -> Figure:
    """Exponents of values as bars, with the borders of the format, and the shares of the classes.

    A bar is drawn in the class of its middle. The legend counts exactly, and counts the zeros, too,
    which have no exponent.
    """
    figure, axes = _figure(7.2, 3.6)
    limits = boundaries(found.dtype, found.rounding)
    for name in CLASSES:
        colour, hatch = CLASS_STYLES[name]
        bars = {e: n for e, n in found.exponents.items() if _class_of(e, limits) == name}
        number = found.classes[name]
        axes.bar(
            list(bars), list(bars.values()), width=1.0, align="edge", facecolor=colour,
            hatch=hatch, edgecolor=BLACK, linewidth=0.5,
        )  # fmt: skip
        axes.bar(  # the key, drawn for classes without a bar too
            0, 0, width=0, facecolor=colour, hatch=hatch, edgecolor=BLACK, linewidth=0.5,
            label=f"{name}: {number:,} ({percent(number, found.total)})",
        )  # fmt: skip
    _mark_borders(axes, found.dtype)
    axes.set_xlabel("magnitude: $2^e$ ≤ |x| < $2^{e+1}$, exponent e")
    axes.set_ylabel("values")
    axes.set_title(title or f"{found.total:,} values against {found.dtype.name}", pad=24)
    axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def plot_classes(found: Mapping[str, Histogram], title: str = "") -> Figure:
    """Share of each class of values, a bar for each tensor or operation."""
    figure, axes = _figure(7.2, 1.4 + 0.28 * len(found))
    labels = list(found)
    left = [0.0] * len(labels)
    for name in CLASSES:
        colour, hatch = CLASS_STYLES[name]
        shares = [100 * h.classes[name] / max(h.total, 1) for h in found.values()]
        axes.barh(
            labels, shares, left=left, color=colour, hatch=hatch, edgecolor=BLACK, linewidth=0.5,
            label=name,
        )  # fmt: skip
        left = [a + b for a, b in zip(left, shares, strict=True)]
    formats = sorted({h.dtype.name for h in found.values()})
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of values, %")
    axes.set_title(title or f"values against {', '.join(formats)}")
    axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def plot_updates(steps: Sequence[UpdateReport], title: str = "") -> Figure:
    """Share of the updates that were lost, and that were amplified, at each step."""
    figure, axes = _figure(7.2, 3.2)
    numbers = range(1, len(steps) + 1)
    doubled = [s.more_than_doubled / s.intended if s.intended else 0.0 for s in steps]
    for shares, label, colour, line, marker in (
        ([s.lost_share for s in steps], "lost", VERMILION, "-", "o"),
        ([s.amplified_share for s in steps], "amplified", BLUE, "--", "s"),
        (doubled, "more than doubled", GREEN, ":", "^"),
    ):
        axes.plot(
            numbers, [100 * share for share in shares], color=colour, linestyle=line, marker=marker,
            markersize=4, markevery=max(1, len(steps) // 20), label=label,
        )  # fmt: skip
    axes.set_ylim(-2, 102)
    axes.set_xlabel("step")
    axes.set_ylabel("share of updates, %")
    axes.set_title(title or "updates that rounding changed")
    axes.legend(frameon=False, fontsize="small")
    return figure


def plot_memory(ledgers: Ledger | Mapping[str, Ledger], title: str = "") -> Figure:
    """Bytes by kind, stacked: a bar for each ledger."""
    named = {"": ledgers} if isinstance(ledgers, Ledger) else ledgers
    figure, axes = _figure(7.2, 1.8 + 0.5 * len(named))
    unit, name = _unit(max((ledger.total for ledger in named.values()), default=0))
    left = [0.0] * len(named)
    for kind, colour, hatch in zip(KINDS, _KIND_COLOURS, _HATCHES, strict=True):
        sizes = [ledger.bytes(kind) / unit for ledger in named.values()]
        if any(sizes):
            axes.barh(
                list(named), sizes, left=left, color=colour, hatch=hatch, edgecolor=BLACK,
                linewidth=0.5, label=kind,
            )  # fmt: skip
        left = [a + b for a, b in zip(left, sizes, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel(f"memory, {name}")
    axes.set_title(title or "memory by kind")
    axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def plot_errors(errors: Attribution, phase: str = "forward", title: str = "") -> Figure:
    """Relative error that each operation added, and that it received, on a logarithmic axis.

    Operations without error are left out. `phase`: "forward" or "backward".
    """
    found = [x for x in errors.findings if x.phase == phase and x.total > 0]
    figure, axes = _figure(7.2, 1.6 + 0.28 * len(found))
    places = range(len(found))
    for values, label, colour, marker in (
        ([x.added for x in found], "added here", VERMILION, "o"),
        ([x.propagated for x in found], "came in", BLUE, "s"),
        ([x.total for x in found], "total", BLACK, "|"),
    ):
        shown = [(v, y) for v, y in zip(values, places, strict=True) if v > 0]
        axes.plot(
            [v for v, _ in shown], [y for _, y in shown], linestyle="", marker=marker, color=colour,
            markersize=12 if marker == "|" else 6, label=label,
        )  # fmt: skip
    axes.set_yticks(places, [f"{x.number} {x.op}" for x in found], fontsize="small")
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.grid(axis="y", color=GREY, linewidth=0.5)
    axes.set_xlabel("relative error against the float64 shadow")
    axes.set_title(title or f"error of each operation, {phase}")
    axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "a plot needs matplotlib, which is not installed; install it with: "
            'pip install "tinymp[plots]"'
        ) from missing
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a screen
    return figure, figure.subplots()


def _mark_borders(axes: Any, dtype: DType) -> None:
    """Vertical lines at the smallest subnormal, the smallest normal and the largest number."""
    borders = (
        (dtype.emin - dtype.significand_bits, "smallest\nsubnormal", ":"),
        (dtype.emin, "smallest\nnormal", "--"),
        (dtype.emax + 1, "largest", "-"),
    )
    for exponent, name, line in borders:
        axes.axvline(exponent, color=BLACK, linestyle=line, linewidth=1)
        axes.annotate(
            name, (exponent, 1.01), xycoords=("data", "axes fraction"), ha="center", va="bottom",
            fontsize="x-small",
        )  # fmt: skip


def _class_of(exponent: int, limits: Boundaries) -> str:
    """The class of the magnitude halfway between 2^exponent and the next power of two."""
    middle = math.ldexp(1.5, exponent)
    if middle >= limits.overflows:
        return "overflow"
    if middle >= limits.normal:
        return "normal"
    return "subnormal" if middle >= limits.survives else "underflow"


def _unit(size: int) -> tuple[int, str]:
    for power, name in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size >= 2 * 1024**power:
            return 1024**power, name
    return 1, "bytes"
