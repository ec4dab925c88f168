"""A run that was interrupted, or killed at any moment, continues bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp.train import CheckpointError, EpochRecord, RunFolder, fit

COMMAND = [sys.executable, "-m", "tinymp", "train", "digits", "--hidden", "16"]
COMMAND += ["--batch-size", "128", "--growth-interval", "3"]


def stop_after(epoch: int) -> Any:
    def on_epoch(record: EpochRecord) -> None:
        if record.epoch == epoch:
            raise KeyboardInterrupt

    return on_epoch


def without_times(records: list[EpochRecord]) -> list[dict[str, Any]]:
    return [{**vars(record), "seconds": None} for record in records]


CONVNET = {"model": "convnet", "hidden": (4, 4), "policy": "bf16"}  # has buffers


@pytest.mark.parametrize(
    "settings",
    [
        {"policy": "fp16"},
        {"policy": "fp32"},
        {"policy": "bf16"},
        {"policy": "bf16-naive-stochastic"},
        {"policy": "bf16-kahan"},
        {**CONVNET, "epochs": 3, "batch_size": 480},
    ],
    ids=lambda settings: settings.get("model", settings["policy"]),
)
def test_two_epochs_and_the_others_are_all(runs: Any, settings: dict[str, Any]) -> None:
    training, straight = runs.begin("straight", **settings)
    fit(training, straight)

    training, broken = runs.begin("broken", **settings)
    with pytest.raises(KeyboardInterrupt):
        fit(training, broken, on_epoch=stop_after(2))
    mp.manual_seed(12345)  # whatever the process did in between
    training, broken = runs.resume("broken")
    assert training.epoch == 2
    fit(training, broken)

    assert broken.checkpoint.read_bytes() == straight.checkpoint.read_bytes()
    assert without_times(broken.read_history()) == without_times(straight.read_history())


def test_the_same_seed_repeats_and_another_does_not(runs: Any) -> None:
    contents = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        training, folder = runs.begin(name, seed=seed, epochs=1)
        fit(training, folder)
        contents.append(folder.checkpoint.read_bytes())
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


def test_resuming_before_the_first_epoch_is_beginning(runs: Any) -> None:
    runs.begin("a", epochs=1)
    resumed, folder = runs.resume("a")
    fit(resumed, folder)
    straight, other = runs.begin("b", epochs=1)
    fit(straight, other)
    assert folder.checkpoint.read_bytes() == other.checkpoint.read_bytes()


def test_a_finished_run_is_left_as_it_is(runs: Any) -> None:
    training, folder = runs.begin("a", epochs=1)
    fit(training, folder)
    before = folder.checkpoint.read_bytes(), folder.history.read_bytes()
    fit(*runs.resume("a"))
    assert (folder.checkpoint.read_bytes(), folder.history.read_bytes()) == before


@pytest.mark.parametrize("failing", ["os.fsync", "pathlib.Path.replace"])
def test_a_failing_disk_keeps_the_last_epoch(
    runs: Any, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    training, folder = runs.begin("a")
    with pytest.raises(KeyboardInterrupt):
        fit(training, folder, on_epoch=stop_after(1))
    checkpoint = folder.checkpoint.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(failing, fail)
        with pytest.raises(OSError, match="No space left"):
            fit(training, folder)
    assert folder.checkpoint.read_bytes() == checkpoint

    fit(*runs.resume("a"))
    straight, other = runs.begin("b")
    fit(straight, other)
    assert folder.checkpoint.read_bytes() == other.checkpoint.read_bytes()
    assert without_times(folder.read_history()) == without_times(other.read_history())


@pytest.mark.parametrize("call", ["append", "save"])
def test_stopped_while_an_epoch_is_written_down(
    runs: Any, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Before its line, or between line and checkpoint: no line is lost, none comes twice."""
    training, folder = runs.begin("a")
    written = getattr(RunFolder, call)

    def stopping(self: RunFolder, *arguments: Any) -> None:
        if training.epoch == 2:
            raise KeyboardInterrupt
        written(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, call, stopping)
        with pytest.raises(KeyboardInterrupt):
            fit(training, folder)
    fit(*runs.resume("a"))
    straight, other = runs.begin("b")
    fit(straight, other)
    assert without_times(folder.read_history()) == without_times(other.read_history())


def test_skipped_steps_are_counted_from_the_beginning(runs: Any) -> None:
    training, folder = runs.begin("a", growth_interval=1, epochs=3)
    fit(training, folder)
    history = folder.read_history()
    so_far = np.cumsum([sum(record.step_skipped) for record in history])
    assert so_far[-1] > 0
    assert [record.skipped_steps for record in history] == so_far.tolist()


def test_a_line_beyond_the_checkpoint_is_cut_off(runs: Any) -> None:
    training, folder = runs.begin("a")
    with pytest.raises(KeyboardInterrupt):
        fit(training, folder, on_epoch=stop_after(2))
    lines = folder.history.read_text(encoding="utf-8")
    with folder.history.open("a", encoding="utf-8") as file:
        file.write(lines.splitlines()[0] + '\n{"epoch": 3, "lo')  # killed while it wrote
    assert len(folder.read_history()) == 3
    runs.resume("a")
    assert folder.history.read_text(encoding="utf-8") == lines


def test_lost_lines_are_refused(runs: Any) -> None:
    training, folder = runs.begin("a", epochs=1)
    fit(training, folder)
    folder.history.unlink()
    with pytest.raises(
        CheckpointError, match=r"has 0 lines, but the checkpoint was made after epoch 1"
    ):
        runs.resume("a")


def test_the_checkpoint_of_another_run_is_refused(runs: Any) -> None:
    _, one = runs.begin("one", seed=1)
    _, other = runs.begin("other", seed=2)
    one.checkpoint.write_bytes(other.checkpoint.read_bytes())
    with pytest.raises(
        CheckpointError, match=r"another run: it was made with seed 2, but .* says 1"
    ):
        runs.resume("one")


def test_the_state_of_another_model_is_refused_and_changes_nothing(runs: Any) -> None:
    training = runs.training(hidden=(16,))
    before = [p.storage.tobytes() for p in training.model.parameters()]
    state = runs.training(hidden=(8,)).state()
    with pytest.raises(CheckpointError, match=r"'0.weight' is float16\[8, 64\] there, but"):
        training.load(state, Path("checkpoint"))
    state = {**training.state(), "masters": {}}
    with pytest.raises(CheckpointError, match=r"'0' is nothing there, but float32\[16, 64\]"):
        training.load(state, Path("checkpoint"))
    assert [p.storage.tobytes() for p in training.model.parameters()] == before


def test_a_folder_with_a_run_is_not_overwritten(runs: Any) -> None:
    _, folder = runs.begin("a")
    before = folder.checkpoint.read_bytes()
    with pytest.raises(FileExistsError, match=r"holds checkpoint.safetensors of an earlier run"):
        runs.begin("a", seed=5)
    assert folder.checkpoint.read_bytes() == before


RANDOM_DELAYS = tuple(np.random.default_rng(0).uniform(0, 0.15, 20))


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
@pytest.mark.parametrize(
    "delays",
    [
        pytest.param((0.02, 0.05, 0.08), id="three"),
        pytest.param(RANDOM_DELAYS, id="twenty", marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_moment_it_continues_bit_for_bit(
    tmp_path: Path, delays: tuple[float, ...]
) -> None:
    """Killed again and again in the middle of an epoch; then compared with a run left in peace."""
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    command = [*COMMAND, "--epochs", str(8 * len(delays))]
    subprocess.run([*command, "--out", straight], check=True, capture_output=True)

    process = subprocess.Popen([*command, "--out", killed], stdout=subprocess.DEVNULL)
    checkpoint = killed / "checkpoint.safetensors"
    for delay in delays:
        written = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None and (
            not checkpoint.exists() or checkpoint.stat().st_mtime_ns == written
        ):
            time.sleep(0.001)
        time.sleep(delay)
        assert process.poll() is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = subprocess.Popen(
            [*COMMAND[:5], "--resume", "--out", killed], stdout=subprocess.DEVNULL
        )
    assert process.wait() == 0
    assert checkpoint.read_bytes() == (straight / "checkpoint.safetensors").read_bytes()
