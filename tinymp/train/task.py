"""What there is to learn: a model, data, a loss, and what counts as right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tinymp.autograd import Tensor
from tinymp.data import Dataset
from tinymp.nn import Module


@dataclass(frozen=True)
class Sample:
    """What a trained model wrote: after `prompt` came `written`; `expected` is right, if known."""

    prompt: str
    written: str
    expected: str | None = None

    @property
    def is_right(self) -> bool:
        """Whether what was written is what is expected."""
        return self.written == self.expected


def writes_nothing(model: Module) -> list[Sample]:
    """The samples of a task whose model does not write."""
    return []


@dataclass(frozen=True)
class Task:
    """A supervised task.

    Attributes:
        name: what messages and plots call it.
        train: the examples to learn from.
        test: examples that are never learned from.
        model: a new float32 model on the CPU, its parameters drawn from the default generator.
        loss: (outputs, targets) to the mean loss, a tensor of one element.
        correct: (outputs, targets) to the number of examples that were answered correctly; where
            an example has many answers, the right share of them counts.
        samples: what a trained model writes. It leaves the default generator alone.
    """

    name: str
    train: Dataset
    test: Dataset
    model: Callable[[], Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    correct: Callable[[Tensor, Tensor], float]
    samples: Callable[[Module], list[Sample]] = writes_nothing
