"""Writing what a function did as Python: two functions of plain arrays, forward and backward.

The lines are those that somebody would write who had no engine: the rules of the operations, one
after the other, and the roundings of the formats between them. What the engine finds out at every
call (which contract serves, what is kept for backward, where gradients go, what they are added to)
is settled here. Each line is run as it is written, so the writer sees what it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tinymp.autograd import Tensor
from tinymp.autograd.contract import Contract, unbroadcast
from tinymp.autograd.graph import Node
from tinymp.autograd.tensor import new_tensor
from tinymp.formats import DType, RoundingState, pack, representable, unpack
from tinymp.numerics.kit import compute_type
from tinymp.transforms.recorder import Operation, Question, Record, Write
from tinymp.transforms.script import Script, names_assigned_in, names_in, tuple_of
from tinymp.transforms.variables import Variable, rounded, shown

Array = Any


class OtherWay(Exception):
    """With these tensors the function would go another way than the one that was written down."""


@dataclass(slots=True)
class Program:
    """A function, written down.

    Attributes:
        source: the text of `forward` and `backward`.
        forward: from the storages of the operands to that of the result, and what backward needs.
        backward: from the gradient of the result, and what forward left, to those of operands, as
            storage, each in memory of its own. With a function `in_float32`, each operand gets one
            gradient, and those for which it is true get it as float32 values.
        from_outside: the operands that come after the arguments.
        wanted: which operand each gradient belongs to; without `in_float32` one may get several,
            which are added up in this order.
        dtypes: those of the gradients.
        kept, keeps_result: which operands backward needs unchanged, and whether the result.
        rounding: how gradients that meet at an operand are added up.
        view_of: the operand that the result is a view of, if it is one.
    """

    source: str
    forward: Callable[..., tuple[Array, Any]]
    backward: Callable[[Array, Any], tuple[Array, ...]]
    from_outside: list[Tensor]
    wanted: list[int]
    dtypes: list[DType]
    kept: list[int]
    keeps_result: bool
    rounding: RoundingState
    view_of: int | None


class Writer:
    """Writes a record as a program, trying it out on the tensors of the record."""

    def __init__(
        self,
        record: Record,
        arguments: Sequence[str],
        in_float32: Callable[[Tensor], bool] | None = None,
    ) -> None:
        """`arguments`: their names. `in_float32`: see `Program.backward`."""
        self._record = record
        self._in_float32 = in_float32
        self._script = Script(
            asarray=np.asarray,
            pack=pack,
            representable=representable,
            unbroadcast=unbroadcast,
            unpack=unpack,
        )
        operands = [(i, x) for i, x in enumerate(record.places) if isinstance(x, Tensor)]
        self._operands = [x for _, x in operands]
        self._arguments = len(arguments)
        self._variables: dict[int, Variable] = {}  # by their places
        # Gradients as they come to operands, and how they are added up.
        self._found: list[tuple[Tensor, Variable, RoundingState]] = []
        self._roundings: list[RoundingState] = []  # those of 2-byte gradients of operands
        named = _names_of_parameters(record)
        for number, (place, x) in enumerate(operands):
            name = arguments[number] if number < len(arguments) else named.get(x, "")
            if not self._script.is_free(name):
                name = self._script.new_name("x" if number < len(arguments) else "p")
            self._script.variables[name] = x._array
            self._variables[place] = Variable(self._script, name, x.dtype, storage=name)

    def program(self) -> Program:
        """The whole program."""
        script, record = self._script, self._record
        parameters = list(script.variables)
        for step in record.steps:
            self._write_step(step)
        result = self._variables[record.place].as_storage()
        forward, script.lines = script.lines, []
        self._write_way_back()
        if self._in_float32 is not None:
            self._add_up()
        found = self._write_gradients()
        backward = script.lines

        there = ({*parameters} | names_assigned_in(forward)) & names_in(backward)
        kept = [name for name in script.variables if name in there]
        lines = [
            f"def forward({', '.join(parameters)}):",
            *script.body(forward, {result, *kept, *parameters}),
            f"    return {result}, {tuple_of(kept)}",
            "",
            "",
            "def backward(g, kept):",
            f"    {tuple_of(kept)} = kept",
            *script.body(backward, {"g", *found}),
            f"    return {tuple_of(found)}",
            "",
        ]
        source = "\n".join(lines)
        functions = script.functions(source)
        if len(self._roundings) > 1 and self._in_float32 is None:
            raise RuntimeError(
                "a function cannot be captured that rounds the gradients of its arguments or "
                "parameters in several ways; use one mp.rounding(...) for all of it"
            )
        versions = {id(version) for node in record.nodes for _, version, _ in node.versions}
        shared = record.result.version
        number = {id(x): i for i, x in enumerate(self._operands)}
        return Program(
            source,
            functions["forward"],
            functions["backward"],
            self._operands[self._arguments :],
            [number[id(x)] for x, _, _ in self._found],
            [gradient.dtype for _, gradient, _ in self._found],
            [i for i, x in enumerate(self._operands) if id(x._version) in versions],
            id(shared) in versions,
            self._roundings[0] if self._roundings else RoundingState(),
            next((i for i, x in enumerate(self._operands) if x._version is shared), None),
        )

    # Forward

    def _write_step(self, step: Operation | Question | Write) -> None:
        script = self._script
        if isinstance(step, Operation):
            self._write_operation(step)
            return
        storage = self._variables[step.place].as_storage()
        if isinstance(step, Question):
            ask = script.constant(partial(_ask, step), step.ask.__name__.lstrip("_"))
            script.line(f"{ask}({storage})")
        else:  # not now: the function is still to be called
            write = script.constant(partial(_write, step), "write")
            script.line(f"{write}({storage})", run=False)

    def _write_operation(self, step: Operation) -> None:
        script, contract, op = self._script, step.contract, step.contract.op
        operands = [self._operand(i) for i in step.reads]
        views = contract.views or [None] * len(operands)
        inputs = [shown(script, x, view) for x, view in zip(operands, views, strict=True)]
        named = [f"{name}={script.literal(value)}" for name, value in step.attributes.items()]
        name = script.new_name(op.name)
        step.residuals = {residual: script.name(f"{name}_{residual}") for residual in op.residuals}
        rule = script.constant(op.forward, op.name)
        script.line(
            f"{', '.join([name, *step.residuals.values()])} = "
            f"{rule}({', '.join([self._kit(contract), *inputs, *named])})"
        )
        same = all(isinstance(x, Variable) and x.dtype is contract.result for x in operands)
        self._variables[step.place] = rounded(
            script,
            name,
            contract.result,
            step.rounding,
            is_exact=op.exact and same,
            moves=op.forward_on == "words",
        )

    # Backward

    def _write_way_back(self) -> None:
        """Write the gradient rules of all nodes."""
        script, nodes = self._script, self._record.nodes
        if not nodes:
            return
        root, dtype = nodes[0], nodes[0].kind.gradient
        script.variables["g"] = pack(np.ones(root.shape, np.float32), dtype)
        gradients: dict[Any, Variable] = {root: Variable(script, "g", dtype, storage="g")}
        steps = {step.node: step for step in self._record.steps if isinstance(step, Operation)}
        for node in nodes:
            self._write_rules(steps[node], node, gradients)

    def _write_rules(self, step: Operation, node: Node, gradients: dict[Any, Variable]) -> None:
        """Write the gradient rules of an operation: its gradient is there, and theirs will be."""
        script, contract, op = self._script, step.contract, step.contract.op
        assert contract.plan is not None  # else there were no node
        arrived, xp = gradients[node], self._kit(contract)
        g = shown(script, arrived, contract.later_views.get("g"))
        moves = op.backward_on == "words"
        together: dict[Any, str] = {}
        for position, rule, index in contract.plan.rules:
            source: Any = node.sources[position]
            name = script.name(f"g_{self._operand(step.reads[position]).name}")
            function = script.constant(rule.function, "_".join([op.name, *rule.inputs]))
            needs = [self._needed(step, need, position) for need in rule.needs]
            call = f"{function}({', '.join([xp, g, *needs])})"
            if index is not None:
                if rule not in together:
                    together[rule] = script.new_name(f"{op.name}_gradients")
                    script.line(f"{together[rule]} = {call}")
                call = f"{together[rule]}[{index}]"
            script.line(f"{name} = {call}")
            is_exact = op.exact
            if not moves and script.variables[name].shape != source.shape:
                script.line(f"{name} = unbroadcast({xp}, {name}, {source.shape})")
                is_exact = False
            dtype = source.kind.gradient
            is_exact = is_exact and arrived.dtype is dtype
            gradient = rounded(script, name, dtype, node.rounding, is_exact, moves)
            if isinstance(source, Tensor):
                self._found.append((source, gradient, node.rounding))
                if dtype.itemsize < 4 and node.rounding not in self._roundings:
                    self._roundings.append(node.rounding)
            elif source in gradients:
                gradients[source] = self._sum(gradients[source], gradient, node.rounding)
            else:
                gradients[source] = gradient

    def _add_up(self) -> None:
        """Add up the gradients of each operand, in the order in which they came."""
        sums: dict[Tensor, tuple[Tensor, Variable, RoundingState]] = {}
        for operand, gradient, rounding in self._found:
            if operand in sums:
                gradient = self._sum(sums[operand][1], gradient, rounding)
            sums[operand] = operand, gradient, rounding
        self._found = list(sums.values())

    def _write_gradients(self) -> list[str]:
        """Names of the gradients as `backward` gives them: who gets one may change it."""
        script = self._script
        names: list[str] = []
        taken: list[Array] = []
        for operand, gradient, _ in self._found:
            decoded = self._in_float32 is not None and self._in_float32(operand)
            name = gradient.as_values() if decoded else gradient.as_storage()
            array = script.variables.get(name)
            if array is None or not _is_own(array, taken):  # None: it is only said how it is had
                own = script.new_name(gradient.name)
                script.line(f"{own} = {name}" + ("" if array is None else ".copy()"))
                name = own
            names.append(name)
            taken.append(script.variables[name])
        return names

    def _needed(self, step: Operation, name: str, position: int) -> str:
        """What a gradient rule asks for by `name`."""
        plan: Any = step.contract.plan
        if name == "position":
            return str(position)
        if name in plan.tensors:
            x = self._operand([*step.reads, step.place][plan.tensors[name]])
            return shown(self._script, x, step.contract.later_views.get(name))
        if name in step.residuals:
            return step.residuals[name]
        return self._script.literal(step.known[name])

    def _sum(self, x: Variable, y: Variable, rounding: RoundingState) -> Variable:
        """The sum of two gradients that meet."""
        name, compute = self._script.new_name(f"{x.name}_sum"), compute_type(x.dtype)
        self._script.line(f"{name} = {x.as_values(compute)} + {y.as_values(compute)}")
        return rounded(self._script, name, x.dtype, rounding, is_exact=False, moves=False)

    # Names

    def _operand(self, place: int) -> Any:
        """The variable, or the number, at a place."""
        return self._variables.get(place, self._record.places[place])

    def _kit(self, contract: Contract) -> str:
        return self._script.constant(contract.xp, "xp")


def _names_of_parameters(record: Record) -> dict[Tensor, str]:
    """What parameters are called in the outermost modules, as a variable's name."""
    named: dict[Tensor, str] = {}
    for module in reversed(record.modes):  # the outermost come last, and overrule the others
        named |= {p: f"p_{name.replace('.', '_')}" for name, p in module.named_parameters()}
    return named


def _is_own(array: Array, others: Sequence[Array]) -> bool:
    """Whether an array is all that there is in its memory, and may be changed."""
    whole = array.base is None or array.base.nbytes == array.nbytes
    shared = any(np.may_share_memory(array, x) for x in others)
    return bool(array.flags.writeable) and whole and not shared


def _ask(question: Question, storage: Array) -> None:
    if question.ask(new_tensor(storage, question.kind), *question.details) != question.answer:
        raise OtherWay


def _write(write: Write, storage: Array) -> None:
    write.target._array[write.index] = storage
    write.target.version.count += 1
