"""What does an operation store, compute and accumulate in? Its dtype contract, for reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinymp.autograd import Tensor
from tinymp.autograd.contract import Contract, Operand
from tinymp.autograd.modes import AUTOCAST, OBSERVERS
from tinymp.autograd.op import OPS
from tinymp.formats import DType, dtype_of, gradient_dtype
from tinymp.inspect.rerun import input_name

#: What each autocast category means, for people.
CATEGORIES = {
    "lower": "operands are cast to the lower precision",
    "float32": "result is float32, or wider",
    "widest": "operands are cast to the widest among them",
    "follow": "nothing changes",
}


@dataclass(frozen=True)
class DTypeContract:
    """The dtypes of one operation, from operands to gradients.

    Attributes:
        op: name of the operation.
        category: its autocast category: "lower", "float32", "widest" or "follow".
        operands: (name, storage dtype) of each operand; for a Python number, its type.
        compute: dtype that the rule computes in; None for one that only moves words.
        accumulator: dtype in which its forward sums are kept; None where nothing is summed. (What
            overlapping windows of a convolution or a pool add is kept in `compute`.)
        order: name of the accumulator, as `mp.accumulation` takes it.
        result: dtype to which the result is rounded, once.
        gradients: (name, dtype) of the gradient of each operand that takes one.
    """

    op: str
    category: str
    operands: tuple[tuple[str, DType | str], ...]
    compute: DType | None
    accumulator: DType | None
    order: str
    result: DType
    gradients: tuple[tuple[str, DType], ...]

    def __str__(self) -> str:
        stored = ", ".join(f"{name}: {_name(dtype)}" for name, dtype in self.operands)
        gradients = ", ".join(f"{name}: {dtype.name}" for name, dtype in self.gradients)
        lines = {
            "compute": self.compute.name if self.compute else "none: words are moved",
            "accumulator": self._sums(),
            "result": self.result.name,
            "gradients": gradients or "none",
            "autocast": f"{self.category}: {CATEGORIES[self.category]}",
        }
        body = "\n".join(f"    {name:<12} {text}" for name, text in lines.items())
        return f"{self.op}({stored})\n{body}"

    def _sums(self) -> str:
        if self.accumulator is None:
            return "none: nothing is summed"
        name = self.accumulator.name
        return name if self.order in ("float32", name) else f"{name}: {self.order}"


def read_contract(contract: Contract, operands: tuple[Operand, ...]) -> DTypeContract:
    """The engine's contract for these operands, in the form for readers."""
    op = contract.op
    named = [(input_name(op, i), i, x) for i, x in enumerate(operands) if x is not None]
    compute = dtype_of(contract.compute) if op.forward_on != "words" else None
    return DTypeContract(
        op=op.name,
        category=op.autocast,
        operands=tuple(
            (name, x.dtype if isinstance(x, Tensor) else type(x).__name__) for name, _, x in named
        ),
        compute=compute,
        accumulator=held_in(contract) if op.accumulates in ("forward", "both") else None,
        order=contract.accumulator.name,
        result=contract.result,
        gradients=tuple(
            (name, gradient_dtype(x.dtype))
            for name, i, x in named
            if isinstance(x, Tensor)
            and x.dtype.is_float
            and contract.result.is_float
            and op.rule(i) is not None
        ),
    )


def held_in(contract: Contract) -> DType:
    """The dtype in which the sums of an operation are kept, where it makes any."""
    return contract.accumulator.held_in(dtype_of(contract.compute))


def contract_of(op: str, *dtypes: Any, to: Any = None) -> DTypeContract:
    """The dtype contract of an operation for operands of the given dtypes; print it.

        print(contract_of("matmul", mp.float16, mp.float16))

    Inside an autocast block the operands are shown as autocast casts them. Optional operands may be
    left out (a bias, say). `to` is the dtype that a cast goes to.

    Raises:
        ValueError: an unknown operation; more or fewer dtypes than it has operands; a cast without
            `to`, or `to` for another operation.
        TypeError: dtypes that the operation does not take together.
    """
    if op not in OPS:
        from difflib import get_close_matches  # for a mistake alone, not for every `import tinymp`

        near = get_close_matches(op, OPS, 3) or list(OPS)
        raise ValueError(f"unknown operation {op!r}; did you mean {', '.join(near)}?")
    row = OPS[op]
    needed = [name for name in row.inputs if name not in row.optional]
    if len(dtypes) < len(needed) or (len(dtypes) > len(row.inputs) and not row.variadic):
        raise ValueError(
            f"contract_of({op!r}) was given {len(dtypes)} dtypes; give one for each operand: "
            f"{', '.join(needed)}{''.join(f' [{name}]' for name in row.optional)}"
        )
    if (to is not None) != (row.result == "attribute"):
        raise ValueError(
            f"contract_of({op!r}) was given to={to}; the dtype that a cast goes to is needed for "
            "the operation 'cast', and only there"
        )
    given: list[Operand] = [_example(dtype_of(dtype)) for dtype in dtypes]
    operands = (*given, *[None] * (0 if row.variadic else len(row.inputs) - len(given)))
    dtype = None if to is None else dtype_of(to)
    if (autocast := AUTOCAST.get()) is not None and dtype is None:
        token = OBSERVERS.set(())  # casts of examples are no part of any run
        try:
            operands, dtype = autocast.prepare(row, operands)
        finally:
            OBSERVERS.reset(token)
    return read_contract(Contract(row, operands, dtype), operands)


def _example(dtype: DType) -> Tensor:
    return Tensor(np.zeros((1, 1), dtype.storage), dtype)


def _name(dtype: DType | str) -> str:
    return dtype.name if isinstance(dtype, DType) else dtype
