"""Reverse-mode differentiation: the walk from a loss back to the leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinymp.autograd.graph import Node
from tinymp.autograd.modes import OBSERVERS
from tinymp.autograd.tensor import Tensor
from tinymp.devices import device_of
from tinymp.formats import DType, RoundingState, active_rounding, gradient_dtype, rounded, unpack
from tinymp.numerics.kit import Packed, compute_type
from tinymp.numerics.quiet import quietly

Array = Any
Source = Node | Tensor


def run_backward(
    root: Tensor,
    gradient: Tensor | None = None,
    *,
    retain_graph: bool = False,
    inputs: Sequence[Tensor] | None = None,
) -> list[Tensor | None]:
    """Carry the gradient of `root` back through the graph.

    Without `inputs`, each leaf's gradient is added to its `grad`. With `inputs` no `grad` is
    touched: their gradients are returned, None for an input that `root` does not depend on.

    Gradients that meet at a tensor are each rounded to its dtype, then added in float32 and rounded
    again, in the order in which they arrive.
    """
    start: Source = root.node or root
    # Gradients on their way, under the identity of the node or leaf they are for: a dictionary of
    # this pass alone, so nothing stale survives into the next.
    waiting: dict[int, Array] = {id(start): _first_gradient(root, gradient)}
    leaves: dict[int, Tensor] = {} if isinstance(start, Node) else {id(start): start}
    finished: dict[int, Array] = {}
    targets = [tensor.node or tensor for tensor in inputs or ()]
    kept = {id(target) for target in targets}

    for node in _reverse_order(start):
        if id(node) not in waiting:
            continue
        g = _after_hooks(node, waiting.pop(id(node)))
        if id(node) in kept:
            finished[id(node)] = g
        gradients = node.gradients(g)
        for observer in OBSERVERS.get():
            observer.backward(node, g, gradients)
        for source, storage in gradients:
            if isinstance(source, Tensor):
                leaves[id(source)] = source
                if storage is g or storage.base is not None:
                    storage = storage.copy()  # a leaf's gradient is its own, free to be changed
            if id(source) in waiting:
                dtype = gradient_dtype(source.dtype)
                storage = _add(waiting[id(source)], storage, dtype, node.rounding)
            waiting[id(source)] = storage
        if node.saved and not retain_graph:
            node.saved = None

    for leaf in leaves.values():
        finished[id(leaf)] = _after_hooks(leaf, waiting[id(leaf)])
        if inputs is None:
            _accumulate(leaf, finished[id(leaf)])
    return [
        Tensor(finished[id(target)], gradient_dtype(target.dtype))
        if id(target) in finished
        else None
        for target in targets
    ]


def _reverse_order(start: Source) -> list[Node]:
    """Every node that `start` depends on, the newest first.

    A node is made after everything it depends on. So the order of creation, backwards, is one in
    which each gradient is complete before it is passed on.
    """
    nodes = [start] if isinstance(start, Node) else []
    seen = {id(start)}
    for node in nodes:  # the list grows while it is walked, where recursion would run out of stack
        for source in node.sources:
            if isinstance(source, Node) and id(source) not in seen:
                seen.add(id(source))
                nodes.append(source)
    return sorted(nodes, key=lambda node: node.number, reverse=True)


def _first_gradient(root: Tensor, gradient: Tensor | None) -> Array:
    """The gradient to start from, as storage: 1 for a scalar loss, else what the caller gave."""
    if not root.requires_grad:
        raise RuntimeError(
            f"backward was called on a tensor of shape {root.shape} that has no graph: nothing it "
            "was computed from requires a gradient, or it was computed under no_grad; set "
            "requires_grad=True on the parameters"
        )
    dtype = gradient_dtype(root.dtype)
    if gradient is None:
        if root.size != 1:
            raise RuntimeError(
                f"backward was called without a gradient on a tensor of shape {root.shape}; only a "
                "tensor of one element has an obvious one; reduce the loss with .sum() or "
                ".mean(), or pass backward(gradient)"
            )
        one = root._device.xp.ones(root.shape, compute_type(dtype))
        return rounded(one, dtype, active_rounding())
    _check_gradient(gradient, root, "backward was given")
    if gradient.dtype is dtype:
        return gradient._array.copy()
    return rounded(gradient._values(), dtype, active_rounding())


def _after_hooks(source: Source, storage: Array) -> Array:
    """The complete gradient of `source`, once its hooks have seen, and perhaps replaced, it."""
    if not source.hooks:
        return storage
    dtype = gradient_dtype(source.dtype)
    for hook in tuple(source.hooks.values()):
        replaced = hook(Tensor(storage, dtype))
        if replaced is not None:
            _check_gradient(replaced, source, "a hook returned")
            storage = rounded(replaced._values(), dtype, active_rounding())
    return storage.copy()  # hooks may keep what they saw, and a leaf's gradient must be its own


def _check_gradient(gradient: Any, source: Source, did_what: str) -> None:
    if not isinstance(gradient, Tensor):
        raise TypeError(f"{did_what} a {type(gradient).__name__}; a gradient is a tensor")
    if gradient.shape != source.shape:
        raise ValueError(
            f"{did_what} a gradient of shape {gradient.shape} for a tensor of shape "
            f"{source.shape}; the shapes must be equal"
        )
    if gradient.device != source.device:
        raise ValueError(
            f"{did_what} a gradient on {gradient.device} for a tensor on {source.device}; move it "
            f"there, with .to({source.device!r})"
        )


def _accumulate(leaf: Tensor, storage: Array) -> None:
    dtype = gradient_dtype(leaf.dtype)
    if leaf.grad is not None:
        if leaf.grad.dtype is not dtype or leaf.grad.shape != leaf.shape:
            raise RuntimeError(
                f"a {dtype.name} gradient of shape {leaf.shape} cannot be added to the grad that "
                f"is there, {leaf.grad.dtype.name} of shape {leaf.grad.shape}; set it to None first"
            )
        storage = _add(leaf.grad._array, storage, dtype, active_rounding())
    leaf.grad = Tensor(storage, dtype)


def _plus(xp: Any, x: Array, y: Array) -> Array:
    return x + y


def _add(x: Array, y: Array, dtype: DType, rounding: RoundingState) -> Array:
    """Sum of two gradients of one tensor, rounded once to its dtype."""
    if (kernels := device_of(x).kernels) is not None:
        target = kernels.Target(dtype, rounding.mode(dtype))
        out = kernels.elementwise("add", _plus, [Packed(x, dtype), Packed(y, dtype)], {}, target)
        if out is not NotImplemented:
            return out
    compute = compute_type(dtype)
    total = quietly(_plus, None, unpack(x, dtype, compute), unpack(y, dtype, compute))
    return rounded(total, dtype, rounding)
