"""`tinymp compare digits --seeds 5`: train under every policy; see what each ingredient does."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import typer

from tinymp.cli.console import INTERRUPTED, bad_input, console
from tinymp.cli.devices import chosen_device

_WIDTH = 100  # of tables in files and pipes


def compare(
    data: Annotated[str, typer.Argument(help="digits or spelling.")] = "digits",
    policies: Annotated[
        str | None,
        typer.Option(
            help="Policies with commas between them; float16 with loss scaling but without masters "
            "is none, because gradients cannot be unscaled in float16.",
            show_default="all for digits, eight for spelling",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(help="Runs of each policy.", show_default="5 for digits, 3 for spelling"),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples in a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adamw or sgd.")] = None,
    loss_weight: Annotated[
        float | None,
        typer.Option(help="Factor on the loss; at 1 the gradients of digits fit into float16."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, or auto: cuda where there is one.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Runs at a time.", show_default="one a processor")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the figures.", show_default="a new one, runs/compare-DATA"),
    ] = None,
) -> None:
    """Train under several mixed-precision policies from the same seeds, and compare.

    Runs differ in their policy alone. By default they take place where formats
    matter: the loss is a mean over many examples and has a small weight, so
    that float16 gradients underflow without loss scaling; and the learning rate
    is small, so that 2-byte weights lose updates without masters.

    With --loss-weight 1 hardly any do, and digits need no scaling. With an
    optimizer that keeps no state, float16 loses nothing but updates:

    tinymp compare --optimizer sgd --loss-weight 1 --lr 0.004 --epochs 4000
    --policies fp32,fp16,fp16-naive,fp16-naive-stochastic

    The folder gets table.txt, comparison.png, and every figure in figures.json.
    """
    from rich.console import Console

    from tinymp.cli.comparison_report import RunsWatcher, findings, insides, results
    from tinymp.train.compare import Run
    from tinymp.train.compare import compare as carry_out
    from tinymp.train.comparison import as_json, summaries
    from tinymp.train.comparison_settings import configurations, fast, get_setting

    given = {
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "optimizer": optimizer,
        "loss_weight": loss_weight,
        "device": device,
    }
    screen = console()
    if not screen.is_terminal:
        screen.width = _WIDTH
    with bad_input():
        if device is not None:
            given["device"] = chosen_device(device, screen)
        setting = get_setting(data)
        if os.environ.get("TINYMP_FAST") == "1":
            setting = fast(setting)
        chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        names = setting.policies if policies is None else _names(policies)
        configured = configurations(
            replace(setting.configuration, **chosen),
            names,
            setting.seeds if seeds is None else seeds,
        )
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, but {workers} was given")
        folder = _new_folder(out, data)

    screen.print("Settings:", _settings(configured[0]), markup=False)
    if not chosen:
        screen.print(setting.why, markup=False)
    done: list[Run] = []
    exit_code = 0
    watcher = RunsWatcher(screen, len(configured))

    def finished(run: Run) -> None:
        done.append(run)
        watcher.finished(run)

    try:
        with watcher:
            runs = carry_out(configured, workers, finished)
    except KeyboardInterrupt:
        exit_code, runs = INTERRUPTED, done
        screen.print(f"Interrupted: {len(done)} of {len(configured)} runs are finished.")
    if not runs:
        raise typer.Exit(exit_code)

    found = summaries(runs)
    with (folder / "table.txt").open("w", encoding="utf-8", newline="\n") as file:
        plain = Console(file=file, width=_WIDTH, highlight=False)
        for destination in (screen, plain):
            destination.print(results(found))
            destination.print(insides(found))
            for line in findings(found):
                destination.print(line, markup=False)
    (folder / "figures.json").write_text(as_json(configured, runs), encoding="utf-8", newline="\n")
    _draw(screen, folder, found, _settings(configured[0]))
    screen.print(f"Everything is in {folder}", markup=False, soft_wrap=True)
    raise typer.Exit(exit_code)


def _names(policies: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in policies.split(",") if name.strip())


def _new_folder(out: Path | None, data: str) -> Path:
    """A folder that holds no comparison yet, made."""
    if out is None:
        names = (f"compare-{data}" + (f"-{i}" if i > 1 else "") for i in count(1))
        out = next(path for path in (Path("runs") / name for name in names) if not path.exists())
    elif (out / "figures.json").exists():
        raise FileExistsError(f"{out} holds the figures of an earlier comparison; choose another")
    elif out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file; choose the name of a folder")
    out.mkdir(parents=True, exist_ok=True)
    return out


def _settings(configuration: Any) -> str:
    c = configuration
    exponent = math.log2(c.loss_weight)
    weight = f"2^{exponent:.0f}" if exponent.is_integer() and exponent else f"{c.loss_weight:g}"
    return (
        f"{c.data}, {c.epochs} epochs, batches of {c.batch_size}, {c.optimizer}, learning rate "
        f"{c.lr:g}, loss weight {weight}"
    )


def _draw(screen: Any, folder: Path, found: Any, title: str) -> None:
    from tinymp.train.comparison_plot import plot_comparison

    try:
        plot_comparison(found, folder / "comparison.png", title)
    except ModuleNotFoundError as missing:
        screen.print(f"No plot: {missing}", markup=False, soft_wrap=True)
