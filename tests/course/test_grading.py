"""Answers are graded by the tests of the source, in a process of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinymp.course import Exercise, Report, check, grading
from tinymp.course.exercises import read_exercise

SOURCE = """# %% [markdown]
# # 9z · Square

# %% nbgrader={"grade": false, "grade_id": "9z-gap", "solution": true}
def square(x):
    ### BEGIN SOLUTION
    return x * x
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "9z-two", "points": 1, "solution": false}
assert square(2) == 4

# %% nbgrader={"grade": true, "grade_id": "9z-law", "points": 2, "solution": false}
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers())
def test_never_negative(x):
    assert square(x) >= 0, f"square({x}) is negative"


test_never_negative()
### BEGIN HIDDEN TESTS
assert square(3) == 9
### END HIDDEN TESTS
"""


@pytest.fixture
def exercise(tmp_path: Path) -> Exercise:
    path = tmp_path / "9z_square.py"
    path.write_text(SOURCE, encoding="utf-8")
    return read_exercise(path)


def graded(exercise: Exercise, code: str, **options: bool | int) -> Report:
    answer = exercise.path.with_name("answer.py")
    text = exercise.stub().replace("raise NotImplementedError()", code)
    answer.write_text(text, encoding="utf-8")
    return check(exercise, answer, **options)  # type: ignore[arg-type]


def test_points_are_earned_cell_by_cell(exercise: Exercise) -> None:
    assert graded(exercise, "return x * x").earned == 3
    report = graded(exercise, "return 2 * x")
    assert (report.earned, report.points) == (1, 3)
    error = report.results[1].error
    assert "square(-1) is negative" in error
    assert "x=-1" in error


def test_hidden_tests_and_a_seed_are_for_those_who_ask(exercise: Exercise) -> None:
    guess = "return {0: 0, 2: 4}.get(x, 1)"
    assert graded(exercise, guess).earned == 3
    assert graded(exercise, guess, hidden=True, seed=7).earned == 1


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("raise NotImplementedError()", "not solved yet"),
        ("return x *", "SyntaxError"),
        ("import os; os._exit(3)", "ended early: exit code 3"),
        ("raise SystemExit", "SystemExit"),
    ],
)
def test_errors_are_told(exercise: Exercise, code: str, error: str) -> None:
    report = graded(exercise, code)
    assert report.earned == 0
    assert error in report.results[0].error


def test_an_error_shows_the_line_that_raised_it(exercise: Exercise) -> None:
    report = graded(exercise, "return 2 * x + 1")
    assert report.results[0].error.endswith("line 1 of cell 9z-two: assert square(2) == 4")
    report = graded(exercise, "return x.real.sqrt()")
    assert "line 3 of cell 9z-gap: return x.real.sqrt()" in report.results[0].error


def test_what_an_answer_prints_is_shown_with_its_error(exercise: Exercise) -> None:
    report = graded(exercise, "print('x is', x)\n    return 5")
    assert report.results[0].error.endswith("assert square(2) == 4\nprinted last:\nx is 2")
    assert not graded(exercise, "print(x)\n    return x * x").results[0].error


def test_an_open_gap_is_named(exercise: Exercise) -> None:
    report = graded(exercise, "raise NotImplementedError()")
    assert report.results[0].error == "not solved yet: square still raises NotImplementedError"


def test_one_failure_is_told_at_a_time(exercise: Exercise) -> None:
    error = graded(exercise, "return 1 / x if x > 0 else -1").results[1].error
    assert "Group" not in error
    assert "test_never_negative(" in error


def test_what_never_ends_is_stopped(exercise: Exercise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grading, "TIMEOUT", 3)
    report = graded(exercise, "while x == 2: pass\n    return 1")
    first, second = (result.error for result in report.results)
    assert first == "did not end within 3 seconds; is there a loop that never stops?"
    assert second == "not run, because 9z-two did not come to its end"


def test_points_earned_before_it_ends_early_stay(exercise: Exercise) -> None:
    report = graded(exercise, "import os\n    return 4 if x == 2 else os._exit(3)")
    assert report.earned == 1
    assert report.results[1].error == "the process that ran it ended early: exit code 3"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"# caf\xe9\n", "answer.py is not UTF-8 text; save it in that encoding"),
        (
            b"# %% [markdown]\n# text\n",
            "cannot be read: the answer to task 9z has no cell '9z-gap'",
        ),
        (b"# %% nbgrader={\n", "cannot be read: line 1 begins a cell, but"),
    ],
)
def test_a_file_that_cannot_be_read_earns_nothing(
    exercise: Exercise, content: bytes, said: str
) -> None:
    answer = exercise.path.with_name("answer.py")
    answer.write_bytes(content)
    report = check(exercise, answer)
    assert report.earned == 0
    assert report.points == 3
    assert all(said in result.error for result in report.results)
