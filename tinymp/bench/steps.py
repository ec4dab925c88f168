"""Steps of a training, made by whatever `tinymp train` makes them by on its device."""

from __future__ import annotations

from tinymp.autograd import Tensor
from tinymp.train import StepRecord, Training, train_step


class Steps:
    """Starts steps; on a GPU the host does not wait for them."""

    def __init__(self, training: Training) -> None:
        training.model.train()
        self._training = training
        self._loop = training.device_loop
        self._records: list[StepRecord] = []

    def __call__(self, inputs: Tensor, targets: Tensor) -> None:
        """Start a step on one batch, which is on the training's device."""
        if self._loop is not None:
            self._loop.step(inputs, targets)
        else:
            self._records.append(train_step(self._training, inputs, targets))

    def finish(self) -> list[StepRecord]:
        """Wait for the steps since the last call, and return their records."""
        if self._loop is not None:
            return self._loop.finish()
        records, self._records = self._records, []
        return records
