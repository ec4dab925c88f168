"""The folder of a run: configuration, history, checkpoint and plot, in that order of reading."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tinymp.data.atomic import write_atomically
from tinymp.train.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from tinymp.train.configuration import Configuration
from tinymp.train.history import EpochRecord


class RunFolder:
    """Where a run keeps what it has reached.

    `configuration.json` says how it was started, `history.jsonl` has a line for each epoch,
    `checkpoint.safetensors` is the state after the last complete epoch, `training.png` the plot.
    The checkpoint decides what is true: what the history knows beyond it is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.configuration = path / "configuration.json"
        self.history = path / "history.jsonl"
        self.checkpoint = path / "checkpoint.safetensors"
        self.plot = path / "training.png"

    def create(self, configuration: Configuration, state: dict[str, Any]) -> None:
        """Make the folder, with a checkpoint of the state before the first step.

        Raises:
            FileExistsError: a file of a run is there already; nothing is overwritten.
        """
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"{self.path} is a file; choose the name of a folder for the run")
        for file in (self.checkpoint, self.history, self.configuration, self.plot):
            if file.exists():
                raise FileExistsError(
                    f"{self.path} holds {file.name} of an earlier run; continue that run with "
                    "--resume, or choose another folder"
                )
        self.path.mkdir(parents=True, exist_ok=True)
        self.save(configuration, state)
        write_atomically(self.configuration, _json(configuration))
        self.history.touch()

    def save(self, configuration: Configuration, state: dict[str, Any]) -> None:
        """Replace the checkpoint, atomically."""
        write_checkpoint(self.checkpoint, {"configuration": configuration.as_dict(), **state})

    def load(self) -> tuple[Configuration, dict[str, Any]]:
        """The configuration and state of the checkpoint.

        Raises:
            FileNotFoundError: there is no checkpoint to continue from.
            CheckpointError: it is truncated, foreign, of another version, or of another run.
        """
        if not self.checkpoint.exists():
            raise FileNotFoundError(
                f"there is no run to continue in {self.path}: it has no {self.checkpoint.name}; "
                "check the folder's name, or start a run there without --resume"
            )
        state = read_checkpoint(self.checkpoint)
        if "configuration" not in state:
            raise CheckpointError(
                f"{self.checkpoint} is a checkpoint, but not one of a training run: it has no "
                "configuration"
            )
        kept = state.pop("configuration")
        configuration = Configuration.from_dict(kept)
        if self.configuration.exists():
            self._refuse_other_run(json.loads(self.configuration.read_text(encoding="utf-8")), kept)
        return configuration, state

    def _refuse_other_run(self, written: dict[str, Any], kept: dict[str, Any]) -> None:
        for name in [*kept, *written]:
            here, there = written.get(name), kept.get(name)
            if here != there:
                raise CheckpointError(
                    f"{self.checkpoint} is of another run: it was made with {name} {there}, but "
                    f"{self.configuration.name} says {here}; put the run's own file back"
                )

    def append(self, record: EpochRecord) -> None:
        """Add a line to the history; it is on disk before the epoch's checkpoint is."""
        with self.history.open("a", encoding="utf-8", newline="\n") as file:
            file.write(record.as_line())
            file.flush()
            os.fsync(file.fileno())

    def read_history(self) -> list[EpochRecord]:
        """The records of all epochs so far."""
        return [EpochRecord.from_line(line) for line in self._lines()]

    def cut_history(self, epochs: int) -> None:
        """Drop what a killed process wrote beyond epoch `epochs`, that of the checkpoint.

        Raises:
            CheckpointError: lines of earlier epochs are missing.
        """
        lines = self._lines()
        if len(lines) < epochs:
            raise CheckpointError(
                f"{self.history} has {len(lines)} lines, but the checkpoint was made after epoch "
                f"{epochs}; restore the file, or start the run anew in another folder"
            )
        write_atomically(self.history, "".join(lines[:epochs]).encode())

    def _lines(self) -> list[str]:
        """The lines of the history, without one that was cut short."""
        if not self.history.exists():
            return []
        lines = self.history.read_text(encoding="utf-8").splitlines(keepends=True)
        return [line for line in lines if line.endswith("\n")]


def _json(configuration: Configuration) -> bytes:
    return (json.dumps(configuration.as_dict(), indent=2) + "\n").encode()
