"""A recorded operation: the node of the graph, and where its gradients go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from tinymp.autograd.contract import Contract, Gradients, Operand
from tinymp.autograd.tensor import Tensor
from tinymp.formats import DType, RoundingState
from tinymp.numerics.quiet import QUIET

Array = Any
_creation = count()


class Node:
    """One recorded operation: where its gradients go, and what its gradient rules need.

    `sources` holds, for each input, the node that made it, the leaf tensor itself, or None where no
    gradient is wanted. `saved` maps the names that the rules ask for to what was kept, of tensors
    the storage; None once it was freed. `versions` are those that the tensors had. Rounding is that
    of the forward pass. `recall`, where a checkpoint had everything forgotten, brings it back.
    """

    __slots__ = (
        "contract", "hooks", "kind", "number", "recall", "rounding", "saved", "shape", "sources",
        "versions",
    )  # fmt: skip

    def __init__(
        self,
        contract: Contract,
        operands: tuple[Operand, ...],
        known: dict[str, Any],
        result: Tensor,
        rounding: RoundingState,
    ) -> None:
        plan: Any = contract.plan
        sources: list[Any] = [None] * len(operands)
        for position in plan.positions:
            x: Any = operands[position]
            sources[position] = x.node or x
        self.contract = contract
        self.sources: Sequence[Node | Tensor | None] = sources
        asks = plan.tensors or plan.keepers or plan.known
        self.saved, self.versions = plan.keep(operands, known, result) if asks else ({}, [])
        self.recall: Callable[[], dict[str, Any]] | None = None
        self.kind = result.kind
        self.shape: tuple[int, ...] = result._array.shape
        self.rounding = rounding
        self.hooks: dict[int, Callable[[Tensor], Tensor | None]] | None = None
        self.number = next(_creation)

    @property
    def dtype(self) -> DType:
        """Dtype of the result."""
        return self.kind.dtype

    @property
    def device(self) -> str:
        """Name of the device of the result."""
        return self.kind.device.name

    @property
    def name(self) -> str:
        """Name of the operation."""
        return self.contract.op.name

    def saved_dtype(self, name: str) -> DType | None:
        """Dtype of the tensor whose storage was saved by this name; None for anything else."""
        plan = self.contract.plan
        return self.contract.dtypes[name] if plan is not None and name in plan.tensors else None

    def gradients(self, g: Array) -> Gradients:
        """Each source that wants a gradient, with its gradient rounded to the source's dtype.

        `g`: the gradient with respect to this node's result, as storage.
        """
        if self.recall is not None:
            self.saved, self.recall = self.recall(), None
        if self.saved is None:
            raise RuntimeError(
                f"backward reached the result of {self.name!r} a second time, but what its "
                "gradient needs was freed after the first; call backward(retain_graph=True) the "
                "first time, or compute the loss again"
            )
        gradients: Gradients = QUIET.run(self.contract.backward, self, g, self.saved)
        return gradients
