"""Which gradient rules will run, and what must be kept for them? Decided once, not each time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinymp.autograd.op import GradientRule, Op

if TYPE_CHECKING:
    from tinymp.autograd.tensor import Tensor


class Saved:
    """A tensor's storage kept for backward, with the version it had then."""

    __slots__ = ("count", "dtype", "storage", "version")

    def __init__(self, tensor: Tensor) -> None:
        self.storage = tensor._array
        self.dtype = tensor.dtype
        self.version = tensor.version
        self.count = tensor.version.count


class Plan:
    """The backward of one operation, where certain of its inputs want a gradient.

    Attributes:
        rules: the input's position, its rule, and the place of its gradient among those that the
            rule gives, None where it gives just this one.
        names: what the rules ask for.
    """

    __slots__ = ("names", "op", "rules")

    def __init__(self, op: Op, wanted: Sequence[bool]) -> None:
        self.op = op
        self.rules: list[tuple[int, GradientRule, int | None]] = []
        for position, is_wanted in enumerate(wanted):
            rule = op.rule(position) if is_wanted else None
            if rule is not None:
                together = len(rule.inputs) > 1
                index = rule.inputs.index(op.input(position)) if together else None
                self.rules.append((position, rule, index))
        asked = [name for _, rule, _ in self.rules for name in rule.needs]
        self.names = [name for name in dict.fromkeys(asked) if name != "position"]

    def keep(self, operands: tuple[Any, ...], known: dict[str, Any], result: Tensor) -> Any:
        """What the rules ask for, by name: tensors in the form in which they are kept.

        `known`: attributes and residuals.
        """
        return {
            name: known[name] if name in known else self._asked(name, operands, result)
            for name in self.names
        }

    def _asked(self, name: str, operands: tuple[Any, ...], result: Tensor) -> Any:
        if name == "out":
            return Saved(result)
        if name == "shapes":
            return [x.shape for x in operands if hasattr(x, "shape")]
        x = operands[self.op.inputs.index(name.removesuffix("_shape"))]
        if name.endswith("_shape"):
            return getattr(x, "shape", ())
        return Saved(x) if hasattr(x, "_array") else x
