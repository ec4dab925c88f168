"""What did an operation compute before it was rounded, and what would it be in float64?

The engine's rules are functions of plain arrays. So an observer can run one again on the operands
that the engine gave it: in the engine's own compute dtype, which gives the values as they were
before rounding, or in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinymp.autograd import Op, Tensor
from tinymp.autograd.contract import Contract, Operand, unbroadcast
from tinymp.autograd.graph import Node
from tinymp.formats import DType, float64, gradient_dtype, unpack
from tinymp.numerics.kit import Packed
from tinymp.numerics.quiet import quietly

Array = Any
Results = dict[str, Array]


def unrounded(
    contract: Contract, operands: tuple[Operand, ...], attributes: Mapping[str, Any]
) -> Array:
    """The result of an operation in its compute dtype, before it was rounded to the result's."""
    held = [x._array if isinstance(x, Tensor) else x for x in operands]
    return _forward(contract, contract.shown(held), attributes)["out"]


def in_float64(
    contract: Contract,
    operands: tuple[Operand, ...],
    values: Sequence[Array | None],
    attributes: Mapping[str, Any],
) -> Results:
    """The operation on float64 `values`: its result as `"out"`, and its residuals by name.

    A value of None leaves the operand (a number, an index) as it is.
    """
    seen = []
    for i, (x, value) in enumerate(zip(operands, values, strict=True)):
        if value is not None:
            seen.append(shown(value, contract.op.forward_on))
        elif isinstance(x, Tensor) and contract.op.input(i) in contract.op.undecoded:
            seen.append(x._array)
        elif isinstance(x, Tensor):
            seen.append(x._array.astype(np.float64))  # integers among floats
        else:
            seen.append(x.item() if isinstance(x, np.generic) else x)
    return _forward(contract, seen, attributes)


def _forward(contract: Contract, seen: Sequence[Array], attributes: Mapping[str, Any]) -> Results:
    op = contract.op
    own = {name: attributes[name] for name in op.attributes}
    out = quietly(op.forward, contract.xp, *seen, **own)
    names = ("out", *op.residuals)
    return dict(zip(names, out if op.residuals else (out,), strict=True))


def unrounded_gradients(node: Node, g: Array) -> list[Array]:
    """What each gradient rule of `node` computed from `g`, a storage, before it was rounded."""
    contract = node.contract
    view = contract.op.backward_on

    def needed(name: str) -> Any:
        kept = _saved(node)[name]
        dtype = node.saved_dtype(name)
        if dtype is None or name in contract.op.undecoded:
            return kept
        return contract.seen(kept, dtype, view)

    return run_gradients(node, contract.seen(g, gradient_dtype(node.dtype), view), needed)


def actual_in_float64(node: Node, name: str) -> Any:
    """What a gradient rule needs by `name`, as the engine kept it, its values in float64."""
    kept = _saved(node)[name]
    if (dtype := node.saved_dtype(name)) is not None:
        if name in node.contract.op.undecoded:
            return kept
        return shown(decoded(kept, dtype), node.contract.op.backward_on)
    is_residual = name in node.contract.op.residuals
    return kept.astype(np.float64) if is_residual and kept.dtype.kind == "f" else kept


def run_gradients(node: Node, g: Any, needed: Callable[[str], Any]) -> list[Array]:
    """The gradient rules of `node`, for each source that wants a gradient, with `needed(name)`.

    Broadcasting is undone, nothing is rounded.
    """
    xp, plan = node.contract.xp, node.contract.plan
    assert plan is not None  # else there were no node
    gradients = []
    for position, rule, index in plan.rules:
        needs = [position if name == "position" else needed(name) for name in rule.needs]
        gradient = quietly(rule.function, xp, g, *needs)
        source = node.sources[position]
        assert source is not None  # it has a rule in the plan
        gradient = gradient if index is None else gradient[index]
        gradients.append(unbroadcast(xp, gradient, source.shape))
    return gradients


def shown(values: Array, view: str) -> Any:
    """Float64 values in the form in which a rule sees its operands."""
    return Packed(values, float64) if view == "packed" else values


def decoded(storage: Array, dtype: DType) -> Array:
    """Stored values in float64, exactly."""
    return unpack(storage, dtype, np.float64)


def input_name(op: Op, position: int) -> str:
    """The name of an input; numbered where an operation takes any number of them."""
    return f"{op.input(position)}[{position}]" if op.variadic else op.input(position)


def _saved(node: Node) -> dict[str, Any]:
    assert node.saved is not None  # observers are called before it is freed
    saved: dict[str, Any] = node.saved
    return saved
