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
TIMEOUT = 120


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
        ValueError: a file that lacks a cell of the stub.
        FileNotFoundError: no such file.
    """
    program = exercise.program(cells(answer.read_text(encoding="utf-8")), hidden)
    errors = _errors([(_name(cell), cell.source) for cell in program], seed)
    # An answer that does not even run fails each of its tests for that reason.
    broken = next((e for c, e in zip(program, errors, strict=True) if e and not _points(c)), "")
    return Report(
        exercise.task,
        [
            CellResult(_name(cell), _points(cell), broken or error)
            for cell, error in zip(program, errors, strict=True)
            if _points(cell)
        ],
    )


def _errors(named: list[tuple[str, str]], seed: int | None) -> list[str]:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tinymp.course.runner"],
            input=json.dumps({"cells": named, "seed": seed}), encoding="utf-8",
            capture_output=True, timeout=TIMEOUT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [f"did not end within {TIMEOUT} seconds"] * len(named)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return [f"the process that ran it ended early: {last[0]}"] * len(named)
    errors: list[str] = json.loads(done.stdout.strip().splitlines()[-1])
    return errors


def _name(cell: Cell) -> str:
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", "without a gap"))


def _points(cell: Cell) -> int:
    notes = cell.metadata.get("nbgrader", {})
    return int(notes["points"]) if notes.get("grade") else 0
