"""How sums are made: accumulation, tensor cores, and the bounds of their errors."""

from __future__ import annotations

from tinymp.numerics.architectures import ARCHITECTURES, Architecture, DotProduct
from tinymp.numerics.tensor_core import tensor_core_matmul

__all__ = ["ARCHITECTURES", "Architecture", "DotProduct", "tensor_core_matmul"]
