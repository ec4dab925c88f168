"""Is an answer right? The tests of the exercise decide, run on the learner's gaps."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tinymp.course.exercises import Exercise
from tinymp.course.percent import Cell, cells

#: Seconds after which an answer counts as one that never ends.
TIMEOUT = 60


@dataclass(frozen=True)
class CellResult:
    """One graded cell: its identifier, what it is worth, and its error ("" if it passed)."""

    name: str
    points: int
    error: str


@dataclass(frozen=True)
class Report:
    """How an answer did.

    Attributes:
        task: of the exercise.
        results: of the graded cells.
    """

    task: str
    results: list[CellResult]

    @property
    def earned(self) -> int:
        """Points of the cells that passed."""
        return sum(result.points for result in self.results if not result.error)

    @property
    def points(self) -> int:
        """Points of all graded cells."""
        return sum(result.points for result in self.results)


def check(
    exercise: Exercise, answer: Path, *, hidden: bool = False, seed: int | None = None
) -> Report:
    """Run the tests of an exercise on an answer. Tests in the answer's file do not count.

    Args:
        exercise: the task.
        answer: the learner's file: the stub with its gaps filled.
        hidden: run the hidden tests, too.
        seed: of the examples that hypothesis draws; None draws the same ones each time.

    Raises:
        FileNotFoundError: no such file.
    """
    try:
        program = exercise.program(cells(answer.read_text(encoding="utf-8")), hidden)
    except UnicodeDecodeError:
        return _refused(exercise, f"{answer} is not UTF-8 text; save it in that encoding")
    except ValueError as unread:
        return _refused(exercise, f"{answer} cannot be read: {unread}")
    names = [_name(cell) or f"given-{place}" for place, cell in enumerate(program, start=1)]
    sources = [cell.source for cell in program]
    errors = _errors(list(zip(names, sources, strict=True)), seed)
    results: list[CellResult] = []
    broken = ""
    for name, cell, error in zip(names, program, errors, strict=True):
        if _points(cell):
            results.append(CellResult(name, _points(cell), broken or error))
        else:
            # An answer that does not even run fails each of its tests for that reason.
            broken = broken or error
    return Report(exercise.task, results)


def _refused(exercise: Exercise, error: str) -> Report:
    """No points, and the reason, so that one bad file does not keep others from being graded."""
    tests = [CellResult(_name(cell), _points(cell), error) for cell in exercise.tests]
    return Report(exercise.task, tests)


def _errors(named: list[tuple[str, str]], seed: int | None) -> list[str]:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tinymp.course.runner"],
            input=json.dumps({"cells": named, "seed": seed}), encoding="utf-8",
            capture_output=True, timeout=TIMEOUT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        said = late.stdout or ""
        printed = said.decode("utf-8") if isinstance(said, bytes) else said
        why = f"did not end within {TIMEOUT} seconds; is there a loop that never stops?"
    else:
        printed = done.stdout
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        why = f"the process that ran it ended early: {last[0]}"
    errors: list[str] = [json.loads(line) for line in printed.splitlines() if line[:1] == '"']
    if len(errors) < len(named):
        culprit = named[len(errors)][0]
        skipped = len(named) - len(errors) - 1
        errors += [why] + [f"not run, because {culprit} did not come to its end"] * skipped
    return errors


def _name(cell: Cell) -> str:
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


def _points(cell: Cell) -> int:
    notes = cell.metadata.get("nbgrader", {})
    return int(notes["points"]) if notes.get("grade") else 0
