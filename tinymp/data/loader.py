"""Batches of a data set, in an order that depends on the seed and the epoch: nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinymp.autograd import Tensor
from tinymp.data.dataset import Array, Dataset
from tinymp.devices import Generator, get_device
from tinymp.ops.creation import tensor

# Epochs draw from the upper half of a seed's streams, so that the order of the data shares no
# random number with the parameters' initial values or dropout.
_FIRST_EPOCH_DRAW = 2**63


@dataclass(frozen=True)
class DataLoader:
    """Cuts a data set into batches.

    No state is kept from epoch to epoch: a run that resumes in epoch 7 sees the order that it would
    have seen. So the epoch is always said: `for x, y in loader.epoch(7): ...`.

    Attributes:
        dataset: what to cut.
        batch_size: examples in a batch; the last batch may be smaller.
        shuffle: whether each epoch has a random order of its own.
        seed: which orders those are.
        drop_last: whether to leave out a last batch that is smaller.
        device: where the tensors are put.

    Raises:
        ValueError: for a batch size below 1, or above the data set's length with `drop_last`.
    """

    dataset: Dataset
    batch_size: int
    shuffle: bool = False
    seed: int = 0
    drop_last: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, but {self.batch_size} was given")
        if self.drop_last and self.batch_size > len(self.dataset):
            raise ValueError(
                f"batch_size {self.batch_size} is larger than data set {self.dataset.name!r}, "
                f"which has {len(self.dataset)} examples, and drop_last=True leaves out smaller "
                "batches: nothing would be left"
            )

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole if self.drop_last else whole + (rest > 0)

    def order(self, epoch: int) -> Array:
        """Return the indices of all examples, int64, in the order of this epoch (0, 1, ...)."""
        count = len(self.dataset)
        if not self.shuffle:
            return np.arange(count)
        words = Generator(self.seed).words(get_device("cpu"), 2 * count, _FIRST_EPOCH_DRAW + epoch)
        # Sorting random 64-bit keys gives every order the same chance: two keys are equal with a
        # chance below count**2 / 2**65.
        return np.argsort(words.view(np.uint64), kind="stable")

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch: inputs (b, ...) and targets (b, ...), as tensors."""
        order = self.order(number)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            chosen = order[start : start + self.batch_size]
            inputs, targets = self.dataset.inputs[chosen], self.dataset.targets[chosen]
            yield tensor(inputs, device=self.device), tensor(targets, device=self.device)
