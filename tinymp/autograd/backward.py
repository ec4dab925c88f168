"""Reverse-mode differentiation: the walk from a loss back to the leaves."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any

from tinymp.autograd.graph import Node
from tinymp.autograd.modes import NO_SECOND_DERIVATIVES, OBSERVERS, not_for_capture
from tinymp.autograd.tensor import Tensor, kind_of, new_tensor
from tinymp.devices import device_of
from tinymp.formats import DType, RoundingState, active_rounding, rounded, unpack
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
    not_for_capture("called backward")
    start: Source = root.node or root
    # Gradients on their way to nodes: a dictionary of this pass alone, so nothing stale survives
    # into the next. (Nodes and tensors are told apart by identity, and that is how they hash.)
    waiting: dict[Any, Array] = {start: _first_gradient(root, gradient)}
    targets = [tensor.node or tensor for tensor in inputs or ()]
    kept = set(targets)
    finished: dict[Source, Array] = {}
    observers = OBSERVERS.get()
    # A node is made after everything it depends on. So if the newest that has a gradient always
    # comes next, each gradient is complete before it is passed on. Leaves stay in `waiting`.
    queue = [(-start.number, start)] if isinstance(start, Node) else []

    while queue:
        _, node = heappop(queue)
        g = waiting.pop(node)
        if node.hooks:
            g = _after_hooks(node, g)
        if node in kept:
            finished[node] = g
        gradients = node.gradients(g)
        for observer in observers:
            observer.backward(node, g, gradients)
        for source, storage in gradients:
            if source in waiting:
                storage = add_gradients(
                    waiting[source], storage, source.kind.gradient, node.rounding
                )
            elif type(source) is Node:
                heappush(queue, (-source.number, source))
            elif storage is g or storage.base is not None:
                storage = storage.copy()  # a leaf's gradient is its own, free to be changed
            waiting[source] = storage
        if node.saved and not retain_graph:
            node.saved = None

    for leaf, storage in waiting.items():
        if leaf.hooks:
            storage = _after_hooks(leaf, storage)
        finished[leaf] = storage
        if inputs is None:
            accumulate(leaf, storage)
    return [
        Tensor(finished[target], target.kind.gradient) if target in finished else None
        for target in targets
    ]


def _first_gradient(root: Tensor, gradient: Tensor | None) -> Array:
    """The gradient to start from, as storage: 1 for a scalar loss, else what the caller gave."""
    if not root.requires_grad:
        raise RuntimeError(
            f"backward was called on a tensor of shape {root.shape} that has no graph: nothing it "
            "was computed from requires a gradient, or it was computed under no_grad; set "
            "requires_grad=True on the parameters"
        )
    dtype = root.kind.gradient
    if gradient is None:
        if root.size != 1:
            raise RuntimeError(
                f"backward was called without a gradient on a tensor of shape {root.shape}; only a "
                "tensor of one element has an obvious one; reduce the loss with .sum() or "
                ".mean(), or pass backward(gradient)"
            )
        one = root._device.xp.empty(root.shape, compute_type(dtype))
        one.fill(1)
        return rounded(one, dtype, active_rounding())
    _check_gradient(gradient, root, "backward was given")
    if gradient.dtype is dtype:  # a leaf's gradient is its own, free to be changed
        return gradient._array.copy() if root.node is None else gradient._array
    return rounded(gradient._values(), dtype, active_rounding())


def _after_hooks(source: Source, storage: Array) -> Array:
    """The complete gradient of `source`, once its hooks have seen, and perhaps replaced, it."""
    assert source.hooks is not None
    dtype = source.kind.gradient
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


def accumulate(leaf: Tensor, storage: Array) -> None:
    """Add a gradient to that of a leaf, which keeps the array if there was none."""
    dtype = leaf.kind.gradient
    if leaf.grad is not None:
        if leaf.grad.dtype is not dtype or leaf.grad.shape != leaf.shape:
            raise RuntimeError(
                f"a {dtype.name} gradient of shape {leaf.shape} cannot be added to the grad that "
                f"is there, {leaf.grad.dtype.name} of shape {leaf.grad.shape}; set it to None first"
            )
        storage = add_gradients(leaf.grad._array, storage, dtype, active_rounding())
    kind = kind_of(dtype, leaf._device, leaf.kind.is_scalar, False)
    leaf.grad = new_tensor(storage, kind)


def _plus(xp: Any, x: Array, y: Array) -> Array:
    return x + y


def add_gradients(x: Array, y: Array, dtype: DType, rounding: RoundingState) -> Array:
    """Sum of two gradients of one tensor, rounded once to its dtype."""
    if (kernels := device_of(x).kernels) is not None:
        target = kernels.Target(dtype, rounding.mode(dtype))
        out = kernels.elementwise("add", _plus, [Packed(x, dtype), Packed(y, dtype)], {}, target)
        if out is not NotImplemented:
            return out
    compute = compute_type(dtype)
    total = quietly(_plus, None, unpack(x, dtype, compute), unpack(y, dtype, compute))
    return rounded(total, dtype, rounding)


def backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool = False,
    create_graph: bool = False,
) -> None:
    """Add the gradient of this tensor with respect to every leaf it depends on to `leaf.grad`.

    `gradient`: gradient of the loss with respect to this tensor, of its shape; may be left out
    for a tensor of one element (then it is 1). `retain_graph`: keep what was saved, so that
    backward can run again.

    Raises:
        NotImplementedError: `create_graph`, which would be needed for second derivatives.
        RuntimeError: no graph, a freed graph, a missing gradient, a tensor changed since it was
        saved.
    """
    if create_graph:
        raise NotImplementedError(
            f"backward was called with create_graph=True, but {NO_SECOND_DERIVATIVES}"
        )
    run_backward(self, gradient, retain_graph=retain_graph)


# The class stands in a file that knows of no graph, so its method comes to it from here.
Tensor.backward = backward
