"""Every lesson runs, headless, and its notebook has its cells and shows what they give."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tinymp.course import Lesson, exercises, lessons
from tinymp.course.percent import cells

LESSONS = lessons()


def run(lesson: Lesson, fast: str, seconds: float) -> None:
    environment = {
        **os.environ,
        "MPLBACKEND": "Agg",
        "TINYMP_FAST": fast,
        "PYTHONIOENCODING": "utf-8",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", str(lesson.path)],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


# Generous limits: tests share their cores. The lessons' own lines say what they take alone.
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_runs_in_its_shortest_form(lesson: Lesson) -> None:
    pytest.importorskip("matplotlib")
    run(lesson, "1", 60)


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_every_claim_holds(lesson: Lesson) -> None:
    pytest.importorskip("matplotlib")
    run(lesson, "0", 240)


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_the_notebook_is_the_lesson_executed(lesson: Lesson) -> None:
    text = lesson.notebook.read_text(encoding="utf-8")
    assert len(text) < 400_000, "plots this large make a repository heavy"
    notebook = json.loads(text)
    source = cells(lesson.path.read_text(encoding="utf-8"))
    rebuild = f"is out of date; run: python -m tinymp.course.notebooks {lesson.number}"
    given = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    assert given == [(cell.kind, cell.text) for cell in source], f"{lesson.notebook} {rebuild}"
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert {kind(output) for output in outputs} == {"stdout", "plot"}


def kind(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return str(output["name"])
    assert output["output_type"] == "display_data", output
    return "plot" if "image/png" in output["data"] else "other"


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_has_the_parts_of_a_lesson(lesson: Lesson) -> None:
    text = "\n".join(
        cell.text for cell in cells(lesson.path.read_text(encoding="utf-8"))
        if cell.kind == "markdown"
    )  # fmt: skip
    for part in (
        "**You will**", "**You will learn**", "**You need**", "**Predict", "## What to remember",
        "## On your own", "## Further reading",
    ):  # fmt: skip
        assert part in text, f"{lesson.name} lacks {part}"
    tasks = [exercise.task for exercise in exercises() if exercise.lesson == lesson.number]
    assert tasks
    for task in tasks:
        assert task in text, f"{lesson.name} does not name exercise {task}"


def test_lessons_are_numbered_as_their_files_are() -> None:
    assert [lesson.number for lesson in LESSONS] == [int(lesson.name[:2]) for lesson in LESSONS]
