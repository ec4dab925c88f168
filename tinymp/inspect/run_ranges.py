"""Which activations and gradients of a run leave the range of a format? Counted while it runs."""

from __future__ import annotations

from typing import Any

from tinymp.autograd import Tensor
from tinymp.autograd.graph import Node
from tinymp.formats import DType, RoundingState, active_rounding, dtype_of, gradient_dtype
from tinymp.inspect.exponents import CLASSES, Histogram, histogram
from tinymp.inspect.rerun import input_name, unrounded, unrounded_gradients
from tinymp.inspect.text import table
from tinymp.inspect.watching import TensorNotes, Watcher
from tinymp.nn import Module


class RunRanges(Watcher):
    """Counts the values that the operations inside its `with` block compute. See `ranges`.

    Attributes:
        activations: a histogram for each operation of a step, under its place in the step and its
            name.
        gradients: a histogram for each gradient, under the parameter it is for, or the operation
            and input.
    """

    def __init__(self, dtype: DType | None, scale: float, model: Module | None) -> None:
        super().__init__()
        self.activations: dict[str, Histogram] = {}
        self.gradients: dict[str, Histogram] = {}
        self._dtype = dtype
        self._scale = scale
        self._names: TensorNotes[str] = TensorNotes()
        for name, parameter in model.named_parameters() if model is not None else ():
            self._names[parameter] = name
        self._place = 0
        self._labels: dict[int, str] = {}  # by the number of the node

    def forward(
        self, contract: Any, operands: tuple[Any, ...], attributes: dict[str, Any], result: Tensor
    ) -> None:
        self._place += 1
        label = f"{self._place} {contract.op.name}"
        if result.node is not None:
            self._labels[result.node.number] = label
        if contract.op.forward_on == "words" or not result.dtype.is_float:
            return  # what is only moved was counted where it was computed
        exact = result.dtype.storage == contract.compute
        values = result._array if exact else unrounded(contract, operands, attributes)
        self._count(self.activations, label, values, result.dtype, active_rounding())

    def backward(self, node: Node, g: Any, gradients: list[tuple[Any, Any]]) -> None:
        self._place = 0  # the next operation begins a new step
        op = node.contract.op
        label = self._labels.pop(node.number, op.name)
        if op.backward_on == "words":
            return
        positions = [i for i, source in enumerate(node.sources) if source is not None]
        computed = unrounded_gradients(node, g)
        for i, (source, _), values in zip(positions, gradients, computed, strict=True):
            name = self._names.get(source) if isinstance(source, Tensor) else None
            self._count(
                self.gradients,
                name or f"{label}: {input_name(op, i)}",
                values,
                gradient_dtype(source.dtype),
                node.rounding,
                self._scale,
            )

    def _count(
        self,
        found: dict[str, Histogram],
        label: str,
        values: Any,
        own: DType,
        rounding: RoundingState,
        scale: float = 1.0,
    ) -> None:
        dtype = self._dtype or own
        counted = histogram(values, dtype, scale=scale, rounding=rounding.mode(dtype))
        known = found.get(label, counted)
        if (known.dtype, known.rounding) != (counted.dtype, counted.rounding):
            # Between two forward passes other operations may have the same place, such as the casts
            # of gradients to master weights.
            label = f"{label} ({counted.dtype.name}, {counted.rounding})"
        found[label] = found[label] + counted if label in found else counted

    def __str__(self) -> str:
        parts = []
        for title, found in (("activations", self.activations), ("gradients", self.gradients)):
            lines = [
                (label, h.dtype.name, *(f"{h.classes[name]:,}" for name in CLASSES))
                for label, h in found.items()
            ]
            if lines:
                parts.append(table((title, "format", *CLASSES), lines, right=range(2, 8)))
        return "\n\n".join(parts) or "nothing was computed inside the block"


def ranges(
    dtype: DType | str | None = None, *, scale: float = 1.0, model: Module | None = None
) -> RunRanges:
    """Count where the values of a run lie in the range of a format, each before it is rounded.

        with mp.inspect.ranges(mp.float16, scale=1024, model=model) as run:
            loss(model(x), y).backward()
        print(run)

    In a float32 run this predicts what FP16 would lose at a loss scale; in an FP16 run it shows
    what was lost, where: a value that was rounded to zero is an underflow, one that was computed
    from zeros is a zero. Operations that only move values are not counted again. Steps add up: a
    step ends with its backward.

    Args:
        dtype: the format; None takes the dtype that each result is rounded to.
        scale: factor on the gradients, for a loss scale that the run itself does not apply.
        model: calls the gradients of its parameters by their names.
    """
    return RunRanges(None if dtype is None else dtype_of(dtype), scale, model)
