"""What there is to learn: a model, data, a loss, and what counts as right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinymp.autograd import Tensor
from tinymp.data import Dataset, load_digits
from tinymp.models import MLP
from tinymp.nn import Module
from tinymp.nn import functional as F
from tinymp.train.configuration import Configuration


@dataclass(frozen=True)
class Task:
    """A supervised task.

    Attributes:
        name: what messages and plots call it.
        train: the examples to learn from.
        test: examples that are never learned from.
        model: a new float32 model on the CPU, its parameters drawn from the default generator.
        loss: (outputs, targets) to the mean loss, a tensor of one element.
        correct: (outputs, targets) to the number of examples that were answered correctly.
    """

    name: str
    train: Dataset
    test: Dataset
    model: Callable[[], Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    correct: Callable[[Tensor, Tensor], int]


def count_correct(logits: Tensor, labels: Tensor) -> int:
    """How many rows of `logits`, (n, classes), are largest at their label, (n,).

    A row with a NaN never is.
    """
    values = logits.numpy()
    right = (values.argmax(axis=1) == labels.numpy()) & ~np.isnan(values).any(axis=1)
    return int(right.sum())


def digits(configuration: Configuration) -> Task:
    """Handwritten digits, 8 x 8 pixels, read by a multilayer perceptron."""
    return Task(
        name="digits",
        train=load_digits("train"),
        test=load_digits("test"),
        model=lambda: MLP(64, configuration.hidden, 10),
        loss=F.cross_entropy,
        correct=count_correct,
    )


TASKS: dict[str, Callable[[Configuration], Task]] = {"digits": digits}


def make_task(configuration: Configuration) -> Task:
    """The task that a configuration names.

    Raises:
        ValueError: no task of that name; the message lists those there are.
    """
    if configuration.data not in TASKS:
        raise ValueError(f"unknown data {configuration.data!r}; expected one of {', '.join(TASKS)}")
    return TASKS[configuration.data](configuration)
