"""Small runs for the tests of training: a task that a tiny network learns within seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tinymp.train import Configuration, RunFolder, Training, make_task


class Runs:
    """Makes small trainings and their folders."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def configuration(self, **settings: Any) -> Configuration:
        small = {"epochs": 4, "hidden": (16,), "batch_size": 128, "growth_interval": 3}
        return Configuration(**{**small, **settings})

    def training(self, **settings: Any) -> Training:
        configuration = self.configuration(**settings)
        return Training(make_task(configuration), configuration)

    def begin(self, name: str, **settings: Any) -> tuple[Training, RunFolder]:
        training = self.training(**settings)
        folder = RunFolder(self.path / name)
        folder.create(training.configuration, training.state())
        return training, folder

    def resume(self, name: str) -> tuple[Training, RunFolder]:
        folder = RunFolder(self.path / name)
        configuration, state = folder.load()
        training = Training(make_task(configuration), configuration)
        training.load(state, folder.checkpoint)
        folder.cut_history(training.epoch)
        return training, folder


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)
