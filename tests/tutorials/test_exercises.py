"""Every stub fails, every reference passes, for every exercise."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinymp.course import Exercise, check, exercises, lessons

EXERCISES = exercises()


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.task)
def test_the_stub_fails_and_the_reference_passes(exercise: Exercise, tmp_path: Path) -> None:
    stub = tmp_path / exercise.path.name
    stub.write_text(exercise.stub(), encoding="utf-8")
    assert check(exercise, stub, hidden=True).earned == 0
    reference = check(exercise, exercise.path, hidden=True)
    assert reference.earned == reference.points, reference.results


@pytest.mark.slow
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.task)
def test_the_reference_passes_with_other_seeds(exercise: Exercise) -> None:
    for seed in range(1, 4):
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
    assert "given(" in "".join(cell.source for cell in exercise.tests), "no hypothesis test"


def test_tasks_are_unique() -> None:
    tasks = [exercise.task for exercise in EXERCISES]
    assert len(tasks) == len(set(tasks))
