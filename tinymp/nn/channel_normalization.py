"""Normalisation with one weight a channel, as modules."""

from __future__ import annotations

from tinymp import ops
from tinymp.autograd import Tensor
from tinymp.formats import DType, float32, int64
from tinymp.nn import init
from tinymp.nn.module import Module
from tinymp.nn.parameter import Parameter


class BatchNorm(Module):
    """(x - mean) / √(variance + eps) · weight + bias for each channel of (N, C, ...).

    In training mean and variance are those of the batch, and the running ones follow them; in
    evaluation they are the running ones.

    Attributes:
        weight, bias: (C,), ones and zeros at first; None without `affine`.
        running_mean, running_var: buffers (C,), 0 and 1 at first; None without
            `track_running_stats`, and then the batch's are used in evaluation, too.
        num_batches_tracked: a buffer, how many batches they followed.

    Source: Ioffe & Szegedy, Batch Normalization (arXiv 1502.03167).
    """

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    dimensions: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: str = "cpu",
        dtype: DType | str = float32,
    ) -> None:
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        shape = (num_features,)
        self.weight: Parameter | None = None
        self.bias: Parameter | None = None
        if affine:
            self.weight = Parameter(ops.ones(shape, dtype=dtype, device=device))
            self.bias = Parameter(ops.zeros(shape, dtype=dtype, device=device))
        mean = var = batches = None
        if track_running_stats:
            mean = ops.zeros(shape, dtype=dtype, device=device)
            var = ops.ones(shape, dtype=dtype, device=device)
            batches = ops.full((), 0, int64, device)
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", var)
        self.register_buffer("num_batches_tracked", batches)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, running mean 0, running variance 1."""
        if self.weight is not None and self.bias is not None:
            init.ones_(self.weight)
            init.zeros_(self.bias)
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, ...), of as many dimensions as the class's name says."""
        if x.ndim not in self.dimensions:
            raise ValueError(
                f"{type(self).__name__} was given a tensor of shape {x.shape}; it takes "
                f"{' or '.join(map(str, self.dimensions))} dimensions"
            )
        momentum = self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if momentum is None:  # the mean of all batches so far
                momentum = 1 / int(self.num_batches_tracked)
        return ops.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            momentum or 0.0,
            self.eps,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L); see `BatchNorm`."""

    dimensions = (2, 3)


class BatchNorm2d(BatchNorm):
    """Batch normalisation of (N, C, H, W); see `BatchNorm`."""

    dimensions = (4,)


class GroupNorm(Module):
    """(x - mean) / √(variance + eps) · weight + bias over groups of channels of (N, C, ...).

    Attributes:
        weight, bias: (C,), ones and zeros at first; None without `affine`.

    Source: Wu & He, Group Normalization (arXiv 1803.08494).
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: str = "cpu",
        dtype: DType | str = float32,
    ) -> None:
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.weight: Parameter | None = None
        self.bias: Parameter | None = None
        if affine:
            self.weight = Parameter(ops.ones(num_channels, dtype=dtype, device=device))
            self.bias = Parameter(ops.zeros(num_channels, dtype=dtype, device=device))

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None and self.bias is not None:
            init.ones_(self.weight)
            init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, num_channels, ...)."""
        return ops.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, "
            f"affine={self.weight is not None}"
        )
