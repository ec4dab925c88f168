"""A recorded operation: the node of the graph, and how it computes the gradients of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymp.numerics.quiet import quietly
from tinymp.formats import DType, float8_e4m3fn, float8_e5m2, pack, unpack
from tinymp.formats.rounding import RoundingState
from tinymp.numerics.kit import Packed

if TYPE_CHECKING:
    from tinymp.autograd.op import Op
    from tinymp.autograd.tensor import Tensor

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
    gradient is wanted. `saved` maps the names that the rules ask for to what was kept.
    """

    __slots__ = (
        "compute", "dtype", "hooks", "kit", "number", "op", "rounding", "saved", "shape", "sources",
    )  # fmt: skip

    def __init__(
        self,
        op: Op,
        sources: Sequence[Node | Tensor | None],
        saved: dict[str, Any],
        result: Tensor,
        compute: np.dtype[Any],
        kit: Any,
        rounding: RoundingState,
    ) -> None:
        self.op = op
        self.sources = sources
        self.saved: dict[str, Any] | None = saved
        self.dtype = result.dtype
        self.shape = result.shape
        self.compute = compute
        self.kit = kit
        self.rounding = rounding
        self.hooks: list[Callable[[Tensor], Tensor | None]] | None = None
        self.number = next(_creation)

    def gradients(self, g: Array) -> list[tuple[Node | Tensor, Array]]:
        """Each source that wants a gradient, with its gradient rounded to the source's dtype.

        `g`: the gradient with respect to this node's result, as storage.
        """
        if self.saved is None:
            raise RuntimeError(
                f"backward reached the result of {self.op.name!r} a second time, but what its gradient needs was freed "
                "after the first; call backward(retain_graph=True) the first time, or compute the loss again"
            )
        view = self.op.backward_on
        g = decoded(g, gradient_dtype(self.dtype), view, self.compute)
        needed: dict[str, Any] = {}
        gradients = []
        for position, source in enumerate(self.sources):
            if source is None:
                continue
            rule = self.op.rule(position)
            assert rule is not None  # the dispatcher sets no source where there is no rule
            for name in rule.needs:
                if name not in needed:
                    kept = self.saved.get(name)
                    needed[name] = self._restored(name, kept) if isinstance(kept, Saved) else kept
            needed["position"] = position
            gradient = quietly(rule.function, self.kit, g, *[needed[name] for name in rule.needs])
            if view == "words":
                gradients.append((source, gradient))
                continue
            if gradient.shape != source.shape:
                gradient = unbroadcast(self.kit, gradient, source.shape)
            dtype = gradient_dtype(source.dtype)
            gradients.append((source, pack(gradient, dtype, self.rounding.mode(dtype))))
        return gradients

    def _restored(self, name: str, kept: Saved) -> Array:
        """What a gradient rule sees of a saved tensor, unless it changed since."""
        if kept.version.count != kept.count:
            raise RuntimeError(
                f"the {'result' if name == 'out' else f'input {name!r}'} of {self.op.name!r} (shape "
                f"{tuple(kept.storage.shape)}, {kept.dtype.name}) was saved for backward at version {kept.count} but has "
                f"been changed in place since (version {kept.version.count}); change it after backward, or change a copy"
            )
        if name in self.op.undecoded:
            return kept.storage
        return decoded(kept.storage, kept.dtype, self.op.backward_on, self.compute)


def decoded(storage: Array, dtype: DType, view: str, compute: np.dtype[Any]) -> Array:
    """A storage in the form in which a rule sees it: values, words, or words with their dtype."""
    if view == "words":
        return storage
    if view == "packed":
        return Packed(storage, dtype)
    if dtype.kind != "float":
        return storage.astype(compute, copy=False)
    return unpack(storage, dtype, compute)


def gradient_dtype(dtype: DType) -> DType:
    """Dtype of a tensor's gradient: its own, but E5M2 for E4M3, whose range is too small for gradients.

    Source: Micikevicius et al., FP8 Formats for Deep Learning (arXiv 2209.05433), section 3.
    """
    return float8_e5m2 if dtype is float8_e4m3fn else dtype


def unbroadcast(xp: Any, gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum `gradient` over the axes along which an input of `shape` was repeated."""
    if gradient.shape == shape:
        return gradient
    added = gradient.ndim - len(shape)
    if added < 0:
        return xp.broadcast_to(gradient, shape)
    stretched = [
        added + i for i, n in enumerate(shape) if n == 1 and gradient.shape[added + i] != 1
    ]
    total = xp.sum(gradient, axis=(*range(added), *stretched), keepdims=True)
    return total.reshape(shape)
