"""`tinymp train digits --policy fp16`: train, watch, and keep what was reached in a folder."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import typer

from tinymp.cli.console import FAILED, INTERRUPTED, bad_input, console, enough_memory, warnings_on
from tinymp.cli.devices import chosen_device
from tinymp.train.recipes import RECIPES, defaults

_MODEL = "Model"
_TEXT = "Text"
_SHAPE = "gpt2-shape"


def _setting(name: str, text: str, panel: str | None = None) -> Any:
    """An option for a setting of the configuration; where it is not given, its value is None."""
    return typer.Option(help=text, show_default=defaults(name), rich_help_panel=panel)


@enough_memory()
def train(
    data: Annotated[
        str | None,
        typer.Argument(
            help="What to learn: digits, spelling, or text; or gpt2-shape.", show_default="digits"
        ),
    ] = None,
    policy: Annotated[
        str | None,
        _setting("policy", "Mixed-precision policy: fp32, fp16, bf16, fp16-naive, bf16-naive, ..."),
    ] = None,
    epochs: Annotated[int | None, _setting("epochs", "Passes over the training set.")] = None,
    batch_size: Annotated[int | None, _setting("batch_size", "Examples in a step.")] = None,
    microbatches: Annotated[
        int | None, _setting("microbatches", "Parts in which a batch passes the model.")
    ] = None,
    lr: Annotated[float | None, _setting("lr", "Highest learning rate.")] = None,
    optimizer: Annotated[str | None, _setting("optimizer", "adamw or sgd.")] = None,
    loss_weight: Annotated[
        float | None, _setting("loss_weight", "Factor on the loss, as of one term among several.")
    ] = None,
    growth_interval: Annotated[
        int | None,
        _setting("growth_interval", "Clean steps after which a dynamic loss scale doubles."),
    ] = None,
    clip: Annotated[float | None, _setting("clip", "Largest norm of the gradient.")] = None,
    seed: Annotated[int | None, _setting("seed", "The same seed repeats a run exactly.")] = None,
    device: Annotated[
        str | None, _setting("device", "cpu, cuda, or auto: cuda where there is one.")
    ] = None,
    capture: Annotated[
        bool,
        typer.Option(
            "--capture",
            help="Record a step once and repeat that: as a CUDA graph, or as plain NumPy.",
        ),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="mlp or convnet for digits, gpt for all else.",
            show_default="mlp, or gpt",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    hidden: Annotated[
        str | None,
        _setting("hidden", "Widths of hidden layers, or channels of a convnet's stages.", _MODEL),
    ] = None,
    width: Annotated[int | None, _setting("width", "Features of a gpt.", _MODEL)] = None,
    layers: Annotated[int | None, _setting("layers", "Blocks of a gpt.", _MODEL)] = None,
    heads: Annotated[int | None, _setting("heads", "Heads of attention.", _MODEL)] = None,
    dropout: Annotated[
        float | None, _setting("dropout", "Share of a gpt's features dropped.", _MODEL)
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="A file to learn from, any text.", rich_help_panel=_TEXT)
    ] = None,
    tokenizer: Annotated[
        str | None, _setting("tokenizer", "What a gpt reads: characters or bytes.", _TEXT)
    ] = None,
    context: Annotated[
        int | None, _setting("context", "Tokens that a gpt sees at a time.", _TEXT)
    ] = None,
    vocabulary: Annotated[
        int | None, _setting("vocabulary", "Different tokens, where they are generated.", _SHAPE)
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Steps in all, the first 3 to warm up.",
            show_default=str(RECIPES["gpt2-shape", "gpt"]["epochs"]),
            rich_help_panel=_SHAPE,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run.", show_default="a new one, runs/DATA-POLICY"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out, bit for bit.")
    ] = False,
) -> None:
    """Train a network in mixed precision; keep configuration, history, checkpoint and plot.

    digits: images of 8 × 8 pixels, read by a perceptron or a convnet.

    spelling: a GPT learns that 1204 is "one thousand two hundred four", and at the end spells
    numbers that it never saw.

    --text FILE: a GPT learns any text, and at the end writes some.

    gpt2-shape: what a step of GPT-2's shape on generated tokens costs, in time and
    memory; nothing is kept.
    """
    from tinymp.bench.step_cost import step_cost
    from tinymp.cli.gpt2_shape import show_cost
    from tinymp.cli.report import Watcher, summary
    from tinymp.cli.samples import show_samples
    from tinymp.train import fit, measure

    given = {
        "data": data,
        "policy": policy,
        "epochs": epochs,
        "batch_size": batch_size,
        "microbatches": microbatches,
        "lr": lr,
        "optimizer": optimizer,
        "loss_weight": loss_weight,
        "growth_interval": growth_interval,
        "clip": clip,
        "seed": seed,
        "device": device,
        "capture": capture or None,
        "model": model,
        "hidden": hidden,
        "width": width,
        "layers": layers,
        "heads": heads,
        "dropout": dropout,
        "text": text,
        "tokenizer": tokenizer,
        "context": context,
        "vocabulary": vocabulary,
        "steps": steps,
    }
    screen = console()
    with bad_input():
        settings = _read({name: value for name, value in given.items() if value is not None})
        if "device" in settings:
            settings["device"] = chosen_device(settings["device"], screen)
        if settings.get("data") == _SHAPE:
            training, folder = _unkept(settings, keeps=resume or out is not None), None
        else:
            training, folder = _continued(out, settings) if resume else _begun(out, settings)
    if folder is None:
        with warnings_on(screen):
            show_cost(screen, training, step_cost(training))
        return

    exit_code = 0
    watcher = Watcher(screen, training, folder.read_history())
    try:
        with watcher, warnings_on(screen):
            fit(training, folder, on_step=watcher.step, on_epoch=watcher.epoch)
    except KeyboardInterrupt:
        exit_code = INTERRUPTED
        folder.cut_history(folder.load()[1]["epoch"])
        screen.print("Interrupted: the epoch that had begun is lost, all before it are kept.")
    except FloatingPointError as collapsed:
        exit_code = FAILED
        screen.print(f"Training cannot go on: {collapsed}", markup=False)

    history = folder.read_history()
    screen.print(summary(training, history, measure(training)))
    if diverged := next((r.epoch for r in history if not math.isfinite(r.loss)), None):
        screen.print(f"The loss was NaN or infinite from epoch {diverged} on: training diverged.")
    show_samples(screen, training)
    _draw(screen, folder, training.configuration, history)
    screen.print(f"Everything is in {folder.path}", markup=False, soft_wrap=True)
    if exit_code == INTERRUPTED:
        command = f'tinymp train --resume --out "{folder.path}"'
        screen.print(f"Continue with: {command}", markup=False, soft_wrap=True)
    raise typer.Exit(exit_code)


def _read(given: dict[str, Any]) -> dict[str, Any]:
    """The settings as the configuration holds them."""
    settings = dict(given)
    if "hidden" in given:
        try:
            settings["hidden"] = tuple(int(width) for width in given["hidden"].split(","))
        except ValueError:
            raise ValueError(
                f"--hidden {given['hidden']} is no list of widths; write whole numbers with commas "
                "between them, as in 128,64"
            ) from None
    if "steps" in given:
        if given.get("data") != _SHAPE or "epochs" in given:
            raise ValueError(
                "--steps belongs to gpt2-shape, where it takes the place of --epochs; other runs "
                "take whole epochs"
            )
        settings["epochs"] = settings.pop("steps")
    if "text" in given:
        if settings.setdefault("data", "text") != "text":
            raise ValueError(
                f"{given['data']} and --text {given['text']} were given; a run learns from one of "
                "them: leave the other out"
            )
        # The whole path, so that the run can be resumed from another folder.
        settings["text"] = str(given["text"].resolve())
    return settings


def _unkept(settings: dict[str, Any], keeps: bool) -> Any:
    """A training whose steps are measured, and nothing of it kept."""
    from tinymp.bench.step_cost import check_steps
    from tinymp.train import Training, make_task, recipe

    if keeps:
        raise ValueError("gpt2-shape keeps nothing; leave out --out and --resume")
    configuration = recipe(settings)
    check_steps(configuration.epochs)
    return Training(make_task(configuration), configuration)


def _begun(out: Path | None, settings: dict[str, Any]) -> tuple[Any, Any]:
    """A new run in a folder of its own."""
    from tinymp.train import RunFolder, Training, make_task, recipe
    from tinymp.train.text_task import fingerprint

    configuration = recipe(settings)
    task = make_task(configuration)
    if configuration.text:
        sha256 = fingerprint(Path(configuration.text))
        configuration = replace(configuration, text_sha256=sha256)
    training = Training(task, configuration)
    folder = RunFolder(out or _unused(f"{configuration.data}-{configuration.policy}"))
    folder.create(configuration, training.state())
    return training, folder


def _unused(name: str) -> Path:
    """The first of runs/name, runs/name-2, ... that does not exist."""
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(path for path in (Path("runs") / name for name in names) if not path.exists())


def _continued(out: Path | None, settings: dict[str, Any]) -> tuple[Any, Any]:
    """The run in folder `out`, as its checkpoint left it."""
    from tinymp.train import RunFolder, Training, make_task

    if out is None:
        raise ValueError("--resume needs --out: the folder of the run to continue")
    folder = RunFolder(out)
    configuration, state = folder.load()
    for name, value in settings.items():
        kept = getattr(configuration, name)
        if kept != value:
            raise ValueError(
                f"the run in {out} has {name} {kept}, but {value} was given; a run continues bit "
                "for bit only with its own settings: leave the option out, or start a new run"
            )
    training = Training(make_task(configuration), configuration)
    training.load(state, folder.checkpoint)
    folder.cut_history(training.epoch)
    return training, folder


def _draw(screen: Any, folder: Any, configuration: Any, history: list[Any]) -> None:
    from tinymp.train import plot_history

    if not history:
        return
    try:
        plot_history(history, folder.plot, f"{configuration.data}, policy {configuration.policy}")
    except ModuleNotFoundError as missing:
        screen.print(f"No plot: {missing}", markup=False, soft_wrap=True)
