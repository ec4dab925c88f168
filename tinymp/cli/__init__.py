"""The `tinymp` command: bits, train, compare, verify, lab, ops, bench, doctor, and the course."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tinymp import __version__
from tinymp.cli.bench import bench
from tinymp.cli.bits import bits
from tinymp.cli.compare import compare
from tinymp.cli.doctor import doctor
from tinymp.cli.exercises import app as exercise_commands
from tinymp.cli.lab import lab
from tinymp.cli.ops import ops
from tinymp.cli.reference import reference
from tinymp.cli.train import train
from tinymp.cli.tutorials import app as lesson_commands
from tinymp.cli.verify import verify

app = typer.Typer(
    name="tinymp",
    help="Train networks in mixed precision, and look at the numbers inside.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# A negative number looks like an option; what is no option is the number.
app.command(context_settings={"ignore_unknown_options": True})(bits)
app.command()(train)
app.command()(compare)
app.command()(verify)
app.command()(lab)
app.command()(ops)
app.add_typer(lesson_commands)
app.add_typer(exercise_commands)
app.command()(bench)
app.command()(doctor)
app.command()(reference)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tinymp {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command that the arguments name."""
    for stream in (sys.stdout, sys.stderr):
        # A Windows pipe may know no "×"; a question mark serves better than a crash.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    app()
