"""What there is to learn: a model, data, a loss, and what counts as right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinymp.autograd import Tensor
from tinymp.data import (
    ALPHABET,
    CharacterTokenizer,
    Dataset,
    load_digits,
    spelling_line,
    spelling_numbers,
)
from tinymp.models import GPT, MLP
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


UNANSWERED = -1  # stands among the targets where nothing is asked of the model
_LARGEST_NUMBER = 9_999
_LINES = {"train": 2000, "unseen": 250}


def spelling(configuration: Configuration) -> Task:
    """Numbers and their English names, learned letter by letter by a GPT.

    An example is a line such as "70 = seventy". The loss is the mean over the letters of the name
    and its line end; a line counts as correct if all of them are. The test has unseen numbers.
    """
    train, test = (_spelling_lines(split, count) for split, count in _LINES.items())
    context = max(train.inputs.shape[1], test.inputs.shape[1])
    return Task(
        name="spelling",
        train=train,
        test=test,
        model=lambda: GPT(len(ALPHABET), context),
        loss=answered_cross_entropy,
        correct=count_correct_lines,
    )


def _spelling_lines(split: str, count: int) -> Dataset:
    """Tokens (n, t), and as target of each the next one, where that belongs to the name."""
    tokenizer = CharacterTokenizer(ALPHABET)
    lines = [spelling_line(int(n)) for n in spelling_numbers(count, split, largest=_LARGEST_NUMBER)]
    longest = max(map(len, lines))
    tokens = np.stack([tokenizer.encode(line.ljust(longest, "\n")) for line in lines])
    inputs, targets = tokens[:, :-1], tokens[:, 1:].copy()
    for target, line in zip(targets, lines, strict=True):
        target[: line.index("=") + 1] = UNANSWERED
        target[len(line) - 1 :] = UNANSWERED
    return Dataset(f"spelling ({split})", inputs, targets)


def answered_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits (n, t, classes) where the targets (n, t) are not UNANSWERED."""
    answered = targets != UNANSWERED
    return F.cross_entropy(logits[answered], targets[answered])


def count_correct_lines(logits: Tensor, targets: Tensor) -> int:
    """Rows of (n, t, classes) that are largest at every target (n, t) that is not UNANSWERED.

    Given the letters before, each next one is right: the model would write the line by itself. A
    row with a NaN never is correct.
    """
    values, wanted = logits.numpy(), targets.numpy()
    right = (values.argmax(axis=2) == wanted) & ~np.isnan(values).any(axis=2)
    return int((right | (wanted == UNANSWERED)).all(axis=1).sum())


TASKS: dict[str, Callable[[Configuration], Task]] = {"digits": digits, "spelling": spelling}


def make_task(configuration: Configuration) -> Task:
    """The task that a configuration names.

    Raises:
        ValueError: no task of that name; the message lists those there are.
    """
    if configuration.data not in TASKS:
        raise ValueError(f"unknown data {configuration.data!r}; expected one of {', '.join(TASKS)}")
    return TASKS[configuration.data](configuration)
