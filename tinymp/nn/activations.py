"""Activations, softmax and flattening: functions of the input alone, as modules."""

from __future__ import annotations

from tinymp import ops
from tinymp.autograd import Tensor
from tinymp.nn.module import Module


class ReLU(Module):
    """The larger of x and 0, element by element."""

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return ops.relu(x)


class GELU(Module):
    """x·Φ(x), element by element; `approximate="tanh"` takes the tanh formula."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return ops.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Tanh(Module):
    """Hyperbolic tangent, element by element."""

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return ops.tanh(x)


class Sigmoid(Module):
    """1 / (1 + e^-x), element by element."""

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return ops.sigmoid(x)


class Softmax(Module):
    """e^x / Σ e^x along `dim`."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return ops.softmax(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """log softmax along `dim`."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return ops.log_softmax(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Flatten(Module):
    """Dimensions `start_dim` to `end_dim`, both included, joined into one; the batch stays."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, ...)."""
        return ops.flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
