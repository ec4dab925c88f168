"""A marked source gives stub, solution and hints; wrong ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinymp.course.exercises import exercises, find_exercise, read_exercise
from tinymp.course.percent import cells

SOURCE = """# %% [markdown]
# # 9z · Double
#
# Text.

# %% nbgrader={"grade": false, "grade_id": "9z-gap", "solution": true}
def double(x):
    ### BEGIN SOLUTION
    # Hint 1: Add it
    # to itself.
    # Hint 2: x + x
    return x + x
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "9z-test", "points": 2, "solution": false}
assert double(2) == 4
### BEGIN HIDDEN TESTS
assert double(3) == 6
### END HIDDEN TESTS
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "9z_double.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def test_the_stub_has_nbgraders_gap_and_no_hidden_tests(source: Path) -> None:
    stub = read_exercise(source).stub()
    gap = '"solution": true}\ndef double(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()'
    assert gap in stub
    assert "double(2)" in stub
    for secret in ("Hint", "x + x", "double(3)", "HIDDEN", "SOLUTION"):
        assert secret not in stub


def test_points_hints_and_solution(source: Path) -> None:
    exercise = read_exercise(source)
    assert (exercise.task, exercise.lesson, exercise.points) == ("9z", 9, 2)
    assert exercise.hints == ["Add it to itself.", "x + x"]
    assert exercise.solution() == "def double(x):\n    return x + x\n"


def test_the_program_takes_the_gap_from_the_answer_and_the_tests_from_the_source(
    source: Path,
) -> None:
    exercise = read_exercise(source)
    answer = exercise.stub().replace("raise NotImplementedError()", "return 2 * x")
    answer = answer.replace("assert double(2) == 4", "pass")
    seen, hidden = (
        "\n".join(cell.source for cell in exercise.program(cells(answer), hidden))
        for hidden in (False, True)
    )
    assert "return 2 * x" in seen
    assert "assert double(2) == 4" in seen
    assert "double(3)" not in seen
    assert "double(3)" in hidden


def test_an_answer_without_the_marker_is_refused(source: Path) -> None:
    with pytest.raises(ValueError, match=r"has no cell '9z-gap'.*tinymp exercises reset 9z"):
        read_exercise(source).program(cells("# %%\nx = 1\n"))


def test_a_source_without_test_is_refused(source: Path) -> None:
    source.write_text(SOURCE.replace('"grade": true', '"grade": false'), encoding="utf-8")
    with pytest.raises(ValueError, match="has a cell with a gap and a graded cell"):
        read_exercise(source)


def test_exercises_are_found_by_task_and_by_file() -> None:
    first = exercises()[0]
    assert find_exercise("1a") is not first
    assert find_exercise("1a") == find_exercise(first.path.name) == first
    with pytest.raises(ValueError, match=r"no task '77q'; expected one of 1a, 1b"):
        find_exercise("77q")
