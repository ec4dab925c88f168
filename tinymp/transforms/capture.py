"""Capturing: a function is watched once, and what it did is repeated from then on.

Modules, dispatcher and graph are Python, which takes longer than small tensors take to compute. A
captured function has left them behind: for everybody else it is one operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any

from tinymp.autograd import Op, Tensor
from tinymp.autograd.contract import Contract, Gradients
from tinymp.autograd.graph import Node
from tinymp.autograd.modes import CAPTURE, OBSERVERS
from tinymp.autograd.tensor import Version, new_tensor
from tinymp.formats import DType
from tinymp.numerics.quiet import QUIET
from tinymp.transforms.ways import Ways
from tinymp.transforms.writer import OtherWay, Program

Array = Any

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

    What it did is written down as plain NumPy, which `capture(function).source` shows. In a
    training step with master weights or loss scaling, `amp.capture_backward` goes further.

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


class Captured:
    """A function that is repeated as it was seen to go; see `capture`."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self._ways = Ways(function)
        update_wrapper(self, function, updated=())

    @property
    def source(self) -> str:
        """The program that was written last, as Python: empty before the first call."""
        return self._ways.source

    def __call__(self, *arguments: Tensor) -> Tensor:
        if OBSERVERS.get() or CAPTURE.get() is not None:
            return self._ways.function(*arguments)  # they are to see what it does
        way = self._ways.of_call(arguments)
        program = way.program
        operands = [*arguments, *program.from_outside]
        versions: list[tuple[Version, int, Tensor | None]] = [
            (version := x.version, version.count, x) for x in [operands[i] for i in program.kept]
        ]
        try:
            out, kept = QUIET.run(program.forward, *[x._array for x in operands])
        except OtherWay:
            return self._ways.function(*arguments)
        result = new_tensor(out, way.kind)
        if program.view_of is not None:
            result._version = operands[program.view_of].version
        if program.wanted:
            inputs = tuple([operands[i] for i in program.wanted])
            if way.contract is None:
                way.contract = _CapturedContract(program, inputs, way.kind.dtype)
            if program.keeps_result:
                versions.append((result.version, result.version.count, None))
            known = {"kept": kept, "versions": versions}
            result.node = Node(way.contract, inputs, known, result, program.rounding)
        return result
