"""Every stub fails, every reference passes, for every exercise."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from tinymp.course import Exercise, check, exercises, lessons
from tinymp.course.percent import cells

EXERCISES = exercises()


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.task)
def test_every_test_of_the_stub_fails(exercise: Exercise) -> None:
    namespace: dict[str, Any] = {"__name__": "exercise"}
    for cell in exercise.program(cells(exercise.stub()), hidden=True):
        code = compile(cell.source, exercise.task, "exec")
        if cell in exercise.tests:
            with pytest.raises((NotImplementedError, NameError)):
                exec(code, namespace)
        else:
            with contextlib.suppress(NotImplementedError):  # where a whole class is the gap
                exec(code, namespace)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.task)
@pytest.mark.filterwarnings("default")  # a learner sees warnings, too, and passes
def test_the_reference_passes(exercise: Exercise) -> None:
    namespace: dict[str, Any] = {"__name__": "exercise"}
    for cell in exercise.program(exercise.cells, hidden=True):
        exec(compile(cell.source, exercise.task, "exec"), namespace)


@pytest.mark.slow
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.task)
def test_the_reference_passes_as_an_answer_with_other_seeds(exercise: Exercise) -> None:
    for seed in (None, 1, 2):
        reference = check(exercise, exercise.path, hidden=True, seed=seed)
        assert reference.earned == reference.points, reference.results


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.task)
def test_an_exercise_is_complete(exercise: Exercise) -> None:
    assert exercise.path.name.startswith(f"{exercise.task}_")
    assert exercise.points >= 2
    assert len(exercise.hints) >= 2
    assert exercise.lesson in [lesson.number for lesson in lessons()]
    names = [c.metadata["nbgrader"]["grade_id"] for c in exercise.cells if c.metadata]
    assert len(names) == len(set(names))
    for name in names:
        assert name.startswith(f"{exercise.task}-")
    tests = "".join(cell.source for cell in exercise.tests)
    assert "given(" in tests, "no hypothesis test"
    # A notebook, or nbgrader, would stop an example after hypothesis's 0.2 seconds.
    assert tests.count("settings(") == tests.count("deadline=None"), "long examples need time"


def test_tasks_are_unique() -> None:
    tasks = [exercise.task for exercise in EXERCISES]
    assert len(tasks) == len(set(tasks))
