"""`tinymp tutorials`: list, open, run, copy, and what it says where something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tinymp.cli import app, tutorials
from tinymp.course import lessons


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["tutorials", *arguments], env={"COLUMNS": "80"})


def test_lists_every_lesson_within_80_columns() -> None:
    lines = command("list").output.splitlines()
    assert all(len(line) <= 80 for line in lines)
    for lesson in lessons():
        assert any(line.startswith(f"{lesson.name} ") for line in lines)


def test_copies_lessons_and_refuses_to_overwrite(tmp_path: Path) -> None:
    assert command("copy", str(tmp_path)).exit_code == 0
    assert (tmp_path / "01_floats.py").exists()
    again = command("copy", str(tmp_path))
    assert again.exit_code == 2
    assert "already has 01_floats.py, 01_floats.ipynb, 02_rounding.py and 24 more" in again.stderr
    assert "name a new folder" in again.stderr


def test_opens_a_copy_of_the_notebook_not_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    class Done:
        returncode = 0

    def run(arguments: list[str], check: bool) -> Done:
        calls.append(arguments)
        return Done()

    monkeypatch.setattr(tutorials.subprocess, "run", run)
    monkeypatch.setattr(tutorials, "find_spec", lambda name: object())
    copy = tmp_path / "01_floats.ipynb"
    assert command("open", "1", "--folder", str(tmp_path)).exit_code == 0
    assert calls[0][1:] == ["-m", "notebook", str(copy)]
    copy.write_text("mine", encoding="utf-8")
    command("open", "1", "--folder", str(tmp_path))
    assert copy.read_text(encoding="utf-8") == "mine"


def test_says_how_to_get_jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tutorials, "find_spec", lambda name: None)
    result = command("open", "1", "--folder", str(tmp_path))
    assert result.exit_code == 2
    assert 'needs Jupyter, which is not installed; install it with: pip install "tinymp[' in (
        result.stderr
    )


def test_opens_the_explorer_in_the_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[str] = []
    monkeypatch.setattr(tutorials.webbrowser, "open", pages.append)
    assert command("open", "explorer").exit_code == 0
    assert pages[0].startswith("file:///")
    assert pages[0].endswith("/float_explorer.html")


def test_runs_a_lesson_and_saves_its_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("TINYMP_FAST", "1")
    result = command("run", "1", "--fast", "--plots", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert result.output.endswith("01_floats: every claim holds.\n")
    assert (tmp_path / "01_floats_1.png").stat().st_size > 1000


def test_an_unknown_lesson_is_refused() -> None:
    result = command("run", "quantum")
    assert result.exit_code == 2
    assert "no lesson is called 'quantum'; expected one of 01_floats" in result.stderr
