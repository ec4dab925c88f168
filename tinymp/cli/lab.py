"""`tinymp lab sums`: experiments about numbers, each a table and a plot."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from tinymp.cli.console import bad_input, console

_WIDTH = 100  # of tables in files and pipes


def lab(
    experiment: Annotated[
        str | None, typer.Argument(help="sums, dots, matmul, updates or scale; none lists them.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for table, plot and figures.")] = Path(
        "runs/lab"
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="The shortest form that still shows the point.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Which random numbers.")] = 0,
) -> None:
    """Run an experiment about sums, products, updates or loss scales.

    The same seed gives the same figures. The folder gets EXPERIMENT.json with every figure,
    EXPERIMENT.txt with the table and EXPERIMENT.png with the plot; those of an earlier run are
    replaced.
    """
    from tinymp.lab import EXPERIMENTS, get_experiment

    screen = console()
    if not screen.is_terminal:
        screen.width = _WIDTH
    if experiment is None:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
        for name, listed in EXPERIMENTS.items():
            table.add_row(f"tinymp lab {name}", listed.what)
        screen.print(table)
        return
    with bad_input():
        chosen = get_experiment(experiment)
        if seed < 0:
            raise ValueError(f"a seed is 0 or more, but {seed} was given")
        out.mkdir(parents=True, exist_ok=True)
    short = quick or os.environ.get("TINYMP_FAST") == "1"
    with screen.status("Computing ..."):
        result = chosen.run(seed=seed, **(chosen.quick if short else {}))
    table = Table(title=result.question, title_style="bold", title_justify="left")
    for i, name in enumerate(result.head):
        table.add_column(name, justify="right" if i else "left")
    for row in result.rows:
        table.add_row(*map(Text, row))
    screen.print(table)
    for finding in result.findings:
        screen.print(finding, markup=False)
    try:
        result.save(out)
    except ModuleNotFoundError as missing:
        screen.print(f"No plot: {missing}", markup=False, soft_wrap=True)
    screen.print(f"Everything is in {out}", markup=False, soft_wrap=True)
