"""`tinymp ops`: the table of all operations and what each does with dtypes."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

import typer
from rich.table import Table

from tinymp.cli.console import bad_input, console


def ops(
    names: Annotated[list[str] | None, typer.Argument(help="Operations; all by default.")] = None,
    markdown: Annotated[bool, typer.Option(help="The page of the documentation.")] = False,
) -> None:
    """What every operation sees, computes in, sums, returns and keeps for backward."""
    from tinymp.autograd.op import OPS
    from tinymp.inspect import operations

    if markdown:
        typer.echo(operations.as_markdown(), nl=False)
        return
    with bad_input():
        for name in names or ():
            if name not in OPS:
                near = get_close_matches(name, OPS, 3) or ["tinymp ops, for all of them"]
                raise ValueError(f"there is no operation {name!r}; try {', '.join(near)}")
    screen = console()
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in operations.head():
        table.add_column(title, overflow="fold", no_wrap=title == "autocast")
    for title, chapter in operations.chapters().items():
        chosen = [op for op in chapter if not names or op.name in names]
        if chosen and not names:
            table.add_row(f"[bold]{title}[/bold]")
        for op in chosen:
            cells = operations.cells(op)
            table.add_row(*[cell.replace("*", "").replace("[", r"\[") for cell in cells])
    screen.print(table)
