"""The linear layer, and the layer that does nothing."""

from __future__ import annotations

from math import sqrt

from tinymp.autograd import Tensor
from tinymp.formats import DType, float32
from tinymp.nn import init
from tinymp.nn.module import Module
from tinymp.nn.parameter import Parameter
from tinymp.ops import linear, zeros


class Linear(Module):
    """y = x·weightᵀ + bias: (..., in_features) to (..., out_features).

    Attributes:
        weight: (out_features, in_features), uniform in ±1/√in_features at first, as in PyTorch.
        bias: (out_features,), uniform in the same bounds, or None.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: str = "cpu",
        dtype: DType | str = float32,
    ) -> None:
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(zeros(out_features, in_features, dtype=dtype, device=device))
        self.bias = Parameter(zeros(out_features, dtype=dtype, device=device)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values, of weight and bias in the same bounds, as PyTorch does."""
        if self.in_features == 0:
            return
        init.kaiming_uniform_(self.weight, a=sqrt(5.0))
        if self.bias is not None:
            bound = 1 / sqrt(self.in_features)
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in_features)."""
        return linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Identity(Module):
    """The input itself; stands where a layer may be."""

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return x
