"""Capturing: a function is watched once, and what it did is repeated from then on.

Modules, dispatcher and graph are Python, which takes longer than small tensors take to compute. A
captured function has left them behind: for everybody else it is one operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from inspect import signature
from typing import Any

from tinymp.autograd import Op, Tensor, is_grad_enabled
from tinymp.autograd.contract import Contract, Gradients
from tinymp.autograd.graph import Node
from tinymp.autograd.modes import AUTOCAST, CAPTURE, OBSERVERS
from tinymp.autograd.tensor import Kind, Version, new_tensor
from tinymp.devices import get_rng_state, set_rng_state
from tinymp.formats import DType, active_rounding
from tinymp.numerics.accumulation import active_accumulator
from tinymp.numerics.quiet import QUIET
from tinymp.transforms.recorder import Recorder, Write
from tinymp.transforms.writer import OtherWay, Program, Writer

Array = Any

_MOST = 8  # ways of one function that are remembered, such as shapes of its arguments

#: A program as an operation on the operands that get a gradient.
_CAPTURED = Op(
    "captured",
    lambda xp, *xs, kept, versions, dtype: None,
    xs=lambda xp, g, kept, versions: None,
    forward_on="words",
    result="attribute",
    undecoded=("xs",),
    listed=False,
)


def capture(function: Callable[..., Tensor]) -> Captured:
    """`function`, run once for each kind of arguments; later calls repeat what it did then.

        loss_of = mp.capture(lambda x, y: cross_entropy(model(x), y))
        for x, y in batches:
            optimizer.zero_grad()
            loss = loss_of(x, y)        # the same bits, without the function
            loss.backward()
            optimizer.step()

    `function` takes tensors and returns one, by operations on them and on other tensors, such as
    parameters; those are looked up anew each time. Results and gradients have the same bits as
    without `capture`, and the result of a call is like that of one operation: it may be scaled,
    added, or go on into others.

    What it did is written down as plain NumPy, which `capture(function).source` shows.

    What is not an operation on tensors happens while the function is captured, and not again:
    Python's control flow, numbers, lists. So the function is captured once more when arguments
    change in number, shape, layout, dtype or in whether they require gradients; when the active
    rounding, accumulation or grad mode changes, a module's `training`, or a parameter's dtype. The
    range of labels and tokens is checked each time. Changes in place of tensors from outside, such
    as running means, are repeated. What could not be repeated is refused: reading values (`item`,
    `numpy`, `print`, `if`), an index that is a tensor, a tensor again after it was changed in
    place, `backward`, random numbers, checkpoints, hooks. All other Python must do the same each
    time: that another tensor stands in an attribute now, a new `p.grad` for example, is not seen.

    While someone watches, such as a trace, the function itself runs. In memory a call differs in
    two ways: 2-byte tensors of up to 16,384 elements stay decoded until backward, in 64 KiB at
    most; and backward frees what was kept at its end, not operation by operation.

    Raises:
        TypeError: `function` cannot be called. In a call: an argument, or the result, is no tensor.
        RuntimeError: in a call, if the function cannot be captured; the message says why.

    Source of the idea: tracing, as in JAX (Frostig, Johnson & Leary, Compiling machine learning
    programs via high-level tracing, SysML 2018); here the result is Python again.
    """
    return Captured(function)


class _CapturedContract(Contract):
    """That of a captured function as one operation: its gradient rules are a program's backward."""

    __slots__ = ("program",)

    def __init__(self, program: Program, inputs: Sequence[Tensor], dtype: DType) -> None:
        super().__init__(_CAPTURED, inputs, dtype)
        self.program = program

    def backward(self, node: Node, g: Array, saved: dict[str, Any]) -> Gradients:
        for version, count, operand in saved["versions"]:
            if version.count != count:
                what = (
                    f"operand of shape {operand.shape}, {operand.dtype.name},"
                    if operand is not None
                    else ""
                )
                raise RuntimeError(
                    f"the {what or 'result'} of a captured function is needed by its gradients at "
                    f"version {count}, but has been changed in place since (version "
                    f"{version.count}); change it after backward, or change a copy"
                )
        sources: Any = node.sources
        for source, dtype in zip(sources, self.program.dtypes, strict=True):
            if source.kind.gradient is not dtype:
                raise RuntimeError(
                    f"a tensor of shape {source.shape} that a captured function used was given "
                    f"another dtype before backward, whose gradient is {source.kind.gradient.name} "
                    f"and not {dtype.name}; convert it after backward"
                )
        return list(zip(sources, self.program.backward(g, saved["kept"]), strict=True))


@dataclass(slots=True)
class _Way:
    """A program, and when it holds.

    Attributes:
        program: what is done.
        kind: of its result.
        contract: the whole as an operation; None where no operand gets a gradient.
        circumstances: those of the calls that it serves.
        kinds: tensors from outside, and the kind that each must be of.
        modes: modules, and the `training` that each must have.
    """

    program: Program
    kind: Kind
    contract: _CapturedContract | None
    circumstances: Any
    kinds: list[tuple[Tensor, Kind]]
    modes: list[tuple[Any, bool]]

    def serves(self, circumstances: Any) -> bool:
        """Whether the function would go this way."""
        if self.circumstances != circumstances:
            return False
        for x, kind in self.kinds:
            if x.kind is not kind:
                return False
        for module, training in self.modes:
            if module.training != training:
                return False
        return True


class Captured:
    """A function, and the ways that it was seen to go; see `capture`."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        if not callable(function):
            raise TypeError(
                f"capture was given a {type(function).__name__}; it takes a function: "
                "capture(model), not capture(model(x))"
            )
        self._function = function
        self._ways: list[_Way] = []
        update_wrapper(self, function, updated=())

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_ways": []}  # a copy's function may use other parameters

    @property
    def source(self) -> str:
        """The program that was written last, as Python: empty before the first call."""
        return self._ways[0].program.source if self._ways else ""

    def __call__(self, *arguments: Tensor) -> Tensor:
        if OBSERVERS.get() or CAPTURE.get() is not None:
            return self._function(*arguments)  # they are to see what it does
        for x in arguments:
            if not isinstance(x, Tensor):
                raise TypeError(
                    f"a captured function was called with a {type(x).__name__}; its arguments are "
                    "tensors; let the function itself use anything else, or capture another one "
                    "for it"
                )
        if AUTOCAST.get() is not None:
            raise RuntimeError(
                "a captured function was called under autocast, which keeps casts that are made "
                "outside of it; enter autocast inside of the function"
            )
        circumstances = (
            active_rounding(),
            active_accumulator(),
            is_grad_enabled(),
            [(x.kind, x._array.shape, x._array.strides) for x in arguments],
        )
        for way in self._ways:
            if way.serves(circumstances):
                break
        else:
            way = self._new_way(arguments, circumstances)
        program = way.program
        operands = [*arguments, *program.from_outside]
        versions: list[tuple[Version, int, Tensor | None]] = [
            (version := x.version, version.count, x) for x in [operands[i] for i in program.kept]
        ]
        try:
            out, kept = QUIET.run(program.forward, *[x._array for x in operands])
        except OtherWay:
            return self._function(*arguments)
        result = new_tensor(out, way.kind)
        if program.view_of is not None:
            result._version = operands[program.view_of].version
        if way.contract is not None:
            inputs = tuple([operands[i] for i in program.wanted])
            if program.keeps_result:
                versions.append((result.version, result.version.count, None))
            known = {"kept": kept, "versions": versions}
            result.node = Node(way.contract, inputs, known, result, program.rounding)
        return result

    def _names(self, arguments: Sequence[Tensor]) -> list[str]:
        """What the function calls its arguments; empty if nothing."""
        try:
            names = list(signature(self._function).bind(*arguments).arguments)
        except (TypeError, ValueError):  # it does not tell
            names = []
        return names if len(names) == len(arguments) else [""] * len(arguments)

    def _new_way(self, arguments: tuple[Tensor, ...], circumstances: Any) -> _Way:
        """Watch the function, and write down what it does."""
        random = get_rng_state()
        try:
            recorder = Recorder(arguments)
            record = recorder.record(self._function)
            program = QUIET.run(Writer(record, self._names(arguments)).program)
            if get_rng_state() != random:
                recorder.refuse("drew random numbers, for dropout or stochastic rounding")
        finally:
            set_rng_state(random)
        operands = [*arguments, *program.from_outside]
        inputs = [operands[i] for i in program.wanted]
        written = [step.target for step in record.steps if isinstance(step, Write)]
        watched = {id(x): x for x in (*program.from_outside, *written)}
        way = _Way(
            program,
            record.result.kind,
            _CapturedContract(program, inputs, record.result.dtype) if inputs else None,
            circumstances,
            [(x, x.kind) for x in watched.values()],
            list(record.modes.items()),
        )
        self._ways = [way, *self._ways[: _MOST - 1]]
        return way
