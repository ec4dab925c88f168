"""The dispatcher: formats at the boundary, mathematics inside.

Every operation passes through `apply`. It finds the dtype contract, shows the operands to the rule
as plain arrays, rounds the result once, and records the node for backward.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.autograd.contract import Contract, Operand
from tinymp.autograd.graph import Node
from tinymp.autograd.modes import AUTOCAST, GRAD_ENABLED, OBSERVERS
from tinymp.autograd.op import Op
from tinymp.autograd.tensor import Tensor, Version, kind_of, new_tensor
from tinymp.devices import device_of
from tinymp.formats import DType, RoundingState, active_rounding
from tinymp.numerics.accumulation import ACCUMULATOR
from tinymp.numerics.quiet import QUIET

Array = Any

_NOTHING_TO_ROUND = RoundingState()


def apply(op: Op, *operands: Operand, **attributes: Any) -> Tensor:
    """Run an operation on tensors and Python numbers, and record it where a gradient is wanted.

    A Python number enters the computation unrounded and has no gradient; None stands for an
    optional input that is not there.

    Raises:
        TypeError: an operand that is neither, or of a dtype that the operation does not take.
        ValueError: operands on different devices, or shapes that the rule does not take.
    """
    while op.optional and operands[-1] is None and op.input(len(operands) - 1) in op.optional:
        operands = operands[:-1]  # as if it had been left out
    dtype = attributes["dtype"] if op.result == "attribute" else None
    if (autocast := AUTOCAST.get()) is not None and dtype is None:
        operands, dtype = autocast.prepare(op, operands)
    kinds: list[Any] = []
    held: list[Any] = []  # of tensors the storage
    for x in operands:
        if isinstance(x, Tensor):
            kinds.append(x.kind)
            held.append(x._array)
        else:
            kinds.append(type(x))
            held.append(x)
    key = (ACCUMULATOR.get(), dtype, *kinds)
    contract = op.contracts.get(key)
    if contract is None:
        contract = op.contracts[key] = _contract(op, operands, dtype)

    rounding = active_rounding() if contract.rounds else _NOTHING_TO_ROUND
    try:
        if contract.is_direct:  # the same, sooner
            out = QUIET.run(op.forward, contract.xp, *held, **attributes)
            if type(out) is not np.ndarray or out.dtype is not contract.result.storage:
                out = QUIET.run(contract.stored, out, rounding)
        else:
            out = QUIET.run(contract.forward, held, attributes, rounding)
    except (TypeError, ValueError, OverflowError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        advice = "; lengths must be equal or 1, counted from the last dimension"
        broadcast = "broadcast" in str(error)
        raise kind(f"{_call(op, operands)}: {error}{advice if broadcast else ''}") from None
    recorded = contract.plan is not None and GRAD_ENABLED.get()
    result = new_tensor(out, contract.kinds[recorded][out.ndim == 0])
    if op.forward_on == "words":
        result._version = _version_of_view(out, operands)
        if (device := device_of(out)) is not contract.device:  # it moved there
            result._device = device
            result.kind = kind_of(result.dtype, device, out.ndim == 0, recorded)
    if recorded:
        result.node = Node(contract, operands, attributes, result, rounding)
    for observer in OBSERVERS.get():
        observer.forward(contract, operands, attributes, result)
    return result


def _contract(op: Op, operands: tuple[Operand, ...], dtype: DType | None) -> Contract:
    contract = Contract(op, operands, dtype)
    if contract.device.kernels is None:
        return contract
    from tinymp.autograd.twins import TwinContract  # where there is no GPU, nobody waits for it

    return TwinContract(op, operands, dtype)


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
