"""How does one watch a run? An observer for the length of a `with` block, and notes on tensors."""

from __future__ import annotations

from contextvars import Token
from typing import Any, Generic, Self, TypeVar
from weakref import ref

from tinymp.autograd import Tensor
from tinymp.autograd.modes import OBSERVERS, Observer

Value = TypeVar("Value")


class Watcher:
    """Sees every operation, and the backward of each, that runs inside its `with` block.

    What it found can be read inside the block and after it. A watcher that is entered again adds to
    what it found before.
    """

    def __init__(self) -> None:
        self._tokens: list[Token[tuple[Observer, ...]]] = []

    def __enter__(self) -> Self:
        self._tokens.append(OBSERVERS.set((*OBSERVERS.get(), self)))
        return self

    def __exit__(self, *error: object) -> None:
        OBSERVERS.reset(self._tokens.pop())

    def forward(
        self, contract: Any, operands: tuple[Any, ...], attributes: dict[str, Any], result: Any
    ) -> None:
        """An operation ran; see `autograd.modes.Observer`."""

    def backward(self, node: Any, g: Any, gradients: list[tuple[Any, Any]]) -> None:
        """A node turned the gradient of its result into those of its inputs."""


class TensorNotes(Generic[Value]):
    """What is known of a tensor, by its identity; forgotten as soon as the tensor is.

    (A WeakKeyDictionary compares its keys, and comparing tensors is an operation of its own.)
    """

    def __init__(self) -> None:
        self._notes: dict[int, tuple[ref[Tensor], Value]] = {}

    def __setitem__(self, tensor: Tensor, value: Value) -> None:
        key = id(tensor)
        self._notes[key] = (ref(tensor, lambda _: self._notes.pop(key, None)), value)

    def get(self, tensor: Tensor) -> Value | None:
        """The note on `tensor`, None if there is none."""
        note = self._notes.get(id(tensor))
        return None if note is None else note[1]

    def __len__(self) -> int:
        return len(self._notes)
