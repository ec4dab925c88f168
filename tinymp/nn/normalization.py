"""Layer and RMS normalisation, as modules."""

from __future__ import annotations

from collections.abc import Sequence

from tinymp.autograd import Tensor
from tinymp.formats import DType, float32
from tinymp.nn import init
from tinymp.nn.module import Module
from tinymp.nn.parameter import Parameter
from tinymp.ops import layer_norm, ones, rms_norm, zeros


class LayerNorm(Module):
    """(x - mean) / √(variance + eps) · weight + bias over the last dimensions.

    Attributes:
        normalized_shape: lengths of the dimensions over which mean and variance are taken.
        weight: of `normalized_shape`, ones at first; None without `elementwise_affine`.
        bias: of `normalized_shape`, zeros at first; None without `elementwise_affine` or `bias`.

    Source: Ba, Kiros & Hinton, Layer Normalization (arXiv 1607.06450), section 3.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: str = "cpu",
        dtype: DType | str = float32,
    ) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
        self.normalized_shape = tuple(shape)
        self.eps = eps
        self.weight: Parameter | None = None
        self.bias: Parameter | None = None
        if elementwise_affine:
            self.weight = Parameter(ones(self.normalized_shape, dtype=dtype, device=device))
            if bias:
                self.bias = Parameter(zeros(self.normalized_shape, dtype=dtype, device=device))

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., *normalized_shape)."""
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.weight is not None}, bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """x / √(mean of x² + eps) · weight over the last dimensions.

    Attributes:
        normalized_shape: lengths of the dimensions over which the mean is taken.
        weight: of `normalized_shape`, ones at first; None without `elementwise_affine`.

    Source: Zhang & Sennrich, Root Mean Square Layer Normalization (arXiv 1910.07467), section 4.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: str = "cpu",
        dtype: DType | str = float32,
    ) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
        self.normalized_shape = tuple(shape)
        self.eps = eps
        self.weight: Parameter | None = None
        if elementwise_affine:
            self.weight = Parameter(ones(self.normalized_shape, dtype=dtype, device=device))

    def reset_parameters(self) -> None:
        """Weight 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., *normalized_shape)."""
        return rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.weight is not None}"
        )
