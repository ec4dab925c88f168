"""`tinymp train`: the main job, the mistakes of beginners, and interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tinymp.amp.policy import POLICIES
from tinymp.cli import app
from tinymp.data import Dataset

SMALL = ["--epochs", "2", "--hidden", "16", "--batch-size", "128"]


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def _without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than these trainings."""
    monkeypatch.setattr("tinymp.train.plot_history", lambda *_: None)


def train(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["train", *arguments], env={"COLUMNS": "100"})


@pytest.mark.usefixtures("_without_plots")
def test_trains_and_says_what_was_reached() -> None:
    result = train("digits", "--policy", "fp16", *SMALL, "--growth-interval", "3")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert (
        lines[0].split() == "epoch loss test loss test accuracy loss scale skipped seconds".split()
    )
    assert [line.split()[0] for line in lines[1:3]] == ["1", "2"]
    for row in (
        "test accuracy",
        "training loss, last epoch",
        "loss scale",
        "skipped steps",
        "weights (float16)",
        "gradients (float16)",
        "master weights (float32)",
        "optimizer state",
        "saved activations (float16, int64, float32)",
        "2 of 2",
        "time",
    ):
        assert row in result.output
    assert "Everything is in runs" in result.output


def test_writes_what_others_can_read() -> None:
    train("digits", *SMALL, "--out", "run")
    folder = Path("run")
    assert {file.name for file in folder.iterdir()} == {
        "configuration.json",
        "history.jsonl",
        "checkpoint.safetensors",
        "training.png",
    }
    configuration = json.loads((folder / "configuration.json").read_text(encoding="utf-8"))
    assert configuration["policy"] == "fp16"
    assert configuration["hidden"] == [16]
    epochs = (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in epochs] == [1, 2]
    assert (folder / "training.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("_without_plots")
def test_bytes_are_those_of_the_formats() -> None:
    """64·16 + 16 + 16·10 + 10 parameters; Adam keeps two numbers for each of them."""
    parameters = 64 * 16 + 16 + 16 * 10 + 10
    output = train("digits", *SMALL).output
    for row, size in (
        ("weights (float16)", 2),
        ("gradients (float16)", 2),
        ("master weights (float32)", 4),
        ("master gradients (float32)", 4),
        ("optimizer state (float32)", 8),
    ):
        line = next(line for line in output.splitlines() if row in line)
        assert f"{size * parameters:,} bytes" in line
    naive = train("digits", "--policy", "bf16-naive", *SMALL).output
    assert "master" not in naive
    assert f"{4 * parameters:,} bytes" in naive  # the optimizer's state is 2 bytes wide, too


@pytest.mark.parametrize("policy", ["fp32", "bf16"])
@pytest.mark.usefixtures("_without_plots")
def test_without_loss_scaling_it_says_none(policy: str) -> None:
    output = train("digits", "--policy", policy, *SMALL).output
    assert "none" in output
    assert "skipped steps" not in output


@pytest.mark.usefixtures("_without_plots")
def test_a_new_run_gets_a_new_folder() -> None:
    for _ in range(3):
        train("digits", *SMALL, "--epochs", "1")
    assert sorted(path.name for path in Path("runs").iterdir()) == [
        "digits-fp16",
        "digits-fp16-2",
        "digits-fp16-3",
    ]


def test_the_plot_is_skipped_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, module, None)
    result = train("digits", *SMALL, "--out", "run")
    assert result.exit_code == 0
    assert "No plot: a plot needs matplotlib" in result.output
    assert "python -m pip install matplotlib" in result.output
    assert not Path("run/training.png").exists()


@pytest.mark.usefixtures("_without_plots")
def test_a_run_that_diverges_says_so() -> None:
    result = train("digits", *SMALL, "--policy", "fp32", "--lr", "1e30", "--out", "run")
    assert result.exit_code == 0
    assert "NaN or infinite from epoch 1 on: training diverged" in result.output
    line = Path("run/history.jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert (
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["loss"]
        is None
    )


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("_without_plots")
def test_a_collapsing_loss_scale_is_diagnosed() -> None:
    result = train("digits", *SMALL, "--lr", "1e30", "--epochs", "30")
    assert "Warning: " in result.output
    assert "lower the learning rate" in result.output.replace("\n", " ")
    assert "loop.py" not in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits", "--policy", "fp17"], f"'fp17'; expected one of {', '.join(POLICIES)}"),
        (["mnist"], "unknown data 'mnist'; expected one of digits"),
        (["digits", "--epochs", "0"], "epochs must be at least 1, but 0 was given"),
        (["digits", "--batch-size", "-3"], "batch_size must be at least 1, but -3 was given"),
        (["digits", "--lr", "nan"], "lr must be a positive number, but nan was given"),
        (["digits", "--clip", "0"], "clip must be a positive number, but 0.0 was given"),
        (["digits", "--seed", "-1"], "seed must be from 0 to 2**64 - 1, but -1 was given"),
        (["digits", "--hidden", "1,x"], "--hidden 1,x is no list of widths; write whole numbers"),
        (["digits", "--hidden", "16,0"], "hidden must be at least 1, but 0 was given"),
        (["digits", "--microbatches", "64"], "batches of 32 examples cannot be cut into 64"),
        (["digits", "--device", "tpu"], "no device is called 'tpu'"),
        (["--resume"], "--resume needs --out"),
        (["--resume", "--out", "nowhere"], "there is no run to continue in nowhere"),
        (["digits", "--model", "gpt"], "digits cannot be learned by model 'gpt'; expected one of"),
        (["spelling", "--hidden", "8"], "hidden was given, but spelling learned by model gpt has"),
        (["--text", "nowhere"], "nowhere; check its name"),
        (["--text", "."], "is a folder; name a file with a text in it"),
        (["--text", "a file"], "a file is empty: there is nothing to learn from"),
        (["digits", "--text", "a file"], "digits and --text a file were given; a run learns from"),
        (["text"], "no text was named; name a file to learn from, with --text FILE"),
        (["--text", "a file", "--tokenizer", "words"], "unknown tokenizer 'words'; expected one"),
        (["digits", "--out", "a file"], "a file is a file; choose the name of a folder"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(arguments: list[str], message: str) -> None:
    Path("a file").touch()
    result = train(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("tinymp: ")
    assert result.stdout == ""
    assert [path.name for path in Path().iterdir()] == ["a file"]


def test_nan_in_the_data_is_reported_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(split: str) -> Dataset:
        inputs = np.zeros((5, 64), np.float32)
        inputs[3, 7] = np.nan
        return Dataset(f"digits ({split})", inputs, np.zeros(5, np.int64))

    monkeypatch.setattr("tinymp.train.digits_task.load_digits", broken)
    result = train("digits", *SMALL)
    assert result.exit_code == 2
    assert "row 3, column 7" in result.stderr
    assert not Path("runs").exists()


SMALL_TEXT = ["--context", "8", "--width", "16", "--layers", "1", "--heads", "2", "--epochs", "2"]


def write_poem(name: str = "poem.txt") -> Path:
    path = Path(name)
    path.write_text("Röslein, Röslein,\nRöslein rot!\n" * 30, encoding="utf-8")
    return path


@pytest.mark.usefixtures("_without_plots")
def test_a_text_is_learned_and_written() -> None:
    write_poem()
    result = train("--text", "poem.txt", *SMALL_TEXT)
    assert result.exit_code == 0
    assert "poem.txt, policy fp16, seed 0" in result.output
    assert result.output.count(" it writes:\n") == 3
    assert "right" not in result.output
    assert Path("runs/text-fp16/checkpoint.safetensors").exists()


@pytest.mark.usefixtures("_without_plots")
def test_a_text_that_does_not_fit_is_one_clear_line() -> None:
    poem = write_poem()
    result = train("--text", "poem.txt", "--context", "200")
    assert result.exit_code == 2
    assert "poem.txt has 930 tokens, but a context of 200 needs at least 2,010" in result.stderr
    poem.write_bytes(poem.read_text(encoding="utf-8").encode("utf-16"))
    result = train("--text", "poem.txt")
    assert "poem.txt is no UTF-8 text: byte 0xff at position 0 does not fit" in result.stderr
    assert not Path("runs").exists()
    assert train("--text", "poem.txt", "--tokenizer", "bytes", *SMALL_TEXT).exit_code == 0


@pytest.mark.usefixtures("_without_plots")
def test_a_text_run_resumes_from_anywhere_with_its_own_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import tinymp.train.loop as loop

    poem = write_poem().resolve()
    train("--text", "poem.txt", *SMALL_TEXT, "--out", "straight")
    original = loop.evaluate

    def interrupted(training: Any) -> Any:
        if training.epoch == 1:
            raise KeyboardInterrupt
        return original(training)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate", interrupted)
        assert train("--text", "poem.txt", *SMALL_TEXT, "--out", "run").exit_code == 130
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    result = train("--resume", "--out", str(tmp_path / "run"))
    assert result.exit_code == 0
    assert " it writes:" in result.output
    for name in ("checkpoint.safetensors", "configuration.json"):
        files = [tmp_path / folder / name for folder in ("run", "straight")]
        assert files[0].read_bytes() == files[1].read_bytes()
    poem.write_text("Heideröslein", encoding="utf-8")
    result = train("--resume", "--out", str(tmp_path / "run"))
    assert result.exit_code == 2
    assert "poem.txt is not the text that this run began with" in result.stderr


@pytest.mark.usefixtures("_without_plots")
def test_what_a_terminal_would_obey_is_not_printed() -> None:
    Path("escapes").write_text("\x1b[31m red \x07" * 100, encoding="utf-8")
    result = train("--text", "escapes", *SMALL_TEXT)
    assert result.exit_code == 0
    assert not {"\x1b", "\x07"} & set(result.output)


@pytest.mark.usefixtures("_without_plots")
def test_spelling_shows_what_it_spells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinymp.train.spelling_task._LINES", {"train": 100, "unseen": 20})
    settings = ["--epochs", "1", "--width", "8", "--heads", "1"]
    result = train("spelling", "--policy", "fp32", *settings)
    assert result.exit_code == 0
    lines = result.output.partition("Numbers that it never saw, and what it writes:\n")[2]
    assert len([line for line in lines.splitlines() if " wrong: " in line]) == 8


@pytest.mark.usefixtures("_without_plots")
def test_a_gpt_that_diverged_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinymp.train.spelling_task._LINES", {"train": 100, "unseen": 20})
    settings = ["--epochs", "1", "--width", "8", "--heads", "1"]
    result = train("spelling", "--policy", "fp32", "--lr", "1e30", *settings)
    assert result.exit_code == 0
    assert "It can write nothing: the model's logits are NaN or infinite" in result.output


@pytest.mark.usefixtures("_without_plots")
def test_a_convnet_reads_digits() -> None:
    result = train("digits", "--model", "convnet", "--hidden", "4,4", "--epochs", "1")
    assert result.exit_code == 0
    assert "digits, policy fp16" in result.output


@pytest.mark.usefixtures("_without_plots")
def test_resume_keeps_to_its_own_settings() -> None:
    train("digits", *SMALL, "--out", "run")
    before = {file.name: file.read_bytes() for file in Path("run").iterdir()}
    result = train("--resume", "--out", "run", "--lr", "0.1")
    assert result.exit_code == 2
    assert "has lr 0.005, but 0.1 was given" in result.stderr
    result = train("digits", *SMALL, "--out", "run")
    assert result.exit_code == 2
    assert "continue that run with --resume, or choose another folder" in result.stderr
    assert {file.name: file.read_bytes() for file in Path("run").iterdir()} == before
    assert train("digits", *SMALL, "--resume", "--out", "run").exit_code == 0


@pytest.mark.usefixtures("_without_plots")
def test_a_broken_checkpoint_is_refused_and_left_alone() -> None:
    train("digits", *SMALL, "--out", "run")
    checkpoint = Path("run/checkpoint.safetensors")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    before = {file.name: file.read_bytes() for file in Path("run").iterdir()}
    result = train("--resume", "--out", "run")
    assert result.exit_code == 2
    assert "no complete safetensors file" in result.stderr
    assert {file.name: file.read_bytes() for file in Path("run").iterdir()} == before


@pytest.mark.parametrize("moment", ["tinymp.train.loop.train_step", "tinymp.train.loop.evaluate"])
@pytest.mark.usefixtures("_without_plots")
def test_ctrl_c_ends_with_what_was_reached(monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    import tinymp.train.loop as loop

    train("digits", *SMALL, "--out", "straight")
    original: Any = getattr(loop, moment.rpartition(".")[2])
    calls = 0

    def interrupted(training: Any, *arguments: Any) -> Any:
        nonlocal calls
        calls += training.epoch == 1
        if calls == 1:
            raise KeyboardInterrupt
        return original(training, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(moment, interrupted)
        result = train("digits", *SMALL, "--out", "run")
    assert result.exit_code == 130
    assert "Interrupted: the epoch that had begun is lost, all before it are kept." in result.output
    assert "1 of 2" in result.output
    assert 'Continue with: tinymp train --resume --out "run"' in result.output
    assert train("--resume", "--out", "run").exit_code == 0
    for name in ("checkpoint.safetensors", "configuration.json"):
        assert (Path("run") / name).read_bytes() == (Path("straight") / name).read_bytes()


@pytest.mark.usefixtures("_without_plots")
def test_ctrl_c_between_history_and_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line of an epoch whose checkpoint was not written is taken back."""
    from tinymp.train import RunFolder

    save = RunFolder.save

    def interrupted(self: RunFolder, configuration: Any, state: dict[str, Any]) -> None:
        if state["epoch"] == 2:
            raise KeyboardInterrupt
        save(self, configuration, state)

    monkeypatch.setattr(RunFolder, "save", interrupted)
    result = train("digits", *SMALL, "--out", "run")
    assert result.exit_code == 130
    assert len(RunFolder(Path("run")).read_history()) == 1


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT as a terminal does")
def test_a_real_ctrl_c() -> None:
    # A process that a script started in the background inherits that SIGINT is ignored.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from tinymp.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "train", "digits", "--hidden", "16", "--epochs", "999"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        encoding="utf-8",
    )
    assert process.stdout is not None
    for _ in range(3):  # the header and two epochs
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 130
    assert "Interrupted" in output
    assert "test accuracy" in output
