"""Where do the bytes go? A ledger of memory by kind, counted in the storages themselves."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from tinymp.autograd import Tensor
from tinymp.autograd.graph import Node
from tinymp.formats import DType
from tinymp.inspect.text import percent, table
from tinymp.nn import Module
from tinymp.optim import Optimizer

Array = Any

#: The kinds, in the order in which they claim storages: one that several kinds share counts once.
KINDS = (
    "weights",
    "buffers",
    "master weights",
    "gradients",
    "master gradients",
    "optimizer state",
    "casts of weights",
    "saved activations",
    "temporaries",
)


class Masters(Protocol):
    """Whoever holds master weights, such as `amp.MasterWeights`."""

    def parameters(self) -> Iterable[Tensor]:
        """The float32 tensors."""


@dataclass(frozen=True)
class Ledger:
    """Bytes of memory by kind and dtype; `print` it for a table.

    Attributes:
        entries: for each of `KINDS` that takes any, its bytes by the name of the dtype.
    """

    entries: dict[str, dict[str, int]]

    @property
    def total(self) -> int:
        """Bytes of all kinds together."""
        return sum(self.bytes(kind) for kind in self.entries)

    def bytes(self, kind: str) -> int:
        """Bytes of one of `KINDS`."""
        return sum(self.entries.get(kind, {}).values())

    def __or__(self, other: Ledger) -> Ledger:
        """Kind by kind the entry that is larger: the peaks of moments that differ.

        Saved activations are there before backward, gradients after it.
        """
        larger = {
            kind: max(self, other, key=lambda ledger: ledger.bytes(kind)).entries.get(kind, {})
            for kind in KINDS
        }
        return Ledger({kind: entry for kind, entry in larger.items() if entry})

    def __str__(self) -> str:
        lines = [
            (kind, ", ".join(entry), f"{self.bytes(kind):,}", percent(self.bytes(kind), self.total))
            for kind, entry in self.entries.items()
        ]
        rows = [*lines, None, ("total", "", f"{self.total:,}", "")]
        return table(("memory", "held as", "bytes", "share"), rows, right=(2, 3))


@dataclass
class TracedMemory:
    """Python's own count of allocated bytes (NumPy's arrays included) in a `with` block.

    Attributes:
        start: bytes allocated when the block began.
    """

    start: int = 0
    _started_tracing: bool = field(default=False, repr=False)
    _at_exit: tuple[int, int] | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        self._started_tracing = not tracemalloc.is_tracing()
        if self._started_tracing:
            tracemalloc.start()
        tracemalloc.reset_peak()
        self.start, _ = tracemalloc.get_traced_memory()
        self._at_exit = None
        return self

    def __exit__(self, *error: object) -> None:
        self._at_exit = tracemalloc.get_traced_memory()
        if self._started_tracing:
            tracemalloc.stop()

    @property
    def now(self) -> int:
        """Bytes allocated now, or when the block ended."""
        return (self._at_exit or tracemalloc.get_traced_memory())[0]

    @property
    def peak(self) -> int:
        """Most bytes that were allocated at one moment since the block began."""
        return (self._at_exit or tracemalloc.get_traced_memory())[1]

    def arrays(self) -> int:
        """Bytes of the data of NumPy arrays allocated inside the block, or since tracing began.

        To be called inside the block.
        """
        only_arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
        traces = tracemalloc.take_snapshot().filter_traces([only_arrays]).traces
        return sum(trace.size for trace in traces)


def memory(
    model: Module | None = None,
    *,
    optimizer: Optimizer | None = None,
    masters: Masters | None = None,
    loss: Tensor | None = None,
    traced: TracedMemory | None = None,
) -> Ledger:
    """Count the bytes that training holds at this moment, by kind.

    A storage counts once, with all its bytes, under the first kind that holds it: weights that the
    graph saved are weights. Parameters of the optimizer that are not the model's are master
    weights.

    Args:
        loss: adds what its graph saved for backward: casts of weights, and activations. Count
            before backward, which frees them; `|` joins this ledger with one from afterwards.
        traced: adds temporaries: bytes that were allocated at the traced peak but no longer are.
            Memory of the CPU only.
    """
    temporaries = traced.peak - traced.now if traced is not None else 0  # before we allocate more
    books = _Books()
    parameters = list(model.parameters()) if model is not None else []
    owned = list(masters.parameters()) if masters is not None else []
    if optimizer is not None:
        owned += [p for group in optimizer.param_groups for p in group["params"]]
    books.enter("weights", parameters)
    books.enter("buffers", model.buffers() if model is not None else ())
    books.enter("master weights", owned)
    books.enter("gradients", (p.grad for p in parameters))
    books.enter("master gradients", (p.grad for p in owned))
    if optimizer is not None:
        states = optimizer.state.values()
        books.enter("optimizer state", (x for s in states for x in s.values()))
    nodes = _graph(loss) if loss is not None else []
    books.enter("casts of weights", _casts_of(nodes, {id(p) for p in parameters}))
    books.enter("saved activations", (kept for node in nodes for kept in _saved(node)))
    if temporaries:
        books.entries["temporaries"] = {"any": temporaries}
    return Ledger({kind: books.entries[kind] for kind in KINDS if books.entries.get(kind)})


class _Books:
    """Ledger entries in the making, and the storages that are entered already."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, int]] = {}
        # By identity, and held, so that no identity is used twice in the meantime.
        self._entered: dict[int, Array] = {}

    def enter(self, kind: str, holders: Iterable[Any]) -> None:
        """Enter the storages of tensors, of what graphs saved, and arrays; skip all else."""
        for holder in holders:
            for array, dtype in _storages(holder):
                owner = _owner(array)
                if id(owner) not in self._entered:
                    self._entered[id(owner)] = owner
                    entry = self.entries.setdefault(kind, {})
                    entry[dtype] = entry.get(dtype, 0) + int(owner.nbytes)


class _Storage(NamedTuple):
    storage: Array
    dtype: DType


def _storages(holder: Any) -> Iterator[tuple[Array, str]]:
    """Each array in something that may hold some, with the name of its dtype."""
    if isinstance(holder, Tensor):
        yield holder._array, holder.dtype.name
    elif isinstance(holder, _Storage):
        yield holder.storage, holder.dtype.name
    elif isinstance(holder, tuple | list):  # the index of a gather
        for part in holder:
            yield from _storages(part)
    elif hasattr(holder, "nbytes"):
        yield holder, str(holder.dtype)


def _owner(array: Array) -> Array:
    """The array whose memory a view looks at."""
    while hasattr(array.base, "nbytes") and hasattr(array.base, "base"):
        array = array.base
    return array


def _graph(loss: Tensor) -> list[Node]:
    """Every node that `loss` was computed by."""
    nodes = [loss.node] if loss.node is not None else []
    seen = {id(node) for node in nodes}
    for node in nodes:  # the list grows while it is walked
        for source in node.sources:
            if isinstance(source, Node) and id(source) not in seen:
                seen.add(id(source))
                nodes.append(source)
    return nodes


def _saved(node: Node) -> list[Any]:
    return [_held(node, name) for name in node.saved or ()]


def _held(node: Node, name: str) -> Any:
    """What a node saved by this name: of a tensor the storage with its dtype."""
    kept, dtype = (node.saved or {}).get(name), node.saved_dtype(name)
    return kept if kept is None or dtype is None else _Storage(kept, dtype)


def _casts_of(nodes: list[Node], parameters: set[int]) -> Iterator[Any]:
    """What nodes saved that is a weight in another dtype, such as autocast's casts."""
    for node in nodes:
        for position, source in enumerate(node.sources):
            if (
                isinstance(source, Node)
                and source.contract.op.result == "attribute"
                and id(source.sources[0]) in parameters
            ):
                yield _held(node, node.contract.op.input(position))
