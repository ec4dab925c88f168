"""The dispatcher: formats at the boundary, mathematics inside.

Every operation passes through `apply`. It decides the dtypes, decodes the operands to the compute
dtype, runs the rule on plain arrays, rounds the result once, and records the node for backward.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinymp.autograd.graph import Node, Saved, decoded
from tinymp.autograd.modes import GRAD_ENABLED
from tinymp.autograd.op import Op
from tinymp.numerics.quiet import quietly
from tinymp.autograd.tensor import Tensor
from tinymp.devices import Device, device_of
from tinymp.formats import DType, active_rounding, bool_, float32, int64, pack, promote
from tinymp.numerics.kit import compute_type, kit

Operand = Tensor | float | int | bool | None

_NUMBERS: dict[type, DType] = {bool: bool_, int: int64, float: float32}
_CATEGORIES = ("bool", "int", "float")


class Plan(NamedTuple):
    """An operation's contract, filled in for operands of given dtypes."""

    compute: np.dtype[Any]
    result: DType


def apply(op: Op, *operands: Operand, **attributes: Any) -> Tensor:
    """Run an operation on tensors and Python numbers, and record it where a gradient is wanted.

    A Python number enters the computation unrounded and has no gradient; None stands for an optional
    input that is not there.

    Raises:
        TypeError: an operand that is neither, or of a dtype that the operation does not take.
        ValueError: operands on different devices, or shapes that the rule does not take.
    """
    key = tuple(
        [(x.dtype, x._array.ndim == 0) if isinstance(x, Tensor) else type(x) for x in operands]
    )
    plan = op.plans.get(key) or _make_plan(op, key, operands)
    result_dtype = attributes["dtype"] if op.result == "attribute" else plan.result
    device = _common_device(op, operands)
    xp = kit(device.name)

    arrays = [
        x
        if not isinstance(x, Tensor)
        else x._array
        if op.undecoded and op.inputs[i] in op.undecoded
        else decoded(x._array, x.dtype, op.forward_on, plan.compute)
        for i, x in enumerate(operands)
    ]
    try:
        out = quietly(op.forward, xp, *arrays, **attributes)
    except ValueError as error:
        raise ValueError(f"{_call(op, operands)}: {error}") from None
    residuals: dict[str, Any] = {}
    if op.residuals:
        out, *kept = out
        residuals = dict(zip(op.residuals, kept, strict=True))

    version = None
    if op.forward_on == "words":
        version = _version_of_view(out, operands)
    else:
        if isinstance(out, np.generic):  # what NumPy makes of a result without axes
            out = np.asarray(out)
        out = pack(out, result_dtype, active_rounding().mode(result_dtype))
    result = Tensor(out, result_dtype, version=version)
    if GRAD_ENABLED.get() and result_dtype.kind == "float":
        _record(op, operands, {**attributes, **residuals}, result, plan.compute, xp)
    return result


def _record(
    op: Op,
    operands: tuple[Operand, ...],
    known: dict[str, Any],
    result: Tensor,
    compute: Any,
    xp: Any,
) -> None:
    """Make the node of `result`, with what the gradient rules that are needed ask for."""
    sources: list[Node | Tensor | None] = [None] * len(operands)
    names: set[str] = set()
    for i, x in enumerate(operands):
        if isinstance(x, Tensor) and x.requires_grad and (rule := op.rule(i)) is not None:
            sources[i] = x.node or x
            names.update(rule.needs)
    if not any(source is not None for source in sources):
        return
    saved: dict[str, Any] = {}
    for name in names:
        if name in known:
            saved[name] = known[name]
        elif name == "out":
            saved[name] = Saved(result)
        elif name == "shapes":
            saved[name] = [x.shape if isinstance(x, Tensor) else () for x in operands]
        elif name.endswith("_shape"):
            x = operands[op.inputs.index(name.removesuffix("_shape"))]
            saved[name] = x.shape if isinstance(x, Tensor) else ()
        elif name != "position":
            x = operands[op.inputs.index(name)]
            saved[name] = Saved(x) if isinstance(x, Tensor) else x
    result.node = Node(op, sources, saved, result, compute, xp, active_rounding())
    result.requires_grad = True


def _make_plan(op: Op, key: tuple[Any, ...], operands: tuple[Operand, ...]) -> Plan:
    """Work out the dtypes once for each combination of operand dtypes.

    Promotion is PyTorch's: operands with axes decide; a tensor without axes counts only if it is of
    a higher category (bool, int, float) than they are, a Python number only if higher than all tensors.
    """
    ranks: list[list[DType]] = [[], [], []]  # tensors with axes, tensors without, numbers
    for i, x in enumerate(operands):
        if x is None or op.inputs[0 if op.variadic else i] in op.undecoded:
            continue
        if isinstance(x, Tensor):
            ranks[0 if x.ndim else 1].append(x.dtype)
        elif type(x) in _NUMBERS:
            ranks[2].append(_NUMBERS[type(x)])
        else:
            raise TypeError(
                f"{op.name} was given a {type(x).__name__}; operations take tensors and Python numbers; wrap it in "
                "tinymp.tensor(...)"
            )
    if not any(isinstance(x, Tensor) for x in operands):
        raise TypeError(f"{op.name} was given no tensor; wrap an operand in tinymp.tensor(...)")
    common: DType | None = None
    for dtypes in filter(None, ranks):
        promoted = promote(*dtypes)
        if common is None or _CATEGORIES.index(promoted.kind) > _CATEGORIES.index(common.kind):
            common = promoted
    assert common is not None
    if (
        common.itemsize == 1
        and common.kind == "float"
        and op.forward_on == "values"
        and op.result != "attribute"
    ):
        raise TypeError(
            f"{op.name} was given {common.name}; 8-bit floats enter casts, movement and matrix products only; convert "
            "it first, e.g. with .to(tinymp.float16)"
        )
    if op.result == "float" and common.kind != "float":
        common = float32
    result = {"bool": bool_, "int64": int64}.get(op.result, common)
    plan = op.plans[key] = Plan(compute_type(common), result)
    return plan


def _common_device(op: Op, operands: tuple[Operand, ...]) -> Device:
    device = None
    for x in operands:
        if isinstance(x, Tensor):
            here = device_of(x._array)
            if device is not None and here is not device:
                raise ValueError(
                    f"{op.name} was given tensors on {device.name} and on {here.name}; all operands must be on one "
                    f"device; move one, e.g. with .to({device.name!r})"
                )
            device = here
    assert device is not None  # _make_plan refuses a call without tensors
    return device


def _version_of_view(out: Any, operands: tuple[Operand, ...]) -> Any:
    """The version counter of the operand that `out` is a view of; None (a new one) for a copy."""
    for x in operands:
        if isinstance(x, Tensor) and (out is x._array or out.base is not None):
            owner = x._array if x._array.base is None else x._array.base
            if out is x._array or out.base is owner:
                return x.version
    return None


def _call(op: Op, operands: tuple[Operand, ...]) -> str:
    """The failing call, for error messages: the op with its operands' shapes and dtypes."""
    described = [
        f"{x.dtype.name}{list(x.shape)}" if isinstance(x, Tensor) else repr(x) for x in operands
    ]
    return f"{op.name}({', '.join(described)})"
