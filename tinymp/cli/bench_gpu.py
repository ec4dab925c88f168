"""`tinymp bench gpu`: tables of what a GPU reaches, beside PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from tinymp.cli.duration import duration


class Attempts:
    """Work of which a part may fail: the failure is shown and kept, and the rest goes on.

    All groups take minutes on a GPU that may be lent; a figure that cannot be had is to cost no
    other.
    """

    def __init__(self, screen: Console) -> None:
        self._screen = screen
        self.failures: list[dict[str, str]] = []

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        """What `work` gives; None if it fails."""
        try:
            with self._screen.status(name):
                return work()
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            self.failures.append({"name": name, "error": text})
            self._screen.print(f"{name} failed: {text}\n", style="red", markup=False)
            return None


def run(
    screen: Console, groups: list[str], rounds: int, compiled: bool
) -> Iterator[dict[str, Any]]:
    """Measure and show group after group; after each, all figures so far."""
    from tinymp.bench.gpu.machine import describe
    from tinymp.bench.gpu.race import as_json
    from tinymp.bench.gpu.suite import CURVES, GPT2, RACES

    machine = describe()
    show_machine(screen, machine)
    attempt = Attempts(screen)
    figures: dict[str, Any] = {
        "machine": machine, "rounds": rounds, "failures": attempt.failures, "races": [],
    }  # fmt: skip
    for group in groups:
        for race in RACES[group]() if group in RACES else []:
            result = attempt(race.name, lambda race=race: race.run(rounds))  # type: ignore[misc]
            if result is not None:
                screen.print(race_table(result), "")
                figures["races"].append({"group": group, **as_json(result)})
        if group == GPT2:
            figures[GPT2] = _gpt2(screen, attempt, rounds, compiled)
        if group == CURVES:
            figures[CURVES] = _curves(screen, attempt)
        yield figures


def _gpt2(screen: Console, attempt: Attempts, rounds: int, compiled: bool) -> dict[str, Any]:
    from tinymp.bench.gpu.gpt2 import configuration, contestants, verdicts
    from tinymp.bench.gpu.updates import sizes

    found = {}
    for name, measure in contestants(configuration(), rounds, compiled):
        steps = attempt(name, measure)
        if steps is not None:
            found[name] = steps
    judged = list(verdicts(found, sum(sizes())))
    screen.print(steps_table(found), "", verdict_table(judged), "")
    return {
        "contestants": [steps.as_json() for steps in found.values()],
        "verdicts": [verdict.as_json() for verdict in judged],
    }


def _curves(screen: Console, attempt: Attempts) -> dict[str, Any] | None:
    from tinymp.bench.gpu.curves import default_configuration, measure_curves, verdicts

    name = "FP16 and FP32 learn the spelling corpus"
    curves = attempt(name, lambda: measure_curves(default_configuration()))
    if curves is None:
        return None
    judged = list(verdicts(curves))
    screen.print(verdict_table(judged), "")
    return {"losses": curves, "verdicts": [verdict.as_json() for verdict in judged]}


def show_machine(screen: Console, machine: Mapping[str, Any]) -> None:
    """Print on what is measured, and with what."""
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items() if v)
    screen.print(
        f"{machine['gpu']}, driver for CUDA {machine['driver_cuda']}, CUDA {machine['cuda']}, "
        f"Python {machine['python']}, {versions}\n",
        markup=False,
        soft_wrap=True,
    )


def race_table(result: Any) -> Table:
    """The contestants of one race: time, rate, and their speed or time beside the baseline's."""
    race = result.race
    title = f"{race.name}: {'speed' if race.speed else 'time'} over that of {race.baseline}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("time", "host", race.unit if race.work else "", "ratio", "quartiles", "goals"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, timing in result.timings.items():
        ratio, goals = result.ratio(name), (race.goals or {}).get(name)
        seconds = result.seconds(name).median
        relation = "≥" if race.speed else "≤"
        table.add_row(
            name,
            duration(seconds),
            duration(sorted(timing.processor)[len(timing.processor) // 2]),
            f"{race.rate(seconds):.4g}" if race.work else "",
            "" if ratio is None else f"{ratio.median:.3f}",
            "" if ratio is None else f"{ratio.low:.3f} to {ratio.high:.3f}",
            "" if goals is None else f"{relation} {goals[0]:g} / {goals[1]:g}",
        )
    return table


def steps_table(found: Mapping[str, Any]) -> Table:
    """The steps of each contestant: time and memory."""
    table = Table(
        title="training step of GPT-2's shape: 8×1024 tokens, AdamW",
        title_justify="left", title_style="bold", box=None, pad_edge=False,
    )  # fmt: skip
    table.add_column("", no_wrap=True)
    for heading in ("step", "quartiles", "host", "saved", "arrays", "pool", "driver", "first loss"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, steps in found.items():
        step = steps.step
        table.add_row(
            name,
            duration(step.median),
            f"{1e3 * step.low:.2f} to {1e3 * step.high:.2f}",
            duration(sorted(steps.host)[len(steps.host) // 2]),
            "" if steps.saved is None else _gib(steps.saved),
            *[_gib(size) for size in steps.peak],
            f"{steps.losses[0]:.4f}",
        )
    table.caption = "memory in GiB: saved for backward; at most of arrays, pool, and driver"
    return table


def verdict_table(verdicts: Iterable[Any]) -> Table:
    """Figures beside what they must be, and are meant to be."""
    table = Table(box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    for heading in ("figure", "must", "aim", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for verdict in verdicts:
        relation = "≥" if verdict.at_least else "≤"
        table.add_row(
            verdict.what,
            f"{verdict.figure:.4g}",
            f"{relation} {verdict.must:g}",
            "" if verdict.aim is None else f"{relation} {verdict.aim:g}",
            "[green]met[/green]" if verdict.meets(verdict.must) else "[red]missed[/red]",
        )
    return table


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f}"
