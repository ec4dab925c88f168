"""`tinymp tutorials`: the lessons, to list, open, run and copy."""

from __future__ import annotations

import os
import subprocess
import sys
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tinymp.cli.console import FAILED, bad_input, console
from tinymp.course import exercises, find_lesson, lessons, tutorials_folder
from tinymp.course.lessons import copy_course

app = typer.Typer(
    name="tutorials", help="The lessons: list, open, run and copy them.", no_args_is_help=True
)
_EXPLORER = "explorer"
_DIFFICULTY = {1: "*", 2: "**", 3: "***"}
Name = Annotated[str, typer.Argument(help="A number (3), a name (03_sums), or a part of it.")]


@app.command("list")
def list_lessons() -> None:
    """List the lessons: titles, minutes, difficulty, points of their exercises."""
    points = {
        lesson.number: sum(x.points for x in exercises() if x.lesson == lesson.number)
        for lesson in lessons()
    }
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("lesson")
    for title in ("read\nmin", "run\ns", "practise\nmin", "points"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("level", no_wrap=True)
    for lesson in lessons():
        minutes = str(lesson.read), str(lesson.run), str(lesson.practise)
        difficulty = _DIFFICULTY[lesson.difficulty]
        table.add_row(lesson.name, lesson.title, *minutes, str(points[lesson.number]), difficulty)
    screen = console()
    screen.print(table)
    screen.print(
        "\nRead one: tinymp tutorials open 1. Keep your own copy: tinymp tutorials copy lessons.\n"
        "Bits by mouse and keyboard: tinymp tutorials open explorer."
    )


@app.command("open")
def open_lesson(
    name: Annotated[str, typer.Argument(help='A lesson, or "explorer".')],
    folder: Annotated[Path, typer.Option(help="Where your copy is put.")] = Path(),
) -> None:
    """Open your copy of a lesson's notebook in Jupyter, or the float explorer in the browser."""
    screen = console()
    with bad_input():
        if name == _EXPLORER:
            page = (tutorials_folder() / "float_explorer.html").resolve()
            screen.print(f"Opening {page}")
            webbrowser.open(page.as_uri())
            return
        lesson = find_lesson(name)
        copy = folder / lesson.notebook.name
        if not copy.exists():
            folder.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(lesson.notebook.read_bytes())
            screen.print(f"Copied to {copy}; your changes stay there.")
        if find_spec("notebook") is None:
            raise RuntimeError(
                f"{copy} needs Jupyter, which is not installed; install it with: "
                'pip install "tinymp[tutorials]"'
            )
    jupyter = subprocess.run([sys.executable, "-m", "notebook", str(copy)], check=False)
    raise typer.Exit(jupyter.returncode)


@app.command("run")
def run_lesson(
    name: Name,
    fast: Annotated[bool, typer.Option("--fast", help="The shortest honest form.")] = False,
    plots: Annotated[
        Path | None, typer.Option(help="Folder for the plots, as PNG files.", show_default=False)
    ] = None,
) -> None:
    """Run a lesson as a plain program, which checks every claim of its text."""
    import runpy

    with bad_input():
        lesson = find_lesson(name)
        try:
            import matplotlib
        except ModuleNotFoundError:
            raise RuntimeError(
                "a lesson draws, and matplotlib is not installed; install it with: "
                'pip install "tinymp[plots]"'
            ) from None
    if fast:
        os.environ["TINYMP_FAST"] = "1"
    matplotlib.use("Agg")  # plots go to files, so that no window waits to be closed
    screen = console()
    try:
        runpy.run_path(str(lesson.path), run_name="__main__")
    except AssertionError as broken:
        screen.print(f"\n{lesson.name}: a claim does not hold here: {broken}", style="red")
        raise typer.Exit(FAILED) from broken
    if plots is not None:
        for path in _save_figures(plots, lesson.name):
            screen.print(f"wrote {path}")
    screen.print(f"{lesson.name}: every claim holds.")


def _save_figures(folder: Path, name: str) -> list[Path]:
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in pyplot.get_fignums():
        paths.append(folder / f"{name}_{number}.png")
        pyplot.figure(number).savefig(paths[-1])
    return paths


@app.command("copy")
def copy_lessons(
    folder: Annotated[Path, typer.Argument(help="A folder; it is made if need be.")],
) -> None:
    """Copy lessons, notebooks and the float explorer, to change and to keep."""
    with bad_input():
        copied = copy_course(folder)
    console().print(f"Copied {len(copied)} files to {folder}.")
