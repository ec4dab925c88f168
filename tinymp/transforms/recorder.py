"""Watching a function run, and writing down what it does.

The recorder is an observer, as a trace is: the operations come past one after the other. What else
happens is announced by those who do it (see `autograd.modes`); it is written down, too, or refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from tinymp.autograd import Tensor
from tinymp.autograd.contract import Contract, Operand
from tinymp.autograd.graph import Node
from tinymp.autograd.modes import CAPTURE, OBSERVERS
from tinymp.autograd.tensor import Kind
from tinymp.formats import RoundingState, active_rounding

Array = Any


@dataclass(slots=True)
class Operation:
    """An operation that the function did.

    `reads` are the places of its operands, `place` that of its result; `known` has its attributes,
    and what else its gradient rules need that is the same each time. `node` is None where no
    gradient is wanted.
    """

    contract: Contract
    attributes: dict[str, Any]
    rounding: RoundingState
    reads: list[int]
    place: int
    node: Node | None
    known: dict[str, Any]
    residuals: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Question:
    """A question about the tensor at a place, by whose answer the function went on."""

    ask: Callable[..., Any]
    place: int
    kind: Kind
    details: tuple[Any, ...]
    answer: Any


@dataclass(slots=True)
class Write:
    """A change in place of a tensor from outside, such as a running mean, to the one at a place."""

    target: Tensor
    index: Any
    place: int


@dataclass(slots=True)
class Record:
    """What a function did.

    Tensors have places, which are numbers: first the arguments, then, as they come, others from
    outside, numbers, and results of operations.

    Attributes:
        places: what is at each place: a tensor from outside or an argument's stand-in, a number,
            or None for a result.
        steps: what was done, in order. Writes come last: no question is open then.
        result, place: its result, and the result's place.
        nodes: those that its gradient comes through, in the order of `run_backward`.
        modes: modules that were called, and the `training` that each had.
    """

    places: list[Any] = field(default_factory=list)
    steps: list[Operation | Question | Write] = field(default_factory=list)
    result: Any = None
    place: int = -1
    nodes: list[Node] = field(default_factory=list)
    modes: dict[Any, bool] = field(default_factory=dict)


class Recorder:
    """Records one run of a function on some arguments."""

    def __init__(self, arguments: tuple[Tensor, ...]) -> None:
        self._record = Record()
        # Where the tensor is that an object's id belongs to: its array or, for leaves that require
        # a gradient, the tensor. The objects are kept alive, or others could get their ids.
        self._found: dict[int, int] = {}
        self._alive: list[Any] = []
        self._writes: list[Operation | Question | Write] = []
        self._written: set[int] = set()  # ids of version counters
        self._nodes: set[Node] = set()
        self._origins: dict[int, Tensor] = {}  # of tensors that share another one's storage
        # Views, each known as itself: arguments may share an array, or be the same tensor.
        self._stand_ins = [
            Tensor(x._array.view(), x.dtype, x._device, requires_grad=x.requires_grad)
            for x in arguments
        ]
        self._kinds = [x.kind for x in self._stand_ins]
        for x in self._stand_ins:
            self._enter(x, x)

    def record(self, function: Callable[..., Any]) -> Record:
        """Run the function on stand-ins for its arguments: what it does.

        Raises:
            TypeError: it returns something else than a tensor that it computed.
            RuntimeError: it does what cannot be repeated.
        """
        observing, capturing = OBSERVERS.set((self,)), CAPTURE.set(self)
        try:
            result = function(*self._stand_ins)
        finally:
            OBSERVERS.reset(observing)
            CAPTURE.reset(capturing)
        if not isinstance(result, Tensor):
            raise TypeError(
                f"a captured function returned a {type(result).__name__}; it must return one "
                "tensor, such as a loss"
            )
        record, place = self._record, self._found.get(id(result._array))
        held = [x for x in record.places if isinstance(x, Tensor)]
        if place is None or record.places[place] is not None:
            raise TypeError(
                "a captured function returned a tensor that no operation in it computed; there is "
                "nothing to repeat"
            )
        record.steps += self._writes
        record.result, record.place, record.nodes = result, place, _reachable(result)
        if any(x.kind is not kind for x, kind in zip(self._stand_ins, self._kinds, strict=True)):
            self.refuse("changed whether an argument requires a gradient")
        if any(node.recall is not None for node in record.nodes):
            self.refuse("used a checkpoint, which its repetition would not be")
        if any(x._device.kernels is not None for x in held):
            raise RuntimeError(
                "a function cannot be captured on a GPU; there a training step is, as a CUDA "
                "graph: `tinymp train --device cuda --capture`"
            )
        return record

    # What is heard while the function runs

    def forward(
        self,
        contract: Contract,
        operands: tuple[Operand, ...],
        attributes: dict[str, Any],
        result: Tensor,
    ) -> None:
        """An operation: an observer's method."""
        own = {name: attributes[name] for name in contract.op.attributes if name in attributes}
        known, node, plan = own.copy(), result.node, contract.plan
        if plan is not None:
            for name, keeper in plan.keepers.items():
                known[name] = keeper((*operands, result))
        rounding = active_rounding() if node is None else node.rounding
        reads = [self._place(x) for x in operands]
        place = self._enter(result, None)
        if node is not None:
            self._nodes.add(node)
        self._record.steps.append(Operation(contract, own, rounding, reads, place, node, known))

    def backward(self, node: Node, g: Array, gradients: list[tuple[Any, Array]]) -> None:
        """An observer's method; backward is refused before."""

    def ask_again(
        self, question: Callable[..., Any], x: Tensor, details: tuple[Any, ...], answer: Any
    ) -> None:
        """The function went on as `question(x, *details)` was answered."""
        self._record.steps.append(Question(question, self._place(x), x.kind, details, answer))

    def write(self, target: Tensor, index: Any, values: Tensor) -> None:
        """The function wants to change a tensor in place; what repeats it will."""
        target = self._origins.get(id(target), target)
        if self._is_inside(self._found.get(id(target._array))):
            self.refuse("changed an argument, or what it had computed, in place")
        self._written.add(id(target.version))
        self._writes.append(Write(target, index, self._place(values)))

    def shared(self, x: Tensor, origin: Tensor) -> None:
        """The function made `x` on the storage of `origin`, as `detach` does."""
        self._origins[id(x)] = self._origins.get(id(origin), origin)
        self._alive.append(x)

    def called(self, module: Any) -> None:
        """The function called a module, which may do something else in another mode."""
        self._record.modes[module] = module.training

    def refuse(self, what: str) -> NoReturn:
        """Raise an error: the function did what cannot be repeated."""
        raise RuntimeError(
            f"a function cannot be captured that {what}: only operations on tensors are repeated; "
            "do it outside of the function, or call the function without capture"
        )

    def _place(self, x: Operand) -> int:
        """Where an operand is."""
        if not isinstance(x, Tensor):
            self._record.places.append(x)
            return len(self._record.places) - 1
        if x._version is not None and id(x._version) in self._written:
            self.refuse("used a tensor after it had changed it in place")
        if x.node is not None and x.node not in self._nodes:
            self.refuse(
                "used a tensor from outside that has a graph and is not one of its arguments"
            )
        is_leaf = x.requires_grad and x.node is None
        place = self._found.get(id(x if is_leaf else x._array))
        if place is None:
            if is_leaf and (id(x) in self._origins or id(x._array) in self._found):
                self.refuse("made a new leaf of a tensor's storage")
            x = self._origins.get(id(x), x)
            place = self._enter(x, x)
        return place

    def _is_inside(self, place: int | None) -> bool:
        """Whether an argument or a result is there, not a tensor from outside."""
        inside = place is not None and place < len(self._stand_ins)
        return inside or (place is not None and self._record.places[place] is None)

    def _enter(self, x: Tensor, held: Tensor | None) -> int:
        """A new place for a tensor, and what is there before the first step."""
        place = len(self._record.places)
        self._record.places.append(held)
        self._alive += [x, x._array]
        self._found[id(x)] = self._found[id(x._array)] = place
        return place


def _reachable(result: Tensor) -> list[Node]:
    """The nodes that the result depends on, in the order of `run_backward`: newest first."""
    found = {result.node} if result.node is not None else set()
    waiting = list(found)
    while waiting:
        sources = {source for source in waiting.pop().sources if isinstance(source, Node)}
        waiting += sources - found
        found |= sources
    return sorted(found, key=lambda node: -node.number)
