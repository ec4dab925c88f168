"""`tinymp bench mlp casts`: how fast is it on this machine, and beside whom?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tinymp.cli.console import FAILED, bad_input, console, enough_memory
from tinymp.cli.duration import duration

_WIDTH = 100  # of tables in files and pipes


@enough_memory()
def bench(
    groups: Annotated[
        list[str] | None,
        typer.Argument(
            help="mlp, gpt, convnet, casts, ops, scaling; or gpu, and then perhaps products, "
            "kernels, attention, mlp, gpt2, curves.",
            show_default="all but gpu",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Turns of each contestant.")] = 21,
    threads: Annotated[int, typer.Option(help="Threads of every library.")] = 2,
    out: Annotated[Path | None, typer.Option(help="File for all figures, as JSON.")] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="With gpu gpt2: PyTorch compiled, too.")
    ] = False,
) -> None:
    """Time casts, operations and training steps on the CPU, beside other libraries.

    PyTorch, JAX, MyGrad, HIPS autograd and ml_dtypes take part where they are
    installed. All take turns, so that ratios hold on a busy machine, too; but a
    quiet one gives truer figures.

    tinymp bench gpu: products, kernels, attention and training steps on a GPU,
    beside PyTorch where it is installed.
    """
    from tinymp.bench.gpu.suite import check_names as check_gpu_names
    from tinymp.bench.machine import thread_variables, threads_are
    from tinymp.bench.suite import check_names
    from tinymp.cli.bench_gpu import run as run_on_gpu
    from tinymp.devices import get_device

    with bad_input():
        first, *others = groups or [""]
        on_gpu = first == "gpu"
        chosen = check_gpu_names(others) if on_gpu else check_names(groups or [])
        for name, number in (("rounds", rounds), ("threads", threads)):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, but {number} was given")
        if out is not None and not out.parent.is_dir():
            raise FileNotFoundError(f"{out.parent} is no folder; make it, or choose another")
        if on_gpu:
            get_device("cuda")
    if on_gpu:
        for figures in run_on_gpu(_screen(), chosen, rounds, compiled):
            _write(out, figures)  # after each group, since all of them take minutes
        raise typer.Exit(FAILED if figures["failures"] else 0)
    if not threads_are(threads):
        # The libraries of this process have chosen their threads already.
        command = [sys.executable, "-m", "tinymp", "bench", *chosen, f"--rounds={rounds}"]
        command += [f"--threads={threads}", *([] if out is None else [f"--out={out}"])]
        environment = {**os.environ, **thread_variables(threads)}
        raise typer.Exit(subprocess.run(command, env=environment, check=False).returncode)

    _write(out, _run(chosen, rounds, threads))


def _write(out: Path | None, figures: dict[str, Any]) -> None:
    if out is not None:
        text = json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
        out.write_text(text, encoding="utf-8", newline="\n")


def _screen() -> Console:
    screen = console()
    if not screen.is_terminal:
        screen.width = _WIDTH
    return screen


def _run(groups: list[str], rounds: int, threads: int) -> dict[str, Any]:
    """Measure and show group after group; all figures."""
    from tinymp.bench import run_race, scaling
    from tinymp.bench.machine import describe, installed
    from tinymp.bench.suite import GROUPS, SCALING

    if installed("torch"):
        import torch

        torch.set_num_threads(threads)
    screen = _screen()
    machine = describe(threads)
    _show_machine(screen, machine)
    figures: dict[str, Any] = {"machine": machine, "rounds": rounds, "races": [], "scaling": []}
    for group in groups:
        for race in GROUPS.get(group, []):
            with screen.status(race.name):
                result = run_race(race, rounds)
            screen.print(_table(result), "")
            figures["races"].append({"group": group, **result.as_json()})
        if group == SCALING:
            with screen.status("steps of more and more work"):
                fits = scaling.measure(rounds)
            for fit in fits:
                screen.print(_line(fit))
                figures["scaling"].append(fit.as_json())
    return figures


def _show_machine(screen: Console, machine: dict[str, Any]) -> None:
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items() if v)
    screen.print(
        f"{machine['processor']}, {machine['threads']} threads, Python {machine['python']}, "
        f"{versions}",
        markup=False,
    )


def _table(result: Any) -> Table:
    """The contestants of one race: time, ratio with its quartiles, and what was aimed at."""
    race = result.race
    title = f"{race.name}: {'speed' if race.speed else 'time'} over that of {race.baseline}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("time", "fastest", "processor", "ratio", "quartiles", "must / aim"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, timing in result.timings.items():
        ratio, goals = result.ratio(name), (race.goals or {}).get(name)
        relation = "≥" if race.speed else "≤"
        table.add_row(
            name,
            duration(result.seconds(name).median),
            duration(min(timing.clock)),
            duration(sorted(timing.processor)[len(timing.processor) // 2]),
            "" if ratio is None else f"{ratio.median:.2f}",
            "" if ratio is None else f"{ratio.low:.2f} to {ratio.high:.2f}",
            "" if goals is None else f"{relation} {goals[0]:g} / {goals[1]:g}",
        )
    return table


def _line(fit: Any) -> str:
    points = ", ".join(f"{n}: {duration(t)}" for n, t in zip(fit.x, fit.seconds, strict=True))
    return (
        f"step against {fit.of} ({points})\n"
        f"    {duration(fit.constant)} + {duration(fit.slope)} × {fit.of}; "
        f"no time is further than {fit.residual:.1%} from this line\n"
    )
