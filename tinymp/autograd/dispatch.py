"""The dispatcher: formats at the boundary, mathematics inside.

Every operation passes through `apply`. It finds the dtype contract, shows the operands to the rule
as plain arrays, rounds the result once, and records the node for backward.
"""

from __future__ import annotations

from typing import Any

from tinymp.autograd.contract import Contract, Operand
from tinymp.autograd.graph import Node, Saved
from tinymp.autograd.modes import AUTOCAST, GRAD_ENABLED, OBSERVERS
from tinymp.autograd.op import Op
from tinymp.autograd.tensor import Tensor, Version
from tinymp.formats import active_rounding, rounded
from tinymp.numerics.accumulation import ACCUMULATOR
from tinymp.numerics.quiet import quietly

Array = Any


def apply(op: Op, *operands: Operand, **attributes: Any) -> Tensor:
    """Run an operation on tensors and Python numbers, and record it where a gradient is wanted.

    A Python number enters the computation unrounded and has no gradient; None stands for an
    optional input that is not there.

    Raises:
        TypeError: an operand that is neither, or of a dtype that the operation does not take.
        ValueError: operands on different devices, or shapes that the rule does not take.
    """
    dtype = attributes["dtype"] if op.result == "attribute" else None
    if (autocast := AUTOCAST.get()) is not None and dtype is None:
        operands, dtype = autocast.prepare(op, operands)
    key = (
        ACCUMULATOR.get(),
        dtype,
        *[x.kind if isinstance(x, Tensor) else type(x) for x in operands],
    )
    contract = op.contracts.get(key)
    if contract is None:
        contract = op.contracts[key] = Contract(op, operands, dtype)

    arrays = [view(x) for view, x in zip(contract.views, operands, strict=True)]
    try:
        out = quietly(op.forward, contract.xp, *arrays, **attributes)
    except (TypeError, ValueError, OverflowError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        advice = "; lengths must be equal or 1, counted from the last dimension"
        broadcast = "broadcast" in str(error)
        raise kind(f"{_call(op, operands)}: {error}{advice if broadcast else ''}") from None
    if op.residuals:
        out, *residuals = out
        attributes.update(zip(op.residuals, residuals, strict=True))

    if op.forward_on == "words":
        result = Tensor(out, contract.result, version=_version_of_view(out, operands))
    else:
        out = rounded(out, contract.result, active_rounding())
        result = Tensor(out, contract.result, contract.device)
    if GRAD_ENABLED.get() and contract.result.kind == "float":
        _record(contract, operands, attributes, result)
    for observer in OBSERVERS.get():
        observer.forward(contract, operands, attributes, result)
    return result


def _record(
    contract: Contract, operands: tuple[Operand, ...], known: dict[str, Any], result: Tensor
) -> None:
    """Make the node of `result`, if an input wants a gradient, with what the rules ask for."""
    op = contract.op
    rules = [
        op.rule(i) if isinstance(x, Tensor) and x.requires_grad else None
        for i, x in enumerate(operands)
    ]
    needs = {name for rule in rules if rule is not None for name in rule.needs} - {"position"}
    if not needs and not any(rules):
        return
    saved = {
        name: known[name] if name in known else _asked(op, name, operands, result) for name in needs
    }
    sources = [
        x.node or x if rule is not None and isinstance(x, Tensor) else None
        for x, rule in zip(operands, rules, strict=True)
    ]
    result.node = Node(contract, sources, saved, result, active_rounding())
    result.requires_grad = True


def _asked(op: Op, name: str, operands: tuple[Operand, ...], result: Tensor) -> Any:
    """What a gradient rule means by `name`, in the form in which it is kept."""
    if name == "out":
        return Saved(result)
    if name == "shapes":
        return [x.shape for x in operands if isinstance(x, Tensor)]
    x = operands[op.inputs.index(name.removesuffix("_shape"))]
    if name.endswith("_shape"):
        return x.shape if isinstance(x, Tensor) else ()
    return Saved(x) if isinstance(x, Tensor) else x


def _version_of_view(out: Array, operands: tuple[Operand, ...]) -> Version | None:
    """The version counter of the operand that `out` is a view of, None for a copy."""
    for x in operands:
        if isinstance(x, Tensor):
            owner = x._array if x._array.base is None else x._array.base
            if out is x._array or out.base is x._array or out.base is owner:
                return x.version
    return None


def _call(op: Op, operands: tuple[Operand, ...]) -> str:
    """The failing call, for error messages: the op with its operands' shapes and dtypes."""
    described = [
        f"{x.dtype.name}{list(x.shape)}" if isinstance(x, Tensor) else repr(x) for x in operands
    ]
    return f"{op.name}({', '.join(described)})"
