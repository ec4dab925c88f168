"""Notebooks are their lessons, executed, and the same each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinymp.course.lessons import Lesson
from tinymp.course.notebooks import _joined, build


def test_printed_text_is_one_output() -> None:
    parts = [
        {"output_type": "stream", "name": "stdout", "text": "one\n"},
        {"output_type": "stream", "name": "stdout", "text": "two\n"},
        {"output_type": "display_data", "data": {}, "metadata": {"timing": 1}},
        {"output_type": "display_data", "data": {}, "metadata": {}},
        {"output_type": "stream", "name": "stdout", "text": "three\n"},
    ]
    joined = _joined(parts)
    assert [output.get("text") for output in joined] == ["one\ntwo\n", None, None, "three\n"]
    assert joined[1]["metadata"] == {}


@pytest.mark.slow
def test_building_twice_gives_the_same_notebook(tmp_path: Path) -> None:
    for package in ("jupytext", "nbclient", "ipykernel", "matplotlib"):
        pytest.importorskip(package)
    source = tmp_path / "98_small.py"
    source.write_text(
        "# %% [markdown]\n# # 98 · Small\n\n# %%\nfor i in range(3):\n    print(i, flush=True)\n\n"
        "# %%\nimport matplotlib.pyplot as plt\n\nplt.plot([1, 2])\nplt.show()\n",
        encoding="utf-8",
    )
    lesson = Lesson(source, 98, "Small", 1, 1, 1, 1)
    first, second = build(lesson), build(lesson)
    assert first == second
    assert first["cells"][1]["outputs"][0]["text"] == "0\n1\n2\n"
    assert "image/png" in first["cells"][2]["outputs"][0]["data"]
