"""How sums are made: accumulation, tensor cores, and the bounds of their errors."""

from __future__ import annotations

from tinymp.numerics.accumulation import accumulation, active_accumulator, using_accumulator
from tinymp.numerics.accumulators import Accumulator
from tinymp.numerics.architectures import ARCHITECTURES, Architecture, DotProduct
from tinymp.numerics.named import accumulator
from tinymp.numerics.tensor_core import tensor_core_matmul

__all__ = [
    "ARCHITECTURES",
    "Accumulator",
    "Architecture",
    "DotProduct",
    "accumulation",
    "accumulator",
    "active_accumulator",
    "tensor_core_matmul",
    "using_accumulator",
]
