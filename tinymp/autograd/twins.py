"""A contract carried out by a device's kernels, wherever there is one that serves.

The rules stay the specification: what no kernel serves runs by them, on the device's own arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymp.autograd.contract import Contract, Gradients, Operand, unbroadcast
from tinymp.autograd.op import Op
from tinymp.autograd.tensor import Tensor
from tinymp.formats import DType, RoundingState, float32, gradient_dtype, rounded
from tinymp.numerics.accumulators import FLOAT32
from tinymp.numerics.kit import Packed

if TYPE_CHECKING:
    from tinymp.autograd.graph import Node

Array = Any


class TwinContract(Contract):
    """A contract on a device with kernels, which sum in float32 and in an order of their own."""

    __slots__ = ("kernels", "operand_dtypes")

    def __init__(self, op: Op, operands: Sequence[Operand], dtype: DType | None) -> None:
        super().__init__(op, operands, dtype)
        self.operand_dtypes = [x.dtype if isinstance(x, Tensor) else None for x in operands]
        serves = self.accumulator is FLOAT32 and self.compute == np.float32
        self.kernels = self.device.kernels if serves else None
        if self.kernels is not None and self.plan is not None:
            self.plan.ask(self.kernels.needs(op.name))

    def forward(
        self, held: Sequence[Any], attributes: dict[str, Any], rounding: RoundingState
    ) -> Array:
        if self.kernels is None:
            return super().forward(held, attributes, rounding)
        op = self.op
        arguments = [
            x if dtype is None else Packed(x, dtype)
            for x, dtype in zip(held, self.operand_dtypes, strict=True)
        ]
        if not op.variadic:
            arguments += [None] * (len(op.inputs) - len(arguments))  # kernels take all inputs
        target = self._target(self.result, rounding)
        names = self.kernels.residuals(op.name, op.residuals)
        out = self.kernels.forward(op, arguments, attributes, target)
        if out is NotImplemented:
            out = super().forward(held, attributes, rounding)
            known = op.residuals
        elif names:
            out, *kept = out
            attributes.update(zip(names, kept, strict=True))
            known = names
        else:
            return out
        # Of kernel and rule, the one that did not run leaves nothing.
        attributes.update(dict.fromkeys({*names, *op.residuals} - {*known}))
        return out

    def backward(self, node: Node, g: Array, saved: dict[str, Any]) -> Gradients:
        assert self.plan is not None  # else there is no node
        if self.kernels is None:
            return super().backward(node, g, saved)
        arrived = Packed(g, gradient_dtype(self.result))
        self.check(node)
        dtypes = self.dtypes
        needed = {
            name: Packed(kept, dtypes[name]) if name in self.plan.tensors else kept
            for name, kept in saved.items()
        }
        sources: list[Any] = [node.sources[position] for position, _, _ in self.plan.rules]
        targets = [self._target(gradient_dtype(x.dtype), node.rounding) for x in sources]
        inputs = tuple(self.op.input(position) for position, _, _ in self.plan.rules)
        found = self.kernels.gradients(self.op, inputs, arrived, needed, targets)
        if found is NotImplemented and self.op.backward_on == "values":
            found = self._elementwise_gradients(node, arrived, needed, sources, targets)
        if found is NotImplemented:
            return super().backward(node, g, saved)
        return list(zip(sources, found, strict=True))

    def _elementwise_gradients(
        self, node: Node, g: Packed, needed: dict[str, Any], sources: list[Any], targets: list[Any]
    ) -> Any:
        """The gradients by the rules as kernels; NotImplemented unless all are elementwise."""
        assert self.kernels is not None
        assert self.plan is not None
        gradients = []
        for (_, rule, index), source, target in zip(self.plan.rules, sources, targets, strict=True):
            if index is not None or "position" in rule.needs:
                return NotImplemented
            whole = source.shape == node.shape
            out = self.kernels.elementwise(
                f"{self.op.name}_{rule.inputs[0]}",
                rule.function,
                [g, *[self._undecoded(name, needed[name]) for name in rule.needs]],
                {},
                target if whole else self._target(float32, node.rounding),
            )
            if out is NotImplemented:
                return NotImplemented
            if not whole:
                out = unbroadcast(self.xp, out, source.shape)
                out = rounded(out, target.dtype, node.rounding)
            gradients.append(out)
        return gradients

    def _undecoded(self, name: str, kept: Any) -> Any:
        """What an elementwise rule sees of something it needs: of masks and labels the storage."""
        return kept.storage if name in self.op.undecoded else kept

    def _target(self, dtype: DType, rounding: RoundingState) -> Any:
        assert self.kernels is not None
        return self.kernels.Target(dtype, rounding.mode(dtype) if dtype.is_float else "")
