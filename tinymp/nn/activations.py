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


class LeakyReLU(Module):
    """x where x > 0, `negative_slope`·x elsewhere."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return ops.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class ELU(Module):
    """x where x > 0, `alpha`·(e^x - 1) elsewhere."""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return ops.elu(x, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class SiLU(Module):
    """x·sigmoid(x), element by element."""

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return ops.silu(x)


class Softplus(Module):
    """log(1 + e^(beta·x)) / beta; x itself where beta·x > `threshold`."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = beta
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return ops.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Hardtanh(Module):
    """x cut to [min_val, max_val]."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        self.min_val = min_val
        self.max_val = max_val

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return ops.hardtanh(x, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class ReLU6(Module):
    """x cut to [0, 6]."""

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return ops.relu6(x)


class SELU(Module):
    """The scaled ELU that keeps mean and variance from layer to layer; see `functional.selu`."""

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return ops.selu(x)


class Mish(Module):
    """x·tanh(softplus(x)), element by element."""

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return ops.mish(x)


class LogSigmoid(Module):
    """log sigmoid(x), element by element."""

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return ops.logsigmoid(x)


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


class Unflatten(Module):
    """Dimension `dim` split into several of the lengths `unflattened_size`."""

    def __init__(self, dim: int, unflattened_size: tuple[int, ...]) -> None:
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, x: Tensor) -> Tensor:
        """x: of a length at `dim` that is the product of the new ones."""
        dim = self.dim % x.ndim
        return ops.reshape(x, (*x.shape[:dim], *self.unflattened_size, *x.shape[dim + 1 :]))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


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
