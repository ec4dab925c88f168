"""Plots show the figures they are given, with units, and need matplotlib only when made."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp.inspect import (
    CLASSES,
    Ledger,
    UpdateReport,
    attribute_errors,
    histogram,
    plot_classes,
    plot_errors,
    plot_histogram,
    plot_memory,
    plot_updates,
)

pytest.importorskip("matplotlib")


def drawn(figure: Any) -> Any:
    """The axes of a figure, once it was drawn without a screen."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=40)
    assert png.getvalue().startswith(b"\x89PNG")
    (axes,) = figure.axes
    assert axes.get_title()
    assert axes.get_xlabel()
    return axes


def key(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


VALUES = np.array([0.0, 0.0, 2.0**-30, 2.0**-20, 1.0, 1.5, 3.0, 1e6, np.nan])


def test_a_histogram_has_a_bar_for_each_exponent_and_the_borders_of_the_format() -> None:
    found = histogram(VALUES, mp.float16)
    axes = drawn(plot_histogram(found, "mine"))
    bars = {round(b.get_x()): b.get_height() for b in axes.patches if b.get_width() == 1}
    assert bars == found.exponents
    assert sorted(line.get_xdata()[0] for line in axes.lines) == [-24, -14, 16]
    assert key(axes)[0] == "zero: 2 (22.22 %)"
    assert [text.split(":")[0] for text in key(axes)] == list(CLASSES)
    assert axes.get_title() == "mine"
    hatches = {b.get_hatch() for b in axes.patches if b.get_x() == -30}
    assert hatches == {"////"}  # underflow


@pytest.mark.parametrize("dtype", [mp.bfloat16, mp.float8_e4m3fn, mp.float8_e5m2, mp.float32])
def test_histograms_of_every_format_and_of_nothing(dtype: mp.DType) -> None:
    drawn(plot_histogram(histogram(VALUES, dtype)))
    drawn(plot_histogram(histogram(np.zeros(0), dtype)))


def test_shares_of_classes_fill_the_bar() -> None:
    axes = drawn(plot_classes({"a": histogram(VALUES, mp.float16), "b": histogram([], "float16")}))
    widths = [[bar.get_width() for bar in container] for container in axes.containers]
    np.testing.assert_allclose(np.sum(widths, axis=0), [100, 0])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert key(axes) == list(CLASSES)


def test_updates_over_steps_in_percent() -> None:
    steps = [UpdateReport(10, 8, 4, 2, 1), UpdateReport(10, 0, 0, 0, 0)]
    axes = drawn(plot_updates(steps))
    lines = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert lines == {"lost": [50, 0], "amplified": [25, 0], "more than doubled": [12.5, 0]}
    assert "%" in axes.get_ylabel()
    styles = {(line.get_linestyle(), line.get_marker()) for line in axes.lines}
    assert len(styles) == 3  # they can be told apart in grey
    drawn(plot_updates([]))


def test_memory_is_stacked_in_its_unit() -> None:
    ledger = Ledger({"weights": {"float16": 2 * 1024**2}, "gradients": {"float16": 1024**2}})
    axes = drawn(plot_memory({"a": ledger, "b": Ledger({"weights": {"float32": 1024**2}})}))
    assert axes.get_xlabel() == "memory, MiB"
    assert [[b.get_width() for b in c] for c in axes.containers] == [[2, 1], [1, 0]]
    assert key(axes) == ["weights", "gradients"]
    assert drawn(plot_memory(ledger)).get_xlabel() == "memory, MiB"
    assert drawn(plot_memory(Ledger({"weights": {"int64": 8}}))).get_xlabel() == "memory, bytes"


@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_errors_by_operation(phase: str) -> None:
    x = mp.full((4,), 0.1, dtype=mp.float16).requires_grad_()
    with attribute_errors() as errors:
        mp.tanh(x * x + 1).sum().backward()
    axes = drawn(plot_errors(errors, phase))
    found = [f for f in errors.findings if f.phase == phase and f.total > 0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [f"{f.number} {f.op}" for f in found]
    totals = next(line for line in axes.lines if line.get_label() == "total")
    assert list(totals.get_xdata()) == [f.total for f in found]
    assert axes.get_xscale() == "log"


def test_importing_costs_no_matplotlib_and_its_absence_is_explained() -> None:
    program = (
        "import sys, tinymp, tinymp.inspect as look\n"
        "assert 'matplotlib' not in sys.modules\n"
        "sys.modules['matplotlib'] = None\n"
        "try:\n"
        "    look.plot_updates([])\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert 'install it with: pip install "tinymp[plots]"' in done.stdout
