"""The dtype contract of an operation, filled in for operands of given dtypes."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from tinymp.autograd.op import Op, View
from tinymp.autograd.tensor import Tensor
from tinymp.formats import DType, bool_, float32, int64, promote, promote_ranked, unpack
from tinymp.numerics.accumulation import active_accumulator
from tinymp.numerics.kit import Packed, compute_type, kit

Array = Any
Operand = Tensor | float | int | bool | None

#: What a number counts as in promotion, by the kind of its NumPy type.
_NUMBERS = {"b": bool_, "i": int64, "u": int64, "f": float32}
_as_held = attrgetter("_array")


class Contract:
    """What one operation computes in and returns, for operands of given dtypes on one device.

    Attributes:
        op: the operation.
        accumulator: how its rules sum and multiply matrices, forward and backward.
        device, xp: where it runs, and the kit that the rules work with there.
        compute: NumPy type of the values that the rules see.
        result: dtype to which the result is rounded, once; `dtype` where the operation or autocast
            asks for one.
        views: for each operand, a function that shows it to the forward rule.
    """

    __slots__ = ("accumulator", "compute", "device", "op", "result", "views", "xp")

    def __init__(self, op: Op, operands: Sequence[Operand], dtype: DType | None) -> None:
        self.op = op
        common = _common_dtype(op, operands)
        if op.result == "float" and common.kind != "float":
            common = float32
        self.compute = compute_type(common)
        self.result = {"bool": bool_, "int64": int64}.get(op.result, common)
        if dtype is not None and op.result == "attribute":
            self.result = dtype
        elif dtype is not None and common.is_float:
            self.result = promote(common, dtype)  # autocast to float32 leaves float64 alone
        self.device = next(x._device for x in operands if isinstance(x, Tensor))
        self.accumulator = active_accumulator()
        self.xp = kit(self.device.name, self.accumulator)
        self.views = [self._view(x, op.input(i)) for i, x in enumerate(operands)]

    def seen(self, storage: Array, dtype: DType, view: View) -> Array:
        """A storage as a rule sees it: words, words with their dtype, or decoded values."""
        if view == "words":
            return storage
        if view == "packed":
            return Packed(storage, dtype)
        if dtype.kind != "float":
            return storage.astype(self.compute, copy=False)
        return unpack(storage, dtype, self.compute)

    def _view(self, x: Operand, name: str) -> Any:
        view = self.op.forward_on
        if isinstance(x, np.generic):
            return lambda number: number.item()  # NumPy's scalars would widen the computation
        if not isinstance(x, Tensor):
            return lambda number: number
        held_as_computed = view == "values" and x.dtype.storage == self.compute
        if view == "words" or held_as_computed or name in self.op.undecoded:
            return _as_held
        return lambda tensor: self.seen(tensor._array, tensor.dtype, view)


def _common_dtype(op: Op, operands: Sequence[Operand]) -> DType:
    """The dtype in which the operands meet, or a complaint about one that does not fit."""
    tensors: list[DType] = []
    scalars: list[DType] = []
    numbers: list[DType] = []
    device = None
    for i, x in enumerate(operands):
        if isinstance(x, Tensor):
            if device is not None and x._device is not device:
                raise ValueError(
                    f"{op.name} was given tensors on {device.name} and on {x.device}; all must be "
                    f"on one device; move one, for example with .to({device.name!r})"
                )
            device = x._device
            if op.input(i) not in op.undecoded:
                (tensors if x.ndim else scalars).append(x.dtype)
        elif isinstance(x, bool | int | float | np.generic) and np.result_type(x).kind in "biuf":
            numbers.append(_NUMBERS[np.result_type(x).kind])
        elif x is not None or op.input(i) not in op.optional:
            raise TypeError(
                f"{op.name} was given a {type(x).__name__}; operations take tensors and Python "
                "numbers; wrap it in tinymp.tensor(...)"
            )
    if device is None:
        raise TypeError(f"{op.name} was given no tensor; wrap an operand in tinymp.tensor(...)")
    common = promote_ranked(tensors, scalars, numbers)
    if (
        common.is_float
        and common.bits <= 8
        and op.forward_on == "values"
        and op.result != "attribute"
    ):
        raise TypeError(
            f"{op.name} was given {common.name}; {common.bits}-bit floats enter casts, movement "
            "and matrix products only; convert it first, for example with .to(tinymp.float16)"
        )
    return common
