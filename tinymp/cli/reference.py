"""`tinymp reference`: the documentation of every public name, made from the docstrings."""

from __future__ import annotations

import inspect
import typing
from pathlib import Path
from typing import Annotated

import typer

from tinymp.cli.console import FAILED, bad_input, console


def reference(
    folder: Annotated[Path, typer.Argument(help="Where the pages go.")] = Path("reference"),
) -> None:
    """Write the API reference as HTML pages, from the docstrings; exit code 1 on a warning."""
    import warnings

    with bad_input():
        try:
            import pdoc
        except ModuleNotFoundError:
            raise RuntimeError(
                "the reference needs pdoc, which is not installed; install it with: "
                'pip install "tinymp[docs]"'
            ) from None
    _resolve_annotations()
    pdoc.render.configure(docformat="google", footer_text="tinymp")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        pdoc.pdoc("tinymp", output_directory=folder)
    screen = console()
    for warning in found:
        screen.print(f"Warning: {warning.message}", style="yellow", markup=False)
    screen.print(f"Wrote {folder / 'index.html'}.")
    if found:
        raise typer.Exit(FAILED)


def _resolve_annotations() -> None:
    """Give names their meaning where they were written.

    pdoc would look up the `float` of an annotation in the class first, and Tensor has a method of
    that name. Some functions are imported when they are first named; pdoc asks only for what is
    there.
    """
    import tinymp

    for name in ("checkpoint", "gradcheck"):
        vars(tinymp)[name] = getattr(tinymp, name)
    for method in vars(tinymp.Tensor).values():
        if inspect.isfunction(method):
            function = inspect.unwrap(method)
            try:
                function.__annotations__ = typing.get_type_hints(function)
            except NameError:
                pass  # a name that only a type checker imports stays a name
