"""Which operation contributed how much error? A float64 shadow that runs beside the computation.

Each operation is computed twice more in float64. From the *shadows* of its operands, which never
were rounded: the distance of the actual result from that is its total error. And from the *actual*
operands, which were: the distance from that is the error that this operation added, by rounding its
result and by computing in a lower precision. What is left of the total came in with the operands.
(Forward error, and its local part: Higham, Accuracy and Stability of Numerical Algorithms, 2nd
edition, section 1.5.)

In backward the gradients are followed in the same way. There, too, the error that an operation
added to its result is multiplied with the gradient that arrives at that result: this is, to first
order, what it did to the loss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from tinymp.autograd import Tensor
from tinymp.autograd.graph import Node
from tinymp.formats import DType, gradient_dtype
from tinymp.inspect.rerun import (
    Results,
    actual_in_float64,
    decoded,
    in_float64,
    input_name,
    run_gradients,
    shown,
)
from tinymp.inspect.text import Line, scientific, table
from tinymp.inspect.watching import TensorNotes, Watcher

Array = Any


@dataclass(frozen=True)
class OperationError:
    """Errors of one result, or of one gradient, as norms relative to that of its shadow.

    Attributes:
        number: place in the run, from 1.
        phase: "forward" or "backward".
        op: name of the operation; in backward with the input whose gradient it is.
        dtype, shape: of the result or gradient.
        total: ‖actual - shadow‖ / ‖shadow‖.
        added: ‖actual - float64 from the actual operands‖ / ‖shadow‖.
        propagated: ‖float64 from the actual operands - shadow‖ / ‖shadow‖.
        effect: first-order change, by the added error, of the value that backward started from;
            None before backward, in backward, and where no gradient arrives.
    """

    number: int
    phase: Literal["forward", "backward"]
    op: str
    dtype: DType
    shape: tuple[int, ...]
    total: float
    added: float
    propagated: float
    effect: float | None = None


@dataclass
class _Ran:
    """What a recorded operation left: its shadows by name, its added error, and its finding."""

    shadows: Results
    added: Array
    finding: int


@dataclass
class _Arriving:
    """A gradient on its way: its shadow, the exact sum of its actual parts, and their number."""

    shadow: Array
    actual: Array
    parts: int = 1

    def meet(self, other: _Arriving) -> _Arriving:
        return _Arriving(
            self.shadow + other.shadow, self.actual + other.actual, self.parts + other.parts
        )


class Attribution(Watcher):
    """Measures the error of every operation inside its `with` block. See `attribute_errors`.

    Attributes:
        findings: errors of every floating-point result and gradient, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.findings: list[OperationError] = []
        self._shadows: TensorNotes[tuple[int, Array]] = TensorNotes()
        self._ran: dict[int, _Ran] = {}  # by the number of the node
        self._arriving: dict[int, _Arriving] = {}
        self._leaves: TensorNotes[tuple[int, Array]] = TensorNotes()
        self._passes = 0

    def forward(
        self, contract: Any, operands: tuple[Any, ...], attributes: dict[str, Any], result: Tensor
    ) -> None:
        if not result.dtype.is_float:
            return
        op = contract.op
        floats = [
            isinstance(x, Tensor) and x.dtype.is_float and op.input(i) not in op.undecoded
            for i, x in enumerate(operands)
        ]
        pairs = list(zip(operands, floats, strict=True))
        shadows = [self._shadow(x) if is_float else None for x, is_float in pairs]
        actual = [decoded(x._array, x.dtype) if is_float else None for x, is_float in pairs]
        exact = in_float64(contract, operands, shadows, attributes)
        local = in_float64(contract, operands, actual, attributes)["out"]
        out = decoded(result._array, result.dtype)
        if op.forward_on == "words":
            # A padding is a word of the actual dtype, and means another number among float64.
            exact["out"] = contract.xp.where(local == out, exact["out"], out)
            local = out
        self._find("forward", op.name, result.dtype, out, local, exact["out"])
        self._shadows[result] = (result.version.count, exact["out"])
        if result.node is not None:
            named = {op.input(i): x for i, x in enumerate(shadows) if x is not None}
            self._ran[result.node.number] = _Ran(
                {**named, **exact}, out - local, len(self.findings) - 1
            )

    def backward(self, node: Node, g: Any, gradients: list[tuple[Any, Any]]) -> None:
        op = node.contract.op
        ran = self._ran.get(node.number)
        g = decoded(g, gradient_dtype(node.dtype))
        if (arrived := self._arriving.pop(node.number, None)) is None:
            self._passes += 1
            arrived = _Arriving(g, g)
        if arrived.parts > 1:
            label = f"{arrived.parts} gradients of {op.name} met"
            self._find(
                "backward", label, gradient_dtype(node.dtype), g, arrived.actual, arrived.shadow
            )
        if ran is not None:
            finding = self.findings[ran.finding]
            with np.errstate(all="ignore"):
                effect = float((ran.added * arrived.shadow).sum())
            self.findings[ran.finding] = replace(finding, effect=effect)

        def from_shadows(name: str) -> Any:
            if ran is None or name not in ran.shadows:
                return actual_in_float64(node, name)
            is_residual = name in op.residuals
            return ran.shadows[name] if is_residual else shown(ran.shadows[name], op.backward_on)

        exact = run_gradients(node, shown(arrived.shadow, op.backward_on), from_shadows)
        local = run_gradients(node, shown(g, op.backward_on), partial(actual_in_float64, node))
        positions = [i for i, source in enumerate(node.sources) if source is not None]
        for i, (source, storage), of_actual, of_shadow in zip(
            positions, gradients, local, exact, strict=True
        ):
            dtype = gradient_dtype(source.dtype)
            actual = decoded(storage, dtype)
            label = f"{op.name}: {input_name(op, i)}"
            self._find("backward", label, dtype, actual, of_actual, of_shadow)
            if isinstance(source, Tensor):
                self._add_to_leaf(source, of_shadow)
            else:
                part = _Arriving(of_shadow, actual)
                waiting = self._arriving.get(source.number)
                self._arriving[source.number] = part if waiting is None else waiting.meet(part)

    def gradient_error(self, parameter: Tensor) -> float:
        """Total relative error of `parameter.grad`: its norm-wise distance from the shadow's.

        Raises:
            ValueError: no backward that was watched reached the parameter.
        """
        note = self._leaves.get(parameter)
        if note is None or parameter.grad is None:
            raise ValueError(
                f"no gradient of this tensor of shape {parameter.shape} was watched; call backward "
                "inside the block, and ask before the gradient is set to None"
            )
        actual = decoded(parameter.grad._array, parameter.grad.dtype)
        return _relative(_distance(actual, note[1]), note[1])

    def __str__(self) -> str:
        head = ("#", "operation", "result", "total", "added", "propagated", "effect on loss")
        lines: list[Line] = []
        for phase in ("forward", "backward"):
            found = [_line(x) for x in self.findings if x.phase == phase]
            lines += [None, *found] if lines and found else found
        return table(head, lines, right=(0, 3, 4, 5, 6))

    def _shadow(self, x: Tensor) -> Array:
        """The shadow of a tensor; of one that is new, or was changed in place, its actual value."""
        note = self._shadows.get(x)
        if note is None or note[0] != x.version.count:
            return decoded(x._array, x.dtype)
        return note[1]

    def _add_to_leaf(self, leaf: Tensor, shadow: Array) -> None:
        note = self._leaves.get(leaf)
        is_fresh = note is None or (note[0] != self._passes and leaf.grad is None)
        total = shadow if note is None or is_fresh else note[1] + shadow
        self._leaves[leaf] = (self._passes, total)

    def _find(
        self,
        phase: Literal["forward", "backward"],
        op: str,
        dtype: DType,
        actual: Array,
        local: Array,
        exact: Array,
    ) -> None:
        self.findings.append(
            OperationError(
                number=len(self.findings) + 1,
                phase=phase,
                op=op,
                dtype=dtype,
                shape=tuple(actual.shape),
                total=_relative(_distance(actual, exact), exact),
                added=_relative(_distance(actual, local), exact),
                propagated=_relative(_distance(local, exact), exact),
            )
        )


def attribute_errors() -> Attribution:
    """Measure, against a float64 shadow, the error of every operation in a `with` block.

        with mp.inspect.attribute_errors() as errors:
            loss(model(x), y).backward()
        print(errors)

    The operands that enter the block are taken as exact. A comparison inside it decides as it did:
    the shadow takes the same branch. It keeps float64 copies of all that runs, so it serves for a
    step, not for a training run.
    """
    return Attribution()


def _line(finding: OperationError) -> tuple[object, ...]:
    lengths = ", ".join(map(str, finding.shape))
    return (
        finding.number,
        finding.op,
        f"{finding.dtype.name}[{lengths}]",
        scientific(finding.total),
        scientific(finding.added),
        scientific(finding.propagated),
        scientific(finding.effect),
    )


def _distance(x: Array, y: Array) -> float:
    """‖x - y‖₂, in which infinities and NaNs that agree are no difference, others infinite."""
    with np.errstate(all="ignore"):
        differs = (x != y) & ~((x != x) & (y != y))
        return _norm((x - y)[differs])


def _norm(x: Array) -> float:
    with np.errstate(all="ignore"):
        norm = float((x * x).sum()) ** 0.5
    return norm if norm == norm else float("inf")


def _relative(distance: float, exact: Array) -> float:
    """A distance over the norm of what is finite of the shadow."""
    if distance == 0:
        return 0.0
    norm = _norm(exact[abs(exact) < float("inf")])
    return distance / norm if norm else float("inf")
