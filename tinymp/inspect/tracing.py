"""Which operations ran, and in which dtypes? A table of a run, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from tinymp.autograd import Tensor
from tinymp.autograd.graph import Node
from tinymp.autograd.modes import AUTOCAST
from tinymp.formats import DType, gradient_dtype
from tinymp.inspect.contracts import DTypeContract, held_in, read_contract
from tinymp.inspect.rerun import input_name
from tinymp.inspect.text import table
from tinymp.inspect.watching import TensorNotes, Watcher
from tinymp.nn import Module

Phase = Literal["forward", "backward"]


@dataclass(frozen=True)
class TracedTensor:
    """A tensor, or a gradient, as it was when an operation met it.

    Attributes:
        dtype, shape: what it was.
        role: name of the input that it is, or is the gradient of; "" for a result, "g" for the
            gradient of one.
        parameter: name of the parameter that it is, or is the gradient of; "" for other tensors.
        made_by: number of the event that made it; None for what came from outside.
    """

    dtype: DType
    shape: tuple[int, ...]
    role: str
    parameter: str = ""
    made_by: int | None = None

    def __str__(self) -> str:
        lengths = ", ".join(map(str, self.shape))
        return f"{self.dtype.name}[{lengths}]"


@dataclass(frozen=True)
class Event:
    """One operation, or the backward of one.

    Attributes:
        number: place in the run, from 1.
        phase: "forward" or "backward".
        contract: the dtypes of the operation.
        inputs: the operand tensors; in backward the gradient of the result.
        outputs: the result; in backward the gradient for each input that wants one.
        nbytes: bytes of new storage; 0 for views.
        cast: None; "explicit", or "autocast" for a cast that autocast put in.
        of: in backward the number of the forward event, None if that was not traced.
    """

    number: int
    phase: Phase
    contract: DTypeContract
    inputs: tuple[TracedTensor, ...]
    outputs: tuple[TracedTensor, ...]
    nbytes: int
    cast: Literal["explicit", "autocast"] | None = None
    of: int | None = None


class Trace(Watcher):
    """Lists what runs inside its `with` block; `print` it. See `trace`.

    Attributes:
        events: what ran, in order.
    """

    def __init__(self, model: Module | None = None) -> None:
        super().__init__()
        self.events: list[Event] = []
        self._names: TensorNotes[str] = TensorNotes()
        for name, parameter in model.named_parameters() if model is not None else ():
            self._names[parameter] = name
        self._made: TensorNotes[int] = TensorNotes()
        self._forward_of: dict[int, int] = {}  # by the number of the node
        self._fresh_casts: set[int] = set()

    @property
    def casts(self) -> list[Event]:
        """The casts in forward, those of autocast and those that the program wrote."""
        return [event for event in self.events if event.cast and event.phase == "forward"]

    def forward(
        self, contract: Any, operands: tuple[Any, ...], attributes: dict[str, Any], result: Tensor
    ) -> None:
        number = len(self.events) + 1
        tensors = [(i, x) for i, x in enumerate(operands) if isinstance(x, Tensor)]
        is_view = any(result.version is x.version for _, x in tensors)
        self.events.append(
            Event(
                number,
                "forward",
                read_contract(contract, operands),
                tuple(
                    self._seen(x, input_name(contract.op, i), self._made.get(x)) for i, x in tensors
                ),
                (self._seen(result, "", number),),
                0 if is_view else result.nbytes,
                "explicit" if contract.op.result == "attribute" else None,
            )
        )
        self._made[result] = number
        if result.node is not None:
            self._forward_of[result.node.number] = number
        self._attribute_casts(self.events[-1])

    def _seen(self, x: Tensor, role: str, made_by: int | None) -> TracedTensor:
        return TracedTensor(x.dtype, x.shape, role, self._names.get(x) or "", made_by)

    def _attribute_casts(self, event: Event) -> None:
        """Mark the casts that autocast made for the operation that ran just now.

        Autocast casts an operand immediately before the operation that wants it so. (A cast that
        the program itself writes there reads the same here.)
        """
        if event.cast:
            if getattr(AUTOCAST.get(), "enabled", False):
                self._fresh_casts.add(event.number)
            return
        if event.contract.category in ("lower", "widest"):
            for number in self._fresh_casts.intersection(x.made_by for x in event.inputs):
                self.events[number - 1] = replace(self.events[number - 1], cast="autocast")
        self._fresh_casts.clear()

    def backward(self, node: Node, g: Any, gradients: list[tuple[Any, Any]]) -> None:
        op = node.contract.op
        number = len(self.events) + 1
        of = self._forward_of.get(node.number)
        forward = self.events[of - 1] if of else None
        positions = [i for i, source in enumerate(node.sources) if source is not None]
        outputs = tuple(
            TracedTensor(
                gradient_dtype(source.dtype),
                source.shape,
                input_name(op, i),
                (self._names.get(source) or "") if isinstance(source, Tensor) else "",
                number,
            )
            for i, (source, _) in zip(positions, gradients, strict=True)
        )
        contract = forward.contract if forward else _contract_of_node(node)
        # What was broadcast is summed by the dispatcher.
        sums = op.accumulates in ("backward", "both") or (
            forward is not None and _broadcasts(forward)
        )
        new = {id(storage): storage for _, storage in gradients if not _is_view(storage, g)}
        self.events.append(
            Event(
                number,
                "backward",
                replace(contract, accumulator=held_in(node.contract) if sums else None),
                (TracedTensor(gradient_dtype(node.dtype), node.shape, "g"),),
                outputs,
                sum(int(storage.nbytes) for storage in new.values()),
                forward.cast if forward else None,
                of,
            )
        )

    def __str__(self) -> str:
        head = ("#", "operation", "operands", "compute", "accumulator", "result", "bytes", "")
        parts = []
        for phase in ("forward", "backward"):
            lines = [_line(event) for event in self.events if event.phase == phase]
            if lines:
                parts.append(f"{phase}\n" + table(head, lines, right=(0, 6)))
        return "\n\n".join(parts) or "nothing ran inside the trace"


def trace(model: Module | None = None) -> Trace:
    """List every operation of a `with` block with its dtype contract, shapes, bytes and casts.

        with mp.inspect.trace(model) as run:
            loss(model(x), y).backward()
        print(run)

    With `model` its parameters are called by their names. A trace keeps no tensor alive.
    """
    return Trace(model)


def _line(event: Event) -> tuple[object, ...]:
    contract = event.contract
    note = {"explicit": "cast", "autocast": "cast by autocast", None: ""}[event.cast]
    if event.of is not None:
        note = f"of {event.of}" + (f", {note}" if note else "")
    return (
        event.number,
        contract.op,
        ", ".join(_labelled(x, x.parameter) for x in event.inputs),
        contract.compute.name if contract.compute else "-",
        contract.accumulator.name if contract.accumulator else "-",
        ", ".join(_labelled(x, x.parameter or x.role) for x in event.outputs),
        f"{event.nbytes:,}" if event.nbytes else "view",
        note,
    )


def _labelled(x: TracedTensor, label: str) -> str:
    return f"{label}: {x}" if label else str(x)


def _broadcasts(event: Event) -> bool:
    """Whether an operand was repeated to the shape of the result, so that its gradient is a sum."""
    shape = event.outputs[0].shape
    try:
        repeated = np.broadcast_shapes(*[x.shape for x in event.inputs]) == shape
    except ValueError:  # shapes that do not meet element by element
        return False
    moves = event.contract.compute is None
    return repeated and not moves and any(x.shape != shape for x in event.inputs)


def _is_view(storage: Any, of: Any) -> bool:
    return (
        storage is of
        or storage.base is of
        or (storage.base is not None and storage.base is of.base)
    )


def _contract_of_node(node: Node) -> DTypeContract:
    """The contract of an operation that ran before the trace began: its operands are unknown."""
    contract = read_contract(node.contract, ())
    op = node.contract.op
    gradients = tuple(
        (input_name(op, i), gradient_dtype(source.dtype))
        for i, source in enumerate(node.sources)
        if source is not None
    )
    return replace(contract, gradients=gradients)
