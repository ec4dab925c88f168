"""A recorded operation: the node of the graph, and how it computes the gradients of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from tinymp.autograd.contract import Contract
from tinymp.autograd.tensor import Tensor
from tinymp.formats import DType, RoundingState, gradient_dtype, rounded
from tinymp.numerics.quiet import quietly

Array = Any
_creation = count()


class Saved:
    """A tensor's storage kept for backward, with the version it had then."""

    __slots__ = ("count", "dtype", "storage", "version")

    def __init__(self, tensor: Tensor) -> None:
        self.storage = tensor._array
        self.dtype = tensor.dtype
        self.version = tensor.version
        self.count = tensor.version.count


class Node:
    """One recorded operation: where its gradients go, and what its gradient rules need.

    `sources` holds, for each input, the node that made it, the leaf tensor itself, or None where no
    gradient is wanted. `saved` maps the names that the rules ask for to what was kept; None once it
    was freed. Rounding is that of the forward pass.
    """

    __slots__ = ("contract", "device", "hooks", "number", "rounding", "saved", "shape", "sources")

    def __init__(
        self,
        contract: Contract,
        sources: Sequence[Any],
        saved: dict[str, Any],
        result: Tensor,
        rounding: RoundingState,
    ) -> None:
        self.contract = contract
        self.sources: Sequence[Node | Tensor | None] = sources
        self.saved: dict[str, Any] | None = saved
        self.shape = result.shape
        self.device = result.device
        self.rounding = rounding
        self.hooks: dict[int, Callable[[Tensor], Tensor | None]] = {}
        self.number = next(_creation)

    @property
    def dtype(self) -> DType:
        """Dtype of the result."""
        return self.contract.result

    @property
    def name(self) -> str:
        """Name of the operation."""
        return self.contract.op.name

    def gradients(self, g: Array) -> list[tuple[Node | Tensor, Array]]:
        """Each source that wants a gradient, with its gradient rounded to the source's dtype.

        `g`: the gradient with respect to this node's result, as storage.
        """
        if self.saved is None:
            raise RuntimeError(
                f"backward reached the result of {self.name!r} a second time, but what its "
                "gradient needs was freed after the first; call backward(retain_graph=True) the "
                "first time, or compute the loss again"
            )
        op, xp, view = self.contract.op, self.contract.xp, self.contract.op.backward_on
        g = self.contract.seen(g, gradient_dtype(self.dtype), view)
        needed = {name: self._restored(name, kept) for name, kept in self.saved.items()}
        gradients = []
        for position, source in enumerate(self.sources):
            if source is None:
                continue
            rule = op.rule(position)
            assert rule is not None  # only an input with a rule has a source
            needed["position"] = position
            gradient = quietly(rule.function, xp, g, *[needed[name] for name in rule.needs])
            if view != "words":
                gradient = quietly(unbroadcast, xp, gradient, source.shape)
                dtype = gradient_dtype(source.dtype)
                gradient = rounded(gradient, dtype, self.rounding)
            gradients.append((source, gradient))
        return gradients

    def _restored(self, name: str, kept: Any) -> Any:
        """What a gradient rule sees of something saved, unless that changed since."""
        if not isinstance(kept, Saved):
            return kept
        if kept.version.count != kept.count:
            raise RuntimeError(
                f"the {'result' if name == 'out' else f'input {name!r}'} of {self.name!r} (shape "
                f"{tuple(kept.storage.shape)}, {kept.dtype.name}) was saved for backward at "
                f"version {kept.count} but has been changed in place since (version "
                f"{kept.version.count}); change it after backward, or change a copy"
            )
        if name in self.contract.op.undecoded:
            return kept.storage
        return self.contract.seen(kept.storage, kept.dtype, self.contract.op.backward_on)


def unbroadcast(xp: Any, gradient: Array, shape: tuple[int, ...]) -> Array:
    """`gradient` summed over the axes along which an input of `shape` was repeated."""
    if gradient.shape == shape:
        return gradient
    added = gradient.ndim - len(shape)
    stretched = [added + i for i, n in enumerate(shape) if n == 1 != gradient.shape[added + i]]
    return xp.sum(gradient, (*range(added), *stretched), True).reshape(shape)
