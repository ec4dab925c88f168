"""`tinymp exercises`: get the tasks, check answers, ask for hints."""

from __future__ import annotations

import json
from importlib.util import find_spec
from itertools import count, groupby
from operator import attrgetter
from pathlib import Path
from typing import Annotated

import typer
from rich.syntax import Syntax
from rich.table import Table

from tinymp.cli.console import FAILED, bad_input, console
from tinymp.course import Exercise, Report, check, exercises, find_exercise

app = typer.Typer(
    name="exercises",
    help="The exercises of the lessons: get them, check your answers, ask for hints.",
    no_args_is_help=True,
)
Task = Annotated[str, typer.Argument(help="A task, such as 1a.")]
_FOLDER = Path("exercises")


def _usual_folder() -> Path:
    """The folder `exercises`, or this one if the answers are here."""
    here = any(_answer(Path(), exercise).exists() for exercise in exercises())
    return Path() if here else _FOLDER


Folder = Annotated[
    Path,
    typer.Option(
        "--dir",
        default_factory=_usual_folder,
        help="Folder of your answers.",
        show_default="this folder if they are in it, else exercises",
    ),
]


@app.command("init")
def init(
    folder: Annotated[
        Path,
        typer.Argument(
            default_factory=_usual_folder,
            help="A folder; it is made if need be.",
            show_default="exercises, or this folder if it has answers",
        ),
    ],
    solved: Annotated[
        bool, typer.Option("--solved", help="Fill the gaps: for teachers, to hand out afterwards.")
    ] = False,
) -> None:
    """Write a file with gaps for each task. Files that are there already stay as they are."""
    with bad_input():
        folder.mkdir(parents=True, exist_ok=True)
        new = [exercise for exercise in exercises() if not _answer(folder, exercise).exists()]
        for exercise in new:
            _write(_answer(folder, exercise), exercise.solved() if solved else exercise.stub())
    screen = console()
    kept = len(exercises()) - len(new)
    screen.print(
        f"Wrote {len(new)} tasks to {folder}."
        + (f" {kept} were there and stay as they are." if kept else ""),
        soft_wrap=True,
    )
    if solved:
        return
    screen.print(
        "Fill the gaps with any editor; then: tinymp exercises check 1a"
        + (f" --dir {folder}" if folder not in (_FOLDER, Path()) else ""),
        soft_wrap=True,  # a command is copied in one piece
    )


@app.command("list")
def list_exercises() -> None:
    """List the tasks, with the lesson they belong to and their points."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("task", no_wrap=True)
    table.add_column("title")
    table.add_column("points", justify="right")
    table.add_column("hints", justify="right")
    for exercise in exercises():
        numbers = str(exercise.points), str(len(exercise.hints))
        table.add_row(exercise.task, exercise.title, *numbers)
    table.add_row("", "all", str(sum(exercise.points for exercise in exercises())), "")
    console().print(table)


@app.command("check")
def check_answers(
    tasks: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tasks (1a), lessons (1) or files; all of the folder if none is named."
        ),
    ] = None,
    *,
    folder: Folder,
    hidden: Annotated[bool, typer.Option("--hidden", help="Run hidden tests, too.")] = False,
    seed: Annotated[
        int | None, typer.Option(help="Draw the tests' examples from this seed.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Run the tests on your answers; exit code 1 unless all of them pass."""
    with bad_input():
        if find_spec("hypothesis") is None:
            raise RuntimeError(
                "the tests need hypothesis, which is not installed; install it with: "
                'pip install "tinymp[tutorials]"'
            )
        wanted = _wanted(tasks or [], folder)
    screen = console()
    reports = []
    for exercise, answer in wanted:
        with screen.status(f"running the tests of {exercise.task}"):
            reports.append(check(exercise, answer, hidden=hidden, seed=seed))
        if not as_json:
            _show(reports[-1])
    earned, points = sum(r.earned for r in reports), sum(r.points for r in reports)
    if as_json:
        typer.echo(json.dumps([_plain(report) for report in reports], indent=1))
    else:
        screen.print(f"{earned} of {points} points.", style="bold")
    if earned < points:
        raise typer.Exit(FAILED)


@app.command("hint")
def hint(
    task: Task, step: Annotated[int, typer.Option(min=1, help="1 is the gentlest.")] = 1
) -> None:
    """Show one hint of a task."""
    with bad_input():
        exercise = find_exercise(task)
        hints = exercise.hints
        if step > len(hints):
            raise ValueError(f"task {exercise.task} has {len(hints)} hints, but not number {step}")
    screen = console()
    screen.print(f"Hint {step} of {len(hints)}. {hints[step - 1]}", markup=False)
    then = "hint" if step < len(hints) else "solution"
    option = f" --step {step + 1}" if then == "hint" else ""
    screen.print(f"More: tinymp exercises {then} {exercise.task}{option}", style="dim")


@app.command("solution")
def solution(task: Task) -> None:
    """Show the reference solution of a task."""
    with bad_input():
        exercise = find_exercise(task)
    console().print(Syntax(exercise.solution(), "python", background_color="default"))


@app.command("reset")
def reset(task: Task, folder: Folder) -> None:
    """Begin a task again; your answer is kept beside it, in a file that ends in .old or .old2."""
    with bad_input():
        exercise = find_exercise(task)
        answer = _answer(folder, exercise)
        if answer.resolve() == exercise.path.resolve():
            raise ValueError(
                f"{answer} is the course's own copy of the task, solution and all; "
                "`tinymp exercises init FOLDER` writes one for you"
            )
        folder.mkdir(parents=True, exist_ok=True)
        if answer.exists() and answer.read_bytes() != exercise.stub().encode():
            answer.replace(_free(answer))
        _write(answer, exercise.stub())
    console().print(f"{answer} is as it was at the beginning.")


def _answer(folder: Path, exercise: Exercise) -> Path:
    return folder / exercise.path.name


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _free(answer: Path) -> Path:
    """A name for an old answer that no older one has."""
    names = (answer.with_suffix(f".py.old{number if number > 1 else ''}") for number in count(1))
    return next(path for path in names if not path.exists())


def _wanted(tasks: list[str], folder: Path) -> list[tuple[Exercise, Path]]:
    """The exercises that were asked for, and the files with their answers."""
    if not tasks:
        found = [(x, _answer(folder, x)) for x in exercises() if _answer(folder, x).exists()]
        if not found:
            raise FileNotFoundError(
                f"{folder} has no answers; `tinymp exercises init {folder}` writes the tasks, "
                "`--dir` names another folder"
            )
        return found
    wanted: list[tuple[Exercise, Path]] = []
    for task in tasks:
        of_lesson = [x for x in exercises() if task == str(x.lesson)]
        if Path(task).is_file():
            wanted.append((find_exercise(task), Path(task)))
        else:
            wanted += [(x, _answer(folder, x)) for x in of_lesson or [find_exercise(task)]]
    for _, answer in wanted:
        if not answer.exists():
            raise FileNotFoundError(
                f"{answer} is not there; `tinymp exercises init {folder}` writes it, `--dir` names "
                "another folder"
            )
    return wanted


def _plain(report: Report) -> dict[str, object]:
    return {
        "task": report.task,
        "earned": report.earned,
        "points": report.points,
        "tests": [vars(result) for result in report.results],
    }


def _show(report: Report) -> None:
    screen = console()
    done = report.earned == report.points
    style = "green" if done else "yellow"
    screen.print(f"{report.task}  {report.earned} of {report.points} points", style=style)
    for error, results in groupby(report.results, key=attrgetter("error")):
        if error:
            names = ", ".join(result.name for result in results)
            told = error.replace("\n", "\n        ")
            screen.print(f"    {names}: {told}", markup=False, soft_wrap=True)
