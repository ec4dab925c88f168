"""What is an exercise? One marked source, from which the stub and the solution both come.

The source is a file in percent format with nbgrader's markers, so that nbgrader can work with it,
too. Cells whose metadata says `"solution": true` have gaps between `### BEGIN SOLUTION` and
`### END SOLUTION`; cells that say `"grade": true` are tests, worth `points`, which pass if they
run without an exception. Between `### BEGIN HIDDEN TESTS` and `### END HIDDEN TESTS` are tests
that learners do not get to see. A comment `# Hint 1: ...` at the beginning of a gap is a hint.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinymp.course.folder import tutorials_folder
from tinymp.course.percent import Cell, cells, joined

_GAP = re.compile(
    r"^(?P<indent> *)### BEGIN SOLUTION\n(?P<body>.*?)^ *### END SOLUTION\n?",
    re.DOTALL | re.MULTILINE,
)
_HIDDEN = re.compile(
    r"^ *### BEGIN HIDDEN TESTS\n.*?^ *### END HIDDEN TESTS\n?", re.DOTALL | re.MULTILINE
)
_HINT = re.compile(r" *# Hint \d+: (?P<text>.*\n(?: *#(?! Hint \d).*\n)*)")


@dataclass(frozen=True)
class Exercise:
    """One task.

    Attributes:
        path: its source.
        task: its identifier, such as "1a", which never changes: the lesson's number and a letter.
        title: its heading.
        cells: the source, cell by cell.
    """

    path: Path
    task: str
    title: str
    cells: list[Cell]

    @property
    def lesson(self) -> int:
        """Number of the lesson that it belongs to."""
        return int(self.task[:-1])

    @property
    def tests(self) -> list[Cell]:
        """The graded cells."""
        return [cell for cell in self.cells if _notes(cell).get("grade")]

    @property
    def points(self) -> int:
        """What all tests are worth together."""
        return sum(_notes(cell)["points"] for cell in self.tests)

    @property
    def hints(self) -> list[str]:
        """The hints, from the gentlest to the plainest."""
        return [
            " ".join(re.sub(r"^ *# ?", "", line) for line in match["text"].splitlines())
            for cell in self.cells
            for gap in _GAP.finditer(cell.source + "\n")
            for match in _HINT.finditer(gap["body"])
        ]

    def stub(self) -> str:
        """The file that a learner gets: gaps are open, hidden tests left out."""
        return joined([_changed(cell, _without_hidden(_open(cell.source))) for cell in self.cells])

    def solved(self) -> str:
        """The same file with the gaps filled, to hand out afterwards; without hidden tests."""
        return joined(
            [_changed(cell, _without_hidden(solution_of(cell.source))) for cell in self.cells]
        )

    def solution(self) -> str:
        """The code of the gaps, solved."""
        solved = [cell for cell in self.cells if _notes(cell).get("solution")]
        return "\n\n\n".join(solution_of(cell.source) for cell in solved) + "\n"

    def program(self, answer: list[Cell], hidden: bool = False) -> list[Cell]:
        """The code cells with a learner's answer in place of the gaps, in the order to run them.

        Raises:
            ValueError: a cell with a gap is missing from the answer.
        """
        given = {name: cell for cell in answer if (name := _notes(cell).get("grade_id"))}
        program = []
        for cell in self.cells:
            if cell.kind != "code":
                continue
            if _notes(cell).get("solution"):
                name = _notes(cell)["grade_id"]
                if name not in given:
                    raise ValueError(
                        f"the answer to task {self.task} has no cell {name!r}: its line "
                        f"{cell.marker!r} is missing; put it back, or begin again with "
                        f"`tinymp exercises reset {self.task}`"
                    )
                cell = given[name]
            elif not hidden:
                cell = _changed(cell, _without_hidden(cell.source))
            program.append(cell)
        return program


def read_exercise(path: Path) -> Exercise:
    """The exercise of a source file.

    Raises:
        ValueError: a file without a heading, a gap or a test.
    """
    parts = cells(path.read_text(encoding="utf-8"))
    heading = re.match(r"# (?P<task>\d+[a-z]) · (?P<title>.+)\n", parts[0].text + "\n")
    notes = [_notes(cell) for cell in parts]
    if heading is None or not all(any(n.get(x) for n in notes) for x in ("solution", "grade")):
        raise ValueError(
            f"{path.name}: an exercise begins with a heading '# 1a · Title', and has a cell with a "
            "gap and a graded cell"
        )
    return Exercise(path, heading["task"], heading["title"], parts)


def exercises() -> list[Exercise]:
    """All exercises, in the order of the lessons."""
    found = [read_exercise(path) for path in (tutorials_folder() / "exercises").glob("*.py")]
    return sorted(found, key=lambda exercise: (exercise.lesson, exercise.task))


def find_exercise(task: str) -> Exercise:
    """The exercise of a task, `1a`, or of a file, `1a_read_bits.py`.

    Raises:
        ValueError: there is none; lists the tasks.
    """
    known = exercises()
    for exercise in known:
        if Path(task).stem in (exercise.task, exercise.path.stem):
            return exercise
    raise ValueError(
        f"there is no task {task!r}; expected one of {', '.join(x.task for x in known)}"
    )


def solution_of(source: str) -> str:
    """A cell's source with its gaps solved: the markers and hints are left out."""
    solved = _GAP.sub(lambda gap: _HINT.sub("", gap["body"]), source + "\n")
    return solved.rstrip("\n")


def _notes(cell: Cell) -> dict[str, Any]:
    notes: dict[str, Any] = cell.metadata.get("nbgrader", {})
    return notes


def _changed(cell: Cell, source: str) -> Cell:
    return Cell(cell.kind, source, cell.metadata)


def _open(source: str) -> str:
    """What nbgrader puts into a gap, so that its stubs and ours are the same."""
    put = r"\g<indent># YOUR CODE HERE\n\g<indent>raise NotImplementedError()\n"
    return _GAP.sub(put, source + "\n").rstrip("\n")


def _without_hidden(source: str) -> str:
    return _HIDDEN.sub("", source + "\n").rstrip("\n")
