"""How the commands speak: results to standard output, one clear line to standard error."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130  # exit codes; the last is what shells use for Ctrl-C


def console() -> Console:
    """Where results go: in colour to a terminal, as plain text into a file or a pipe."""
    return Console(highlight=False)


@contextmanager
def warnings_on(screen: Console) -> Iterator[None]:
    """Print warnings among the results, without the place in the code that they come from."""

    def show(message: Any, *_: Any, **__: Any) -> None:
        screen.print(f"Warning: {message}", style="yellow", markup=False)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextmanager
def bad_input() -> Iterator[None]:
    """Report what the user got wrong in one line, and end with exit code 2.

    For the part of a command that reads its input. What fails later is a bug, and shows a
    traceback.
    """
    try:
        yield
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        typer.echo(f"tinymp: {error}", err=True)
        raise typer.Exit(BAD_INPUT) from None


@contextmanager
def enough_memory() -> Iterator[None]:
    """Report in one line that the memory does not suffice, and end with exit code 1."""
    try:
        yield
    except MemoryError as error:
        typer.echo(f"tinymp: {error}", err=True)
        raise typer.Exit(FAILED) from None
