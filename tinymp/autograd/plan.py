"""Which gradient rules will run, and what must be kept for them? Decided once, not each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from tinymp.autograd.op import GradientRule, Op
from tinymp.autograd.tensor import Tensor, Version

#: Given the operands and the result, what is kept.
Keeper = Callable[[tuple[Any, ...]], Any]
#: Of each tensor whose storage was saved: its name, its version counter, and the count then.
Versions = list[tuple[str, Version, int]]


class Plan:
    """The backward of one operation, where certain of its inputs want a gradient.

    Attributes:
        rules: the input's position, its rule, and the place of its gradient among those that the
            rule gives, None where it gives just this one.
        positions: those of the inputs alone.
        known: names of the attributes and residuals that the rules ask for.
        tensors: by name, the positions of the tensors that they ask for; the result's is -1.
        keepers: by name, how what else they ask for is kept.
    """

    __slots__ = ("are_tensors", "keepers", "known", "op", "positions", "rules", "tensors")

    def __init__(self, op: Op, operands: Sequence[Any], has_gradients: bool) -> None:
        """`operands`: such as the operation will be given; `has_gradients`: whether it has any."""
        self.op = op
        self.are_tensors = [isinstance(x, Tensor) for x in operands]
        self.rules: list[tuple[int, GradientRule, int | None]] = []
        for position, x in enumerate(operands):
            wanted = has_gradients and isinstance(x, Tensor) and x.requires_grad
            rule = op.rule(position) if wanted else None
            if rule is not None:
                together = len(rule.inputs) > 1
                index = rule.inputs.index(op.input(position)) if together else None
                self.rules.append((position, rule, index))
        self.positions = [position for position, _, _ in self.rules]
        self.known: set[str] = set()
        self.tensors: dict[str, int] = {}
        self.keepers: dict[str, Keeper] = {}
        self.ask(name for _, rule, _ in self.rules for name in rule.needs if name != "position")

    def ask(self, names: Iterable[str]) -> None:
        """Have something kept, if it is not yet: an input, its shape, the result, an attribute."""
        for name in names:
            if name == "out":
                self.tensors[name] = -1
            elif name == "shapes":
                self.keepers[name] = _shapes
            elif name in self.op.inputs:
                self._ask_for_input(name, self.op.inputs.index(name))
            elif name.removesuffix("_shape") in self.op.inputs:
                place = self.op.inputs.index(name.removesuffix("_shape"))
                self.keepers[name] = partial(_shape, place)
            else:
                self.known.add(name)

    def _ask_for_input(self, name: str, place: int) -> None:
        if place >= len(self.are_tensors):  # it was left out
            self.keepers[name] = lambda x: None
        elif self.are_tensors[place]:
            self.tensors[name] = place
        else:
            self.keepers[name] = itemgetter(place)

    def keep(
        self, operands: tuple[Any, ...], known: dict[str, Any], result: Tensor
    ) -> tuple[dict[str, Any] | None, Versions]:
        """What the rules ask for, by name, and the versions of the tensors in it.

        Attributes and residuals are in `known`. Of tensors the storage is kept.
        """
        if len(known) == len(self.known):  # as a rule, they ask for all of these
            saved = known.copy()
        else:
            saved = {name: known[name] for name in self.known}
        versions = []
        everything = (*operands, result)
        for name, place in self.tensors.items():
            tensor = everything[place]
            version = tensor._version
            if version is None:  # `tensor.version` says the same, but not as fast
                version = tensor._version = Version()
            saved[name] = tensor._array
            versions.append((name, version, version.count))
        for name, keeper in self.keepers.items():
            saved[name] = keeper(everything)
        return saved, versions


def _shape(place: int, everything: tuple[Any, ...]) -> tuple[int, ...]:
    """Shape of one input, which may be a number."""
    return getattr(everything[place], "shape", ())


def _shapes(everything: tuple[Any, ...]) -> list[tuple[int, ...]]:
    """Shapes of all inputs of an operation that takes any number of them."""
    return [x.shape for x in everything[:-1] if isinstance(x, Tensor)]
