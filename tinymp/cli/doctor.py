"""`tinymp doctor`: what is there to compute with, does it work, and what is missing?"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tinymp.cli.console import FAILED, console

_SIGNS = {
    "there": "[green]ok[/green]",
    "missing": "[yellow]none[/yellow]",
    "broken": "[red]no[/red]",
}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Look at Python, NumPy, CuPy, driver and GPU, and measure what the GPU reaches.

    A machine without a GPU is no fault: the exit code is 1 only if something that is installed does
    not work.
    """
    from tinymp.bench.checkup import checkup

    screen = console()
    with screen.status("Looking, and measuring if there is a GPU ..."):
        found = checkup()
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
    else:
        _show(screen, found)
    if found.is_broken:
        raise typer.Exit(FAILED)


def _show(screen: Console, found: Any) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in found.findings:
        table.add_row(finding.subject, _SIGNS[finding.state], Text(finding.text))
    screen.print(table)
    if found.rates:
        screen.print("", _rates(found), f"copy on the GPU: {found.copy / 1e12:.2f} TB/s")
    for finding in found.findings:
        if finding.advice:
            screen.print(f"\n{finding.subject}: {finding.advice}", markup=False, soft_wrap=True)
    screen.print(f"\n{_verdict(found)}")


def _rates(found: Any) -> Table:
    table = Table(title="products on cuda:0", title_justify="left", box=None, pad_edge=False)
    for title, justify in (("format", "left"), ("tensor cores", "left"), ("TFLOP/s", "right")):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("", overflow="fold")
    for rate in found.rates:
        flops = "" if rate.flops is None else f"{rate.flops / 1e12:.0f}"
        table.add_row(rate.format, "yes" if rate.tensor_cores else "no", flops, rate.text)
    return table


def _verdict(found: Any) -> str:
    if found.is_broken:
        return "Something that is installed does not work; device='cpu' serves meanwhile."
    if found.rates:
        return "device='cuda' and --device cuda are ready."
    return "tinymp runs here on the CPU: device='cpu', --device cpu."
