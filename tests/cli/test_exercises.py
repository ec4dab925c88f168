"""`tinymp exercises`: init, list, check, hint, solution, reset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tinymp.cli import app, exercises
from tinymp.course import exercises as all_exercises
from tinymp.course import find_exercise


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["exercises", *arguments], env={"COLUMNS": "80"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert command("init", str(tmp_path)).exit_code == 0
    return tmp_path


def answer(folder: Path) -> Path:
    return folder / find_exercise("1b").path.name


def solve(folder: Path) -> None:
    source = find_exercise("1b").path.read_text(encoding="utf-8")
    answer(folder).write_text(source, encoding="utf-8")


def test_init_writes_stubs_and_keeps_answers(folder: Path) -> None:
    assert len(list(folder.iterdir())) == len(all_exercises())
    answer(folder).write_text("mine", encoding="utf-8")
    again = command("init", str(folder)).output
    assert f"Wrote 0 tasks to {folder}. {len(all_exercises())} were there and stay" in again
    assert f"tinymp exercises check 1a --dir {folder}\n" in again  # in one piece
    assert answer(folder).read_text(encoding="utf-8") == "mine"


def test_init_writes_solved_tasks_for_teachers(tmp_path: Path) -> None:
    assert "Fill the gaps" not in command("init", str(tmp_path), "--solved").output
    text = answer(tmp_path).read_text(encoding="utf-8")
    assert "SOLUTION" not in text
    assert "Hint" not in text
    assert "HIDDEN" not in text
    assert command("check", "1b", "--dir", str(tmp_path), "--hidden").exit_code == 0


def test_list_sums_the_points() -> None:
    lines = command("list").output.splitlines()
    assert str(sum(exercise.points for exercise in all_exercises())) in lines[-1].split()


def test_check_says_what_is_open_and_what_is_solved(folder: Path) -> None:
    result = command("check", "1b", "--dir", str(folder))
    assert result.exit_code == 1
    assert "1b  0 of 3 points" in result.output
    assert "not solved yet" in result.output
    solve(folder)
    result = command("check", "1b", "--dir", str(folder), "--hidden", "--seed", "5")
    assert result.exit_code == 0
    assert "3 of 3 points." in result.output


def test_check_speaks_json_to_scripts(folder: Path) -> None:
    solve(folder)
    (report,) = json.loads(command("check", "1b", "--dir", str(folder), "--json").output)
    assert (report["task"], report["earned"], report["points"]) == ("1b", 3, 3)
    assert [test["error"] for test in report["tests"]] == ["", ""]


def test_check_takes_lessons_and_files(folder: Path) -> None:
    lesson = command("check", "1", "--dir", str(folder)).output
    assert [line[:2] for line in lesson.splitlines() if "of 3 points" in line] == ["1a", "1b", "1c"]
    solve(folder)
    assert command("check", str(answer(folder))).exit_code == 0


def test_inside_the_folder_it_needs_no_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    solve(folder)
    monkeypatch.chdir(folder)
    assert command("check", "1b").exit_code == 0
    assert "Wrote 0 tasks to ." in command("init").output


def test_what_all_tests_say_is_said_once(folder: Path) -> None:
    text = find_exercise("1b").stub().replace("def count_between(a, b):", "def count_between(a, b)")
    answer(folder).write_text(text, encoding="utf-8")
    output = command("check", "1b", "--dir", str(folder)).output
    assert output.count("SyntaxError: expected ':'") == 1
    assert "1b-positive, 1b-signs: File" in output


def test_hints_come_one_by_one() -> None:
    first, last = find_exercise("1b").hints[0], find_exercise("1b").hints[-1]
    output = " ".join(command("hint", "1b").output.split())
    assert first.split("`")[0] in output
    assert "tinymp exercises hint 1b --step 2" in output
    assert last[:30] not in output
    assert "tinymp exercises solution 1b" in command("hint", "1b", "--step", "3").output
    beyond = command("hint", "1b", "--step", "9")
    assert beyond.exit_code == 2
    assert "task 1b has 3 hints, but not number 9" in beyond.stderr


def test_the_solution_is_shown_on_request() -> None:
    output = command("solution", "1b").output
    assert "def count_between" in output
    assert "Hint" not in output


def test_reset_begins_again_and_keeps_the_answer(folder: Path) -> None:
    answer(folder).write_text("mine", encoding="utf-8")
    assert command("reset", "1b", "--dir", str(folder)).exit_code == 0
    assert answer(folder).read_text(encoding="utf-8") == find_exercise("1b").stub()
    old = answer(folder).with_suffix(".py.old")
    assert old.read_text(encoding="utf-8") == "mine"
    assert command("reset", "1b", "--dir", str(folder)).exit_code == 0
    assert old.read_text(encoding="utf-8") == "mine"  # the stub needs no keeping
    answer(folder).write_text("mine, too", encoding="utf-8")
    assert command("reset", "1b", "--dir", str(folder)).exit_code == 0
    assert old.read_text(encoding="utf-8") == "mine"
    assert old.with_suffix(".old2").read_text(encoding="utf-8") == "mine, too"


def test_reset_leaves_the_source_of_a_task_alone() -> None:
    source = find_exercise("1b").path
    text = source.read_text(encoding="utf-8")
    result = command("reset", "1b", "--dir", str(source.parent))
    assert result.exit_code == 2
    assert "is the course's own copy of the task" in result.stderr
    assert source.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "99z"], "there is no task '99z'; expected one of 1a, 1b"),
        (["check", "--dir", "nowhere"], "nowhere has no answers; `tinymp exercises init nowhere`"),
        (["check", "1a", "--dir", "nowhere"], "1a_read_e4m3.py is not there; `tinymp exercises in"),
        (["solution", "1"], "there is no task '1'"),
    ],
)
def test_mistakes_are_explained(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_missing_hypothesis_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exercises, "find_spec", lambda name: None)
    result = command("check", "1a", "--dir", str(folder))
    assert result.exit_code == 2
    assert 'need hypothesis, which is not installed; install it with: pip install "tinymp[' in (
        result.stderr
    )
