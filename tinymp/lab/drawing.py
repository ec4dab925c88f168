"""How is a result drawn? Panels of curves that read in colour, in grey, and without a screen.

Curves have colours and markers of their own; bounds are thin, black, and have none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinymp.inspect.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION
from tinymp.lab.result import Curve, Panel, Result

_COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_SIZES = (7.5, 5.0, 5.0, 4.5, 4.5, 4.5, 4.5)  # so that what lies below another marker can be seen
_BOUNDS: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (1, 1.5)))
_PANEL_WIDTH, _KEY_WIDTH, _PANEL_HEIGHT = 4.4, 1.5, 3.4  # inches


def draw(result: Result, path: Path) -> None:
    """Draw a PNG file. Raises a ModuleNotFoundError with advice where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "a plot needs matplotlib, which is not installed; install it with: "
            'pip install "tinymp[plots]"'
        ) from missing
    columns = min(result.columns, len(result.panels))
    rows = [result.panels[i : i + columns] for i in range(0, len(result.panels), columns)]
    keys = max(sum(_with_key(row)) for row in rows)
    size = (_PANEL_WIDTH * columns + _KEY_WIDTH * keys, _PANEL_HEIGHT * len(rows) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)  # draws without a screen
    places = figure.subplots(len(rows), columns, squeeze=False)
    for row, axes in zip(rows, places, strict=True):
        for panel, place, with_key in zip(row, axes, _with_key(row), strict=False):
            _panel(place, panel, with_key)
        for unused in axes[len(row) :]:
            unused.remove()
    figure.suptitle(result.question)
    figure.savefig(path, dpi=110, metadata={"Software": "tinymp"})


def _with_key(row: Sequence[Panel]) -> list[bool]:
    """Which panels of a row show their key: the last alone, if all have the same one."""
    keys = [[curve.label for curve in panel.curves] for panel in row]
    one_key = all(key == keys[0] for key in keys)
    return [panel is row[-1] or not one_key for panel in row]


def _panel(axes: Any, panel: Panel, with_key: bool) -> None:
    bounds = 0
    for curve in panel.curves:
        label = _powers(curve.label)
        if curve.kind == "bound":
            line = _BOUNDS[bounds]
            axes.plot(*_points(curve), color=BLACK, linestyle=line, linewidth=1, label=label)
            bounds += 1
            continue
        style = curve.style % len(_COLOURS)
        axes.plot(
            *_points(curve), color=_COLOURS[style], marker=_MARKERS[style],
            markersize=_SIZES[style], linestyle="--" if curve.dashed else "-", linewidth=1.4,
            markerfacecolor="white" if curve.dashed else _COLOURS[style], label=label,
        )  # fmt: skip
    if panel.x_scale == "powers of two":
        axes.set_xscale("log", base=2)
    axes.set_yscale(panel.y_scale)
    if panel.y_limits:
        axes.set_ylim(*panel.y_limits)
    axes.set_title(_powers(panel.title), fontsize="medium")
    axes.set_xlabel(_powers(panel.x_label))
    axes.set_ylabel(panel.y_label)
    axes.grid(color=GREY, linewidth=0.4)
    axes.set_axisbelow(True)
    if with_key:  # beside the axes, where it hides nothing
        axes.legend(frameon=False, fontsize="x-small", loc="upper left", bbox_to_anchor=(1, 1))


def _powers(text: str) -> str:
    """Powers of two set as such: 2^-10 with the exponent raised."""
    return re.sub(r"2\^\(?(-?\d+|e[+1]*)\)?", r"$2^{\1}$", text)


def _points(curve: Curve) -> tuple[list[float], list[float]]:
    nan = float("nan")
    return list(curve.x), [nan if y is None else y for y in curve.y]
