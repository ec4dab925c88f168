"""A result is a table, a plot and a file of figures."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tinymp.inspect.style import BLACK, BLUE
from tinymp.lab import Curve, Panel, Result
from tinymp.lab.drawing import _powers, _with_key

LINES = (
    Curve("measured, 2^-3", (16, 32, 64), (1.0, None, 3.0), style=0),
    Curve("the same, dashed", (16, 32, 64), (1.0, 2.0, 3.0), style=0, dashed=True),
    Curve("γ_n", (16, 32, 64), (2.0, 4.0, 6.0), "bound"),
)
PANELS = tuple(
    Panel(f"title {i}", "number of terms n", "error", LINES, y_scale=scale)
    for i, scale in enumerate(("log", "linear", "linear"))
)
FOUND = Result(
    "trial", "What?", {"seed": 0}, ("name", "error"), (("one", "1.00"), ("two", "22.0")),
    ("It is so.", "And so."), PANELS,
)  # fmt: skip


def test_a_table_has_the_question_above_and_the_findings_below():
    assert FOUND.table() == (
        "What?\n\nname  error\n----  -----\none    1.00\ntwo    22.0\n\nIt is so.\nAnd so."
    )


def test_it_is_saved_as_figures_text_and_plot(tmp_path):
    pytest.importorskip("matplotlib")
    for _ in range(2):  # the second time over the first
        paths = FOUND.save(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["trial.json", "trial.txt", "trial.png"]
    figures = json.loads(paths[0].read_text(encoding="utf-8"))
    assert figures["panels"][0]["curves"][0]["y"] == [1, None, 3]
    assert figures["settings"] == {"seed": 0}
    assert paths[1].read_text(encoding="utf-8") == FOUND.table() + "\n"
    assert paths[2].read_bytes().startswith(b"\x89PNG")


def test_every_line_is_drawn_with_the_labels(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    seen = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: (seen.append(f), save(f, *a, **k)))
    FOUND.plot(tmp_path / "a.png")
    (figure,) = seen
    drawn = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in drawn] == ["title 0", "title 1", "title 2"]
    assert len(figure.axes) == 3  # the fourth place is not drawn
    for axes in drawn:
        assert axes.get_xlabel() == "number of terms n"
        assert axes.get_ylabel() == "error"
        looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in axes.lines}
        assert len(looks) == 3
        assert {line.get_marker() for line in axes.lines} == {"o", "None"}
        assert {line.get_color() for line in axes.lines} == {BLUE, BLACK}
    assert drawn[0].get_yscale() == "log"
    assert drawn[0].get_xscale() == "log"
    keys = [axes.get_legend() is not None for axes in drawn]
    assert keys == [False, True, True]  # one key for a row whose panels all have the same
    assert drawn[1].get_legend().get_texts()[0].get_text() == "measured, $2^{-3}$"


def test_a_key_for_each_panel_where_they_differ():
    other = Panel("", "x", "y", LINES[:1])
    assert _with_key(PANELS[:2]) == [False, True]
    assert _with_key((PANELS[0], other)) == [True, True]
    assert _powers("from 2^e to 2^(e+1), 2^10") == "from $2^{e}$ to $2^{e+1}$, $2^{10}$"


def test_without_matplotlib_there_is_advice_and_the_figures_are_saved(tmp_path):
    program = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from tinymp import lab\n"
        "r = lab.Result('a', '?', {}, ('x',), (('1',),), (), ())\n"
        "try: r.save('here')\n"
        "except ModuleNotFoundError as missing: print(missing)\n"
        "from pathlib import Path; print(sorted(p.name for p in Path('here').iterdir()))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert 'install "tinymp[plots]"' in run.stdout
    assert "['a.json', 'a.txt']" in run.stdout
