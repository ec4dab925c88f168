"""How many bytes training keeps, counted in the storages themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tinymp.autograd import Tensor
from tinymp.autograd.graph import Node, Saved
from tinymp.devices import get_rng_state, set_rng_state
from tinymp.train.training import Training, forward

Array = Any


@dataclass(frozen=True)
class Footprint:
    """Bytes of what a training step keeps; 0 for masters where there are none.

    `activations` is what the graph of one batch saved for backward, the weights apart: the inputs
    of the layers, what the loss needs, and the labels.
    """

    weights: int
    gradients: int
    masters: int
    master_gradients: int
    optimizer: int
    activations: int


def measure(training: Training) -> Footprint:
    """Bytes of every kind, counted during a forward and backward pass on the first batch.

    Weights, optimizer state and random state stay as they are; gradients are dropped.
    """
    random = get_rng_state()
    model, masters, optimizer = training.model, training.masters, training.optimizer
    weights = list(model.parameters())
    of_their_own = [m for m, w in zip(masters.parameters(), weights, strict=True) if m is not w]
    model.zero_grad()
    optimizer.zero_grad()
    _, loss = forward(training, *next(training.loader.epoch(0)))
    activations = saved_bytes(loss, apart_from=weights)
    with training.policy.rounding_context():
        training.scaler.scale(loss).backward()
    gradients = storage_bytes(weight.grad for weight in weights)
    masters.copy_gradients()
    footprint = Footprint(
        weights=storage_bytes(weights),
        gradients=gradients,
        masters=storage_bytes(of_their_own),
        master_gradients=storage_bytes(master.grad for master in of_their_own),
        optimizer=storage_bytes(
            x for state in optimizer.state.values() for x in state.values() if isinstance(x, Tensor)
        ),
        activations=activations,
    )
    model.zero_grad()
    optimizer.zero_grad()
    set_rng_state(random)
    return footprint


def storage_bytes(tensors: Iterable[Tensor | None]) -> int:
    """Bytes of the tensors' storages, each counted once; None counts nothing."""
    return _bytes(tensor._array for tensor in tensors if tensor is not None)


def saved_bytes(loss: Tensor, apart_from: Iterable[Tensor]) -> int:
    """Bytes that the graph of `loss` keeps for backward: the saved activations.

    The storages of the tensors in `apart_from`, the weights, say, are not counted.
    """
    arrays = [array for node in _nodes(loss) for array in _saved_arrays(node)]
    excluded = {id(_owner(tensor._array)) for tensor in apart_from}
    return _bytes(array for array in arrays if id(_owner(array)) not in excluded)


def _nodes(loss: Tensor) -> list[Node]:
    """Every node that `loss` was computed by."""
    nodes = [loss.node] if loss.node is not None else []
    seen = {id(node) for node in nodes}
    for node in nodes:  # the list grows while it is walked
        for source in node.sources:
            if isinstance(source, Node) and id(source) not in seen:
                seen.add(id(source))
                nodes.append(source)
    return nodes


def _saved_arrays(node: Node) -> list[Array]:
    kept = [x.storage if isinstance(x, Saved) else x for x in (node.saved or {}).values()]
    return [x for x in kept if hasattr(x, "nbytes")]


def _bytes(arrays: Iterable[Array]) -> int:
    owners = {id(_owner(array)): _owner(array) for array in arrays}
    return sum(int(owner.nbytes) for owner in owners.values())


def _owner(array: Array) -> Array:
    """The array whose memory a view looks at; NumPy and CuPy keep it one step away."""
    return array if array.base is None else array.base
