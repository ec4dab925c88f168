"""Which gradient rules will run, and what must be kept for them? Decided once, not each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tinymp.autograd.op import GradientRule, Op
from tinymp.autograd.tensor import Tensor, Version

Keeper = Callable[[tuple[Any, ...], Tensor], Any] | None


class Saved:
    """A tensor's storage kept for backward, with the version it had then."""

    __slots__ = ("count", "dtype", "storage", "version")

    def __init__(self, tensor: Tensor) -> None:
        self.storage = tensor._array
        self.dtype = tensor.dtype
        version = tensor._version
        if version is None:  # `tensor.version` says the same, but not as fast
            version = tensor._version = Version()
        self.version = version
        self.count = version.count


class Plan:
    """The backward of one operation, where certain of its inputs want a gradient.

    Attributes:
        rules: the input's position, its rule, and the place of its gradient among those that the
            rule gives, None where it gives just this one.
        positions: those of the inputs alone.
        names: what the rules ask for, and how it is kept; None for attributes and residuals.
    """

    __slots__ = ("names", "op", "positions", "rules")

    def __init__(self, op: Op, wanted: Sequence[bool]) -> None:
        self.op = op
        self.rules: list[tuple[int, GradientRule, int | None]] = []
        for position, is_wanted in enumerate(wanted):
            rule = op.rule(position) if is_wanted else None
            if rule is not None:
                together = len(rule.inputs) > 1
                index = rule.inputs.index(op.input(position)) if together else None
                self.rules.append((position, rule, index))
        self.positions = [position for position, _, _ in self.rules]
        asked = [name for _, rule, _ in self.rules for name in rule.needs]
        self.names: dict[str, Keeper] = {}
        self.ask(name for name in asked if name != "position")

    def ask(self, names: Iterable[str]) -> None:
        """Have something kept, if it is not yet: an input, its shape, the result, an attribute."""
        for name in names:
            self.names.setdefault(name, self._keeper(name))

    def _keeper(self, name: str) -> Keeper:
        """How to keep what is asked for by `name`, given the operands and the result."""
        if name == "out":
            return lambda operands, result: Saved(result)
        if name == "shapes":
            return lambda operands, result: [x.shape for x in operands if isinstance(x, Tensor)]
        if name in self.op.inputs:
            position = self.op.inputs.index(name)
            return lambda operands, result: _kept(operands[position])
        input_name = name.removesuffix("_shape")
        if input_name != name and input_name in self.op.inputs:
            position = self.op.inputs.index(input_name)
            return lambda operands, result: getattr(operands[position], "shape", ())
        return None

    def keep(
        self, operands: tuple[Any, ...], known: dict[str, Any], result: Tensor
    ) -> dict[str, Any]:
        """What the rules ask for, by name; attributes and residuals are in `known`."""
        return {
            name: known[name] if keeper is None else keeper(operands, result)
            for name, keeper in self.names.items()
        }


def _kept(x: Any) -> Any:
    return Saved(x) if isinstance(x, Tensor) else x
