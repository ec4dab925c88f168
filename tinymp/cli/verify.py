"""`tinymp verify`: the laws that this package promises, tried on this machine."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from tinymp.cli.console import FAILED, bad_input, console
from tinymp.cli.devices import chosen_device


def verify(
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, or auto.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Which values are tried.")] = 0,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Try the encoders of another library instead: ml_dtypes, numpy or torch.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Try every promise about numbers on this machine; exit code 1 if one does not hold."""
    from tinymp.devices import get_device
    from tinymp.testing.peers import encoders_of, verify_peers
    from tinymp.testing.verify import verify as look

    screen = console()
    with bad_input():
        if seed < 0:
            raise ValueError(f"a seed is 0 or more, but {seed} was given")
        device = chosen_device(device, screen)
        get_device(device)
        peers = None if encoder is None else encoders_of(encoder)
    with screen.status("Trying ..."):
        findings = list(look(device, seed) if peers is None else verify_peers(peers, seed))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("subject", "promise"):
        table.add_column(title, overflow="fold")
    table.add_column("tried", justify="right", no_wrap=True)
    table.add_column("holds", no_wrap=True)
    for finding in findings:
        holds = "[red]no[/red]" if finding.problem else "yes"
        table.add_row(finding.subject, finding.promise, f"{finding.checked:,}", holds)
    screen.print(table)
    broken = [finding for finding in findings if finding.problem]
    for finding in broken:
        screen.print(f"\n{finding.subject}: {finding.promise}", style="red", markup=False)
        screen.print(f"    {finding.problem}", markup=False)
    tried = sum(finding.checked for finding in findings)
    held = len(findings) - len(broken)
    where = f"promises hold on {device}" if encoder is None else f"encoders of {encoder} keep all"
    screen.print(f"\n{held} of {len(findings)} {where} ({tried:,} values).")
    if broken:
        raise typer.Exit(FAILED)
