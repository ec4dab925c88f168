"""`tinymp train gpt2-shape`: what a step costs, as tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from tinymp.inspect.ledger import KINDS


def show_cost(screen: Console, training: Any, cost: Any) -> None:
    """Print what `bench.step_cost` measured."""
    c = training.configuration
    screen.print(
        f"GPT {c.layers}×{c.width}, {c.heads} heads, vocabulary {c.vocabulary}, "
        f"{c.batch_size}×{c.context} tokens, policy {c.policy}, on {c.device}"
        f"{', captured' if c.capture else ''}",
        style="bold",
        soft_wrap=True,
    )
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    step = cost.step
    table.add_row("step", f"{1e3 * step.median:.2f} ms")
    table.add_row("    quartiles", f"{1e3 * step.low:.2f} to {1e3 * step.high:.2f} ms")
    table.add_row("tokens a second", f"{cost.tokens / step.median:,.0f}")
    table.add_row("warm-up, not counted", f"{cost.first:.2f} s")
    table.add_row("parameters", f"{cost.parameters:,}")
    table.add_row("loss, last step", f"{cost.record.loss:.4f}")
    if training.scaler.is_enabled():
        table.add_row("loss scale", f"{cost.record.scale:,.10g}")
    screen.print(table, "", _memory(cost))


def _memory(cost: Any) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("memory", no_wrap=True)
    for heading in ("held as", "MiB", "bytes a parameter"):
        table.add_column(heading, justify="left" if heading == "held as" else "right")
    for kind in KINDS:
        if entry := cost.ledger.entries.get(kind):
            size = cost.ledger.bytes(kind)
            table.add_row(kind, ", ".join(entry), _mib(size), f"{size / cost.parameters:.2f}")
    if cost.peak is not None:
        names = ("peak of arrays", "held by the pool", "in use on the GPU, by its driver")
        for name, size in zip(names, cost.peak, strict=True):
            table.add_row(name, "", _mib(size), f"{size / cost.parameters:.2f}")
    return table


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f}"
