"""Convolutional layers, and their transposed maps."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

from tinymp import ops
from tinymp.autograd import Tensor
from tinymp.formats import DType, float32
from tinymp.nn import init
from tinymp.nn.module import Module
from tinymp.nn.parameter import Parameter

Lengths = int | tuple[int, ...]


class _Convolution(Module):
    """Weights and options that all convolutions share; `dimensions` is 1 for signals, 2 for images.

    Attributes:
        weight: (out_channels, in_channels / groups, *kernel_size), or for a transposed one
            (in_channels, out_channels / groups, *kernel_size); uniform in ±1/√fan_in at first,
            where fan_in is the product of all lengths but the first, as in PyTorch.
        bias: (out_channels,), uniform in the same bounds, or None.
    """

    dimensions: int
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Lengths,
        stride: Lengths = 1,
        padding: Lengths | str = 0,
        dilation: Lengths = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: str = "cpu",
        dtype: DType | str = float32,
    ) -> None:
        if padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            raise ValueError(
                f"{type(self).__name__} was given padding_mode={padding_mode!r}; it must be one of "
                "zeros, reflect, replicate, circular"
            )
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{type(self).__name__} was given {in_channels} and {out_channels} channels and "
                f"groups={groups}, which must divide both"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = self._each(kernel_size)
        self.stride = self._each(stride)
        self.padding = padding if isinstance(padding, str) else self._each(padding)
        self.dilation = self._each(dilation)
        self.groups = groups
        self.padding_mode = padding_mode
        channels = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        shape = (channels[0], channels[1] // groups, *self.kernel_size)
        self.weight = Parameter(ops.zeros(shape, dtype=dtype, device=device))
        self.bias = Parameter(ops.zeros(out_channels, dtype=dtype, device=device)) if bias else None
        self.reset_parameters()

    def _each(self, lengths: Lengths) -> tuple[int, ...]:
        return (lengths,) * self.dimensions if isinstance(lengths, int) else tuple(lengths)

    def _option(self, lengths: tuple[int, ...]) -> Any:
        """An option as the functions take it: a number for signals, a pair for images."""
        return lengths[0] if self.dimensions == 1 else lengths

    def reset_parameters(self) -> None:
        """Draw new initial values, of weight and bias in the same bounds, as PyTorch does."""
        fan_in = prod(self.weight.shape[1:])
        if fan_in == 0:
            return
        init.kaiming_uniform_(self.weight, a=sqrt(5.0))
        if self.bias is not None:
            init.uniform_(self.bias, -1 / sqrt(fan_in), 1 / sqrt(fan_in))

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in_channels, L) for signals, (N, in_channels, H, W) for images."""
        convolve = ops.conv1d if self.dimensions == 1 else ops.conv2d
        if self.padding_mode != "zeros":
            x = ops.pad(x, self._around(), self.padding_mode)
            stride, dilation = self._option(self.stride), self._option(self.dilation)
            return convolve(x, self.weight, self.bias, stride, 0, dilation, self.groups)
        padding = self.padding if isinstance(self.padding, str) else self._option(self.padding)
        stride, dilation = self._option(self.stride), self._option(self.dilation)
        return convolve(x, self.weight, self.bias, stride, padding, dilation, self.groups)

    def _around(self) -> tuple[int, ...]:
        """Widths (before, after) of the last dimension, then the one in front of it."""
        if self.padding == "valid":
            return (0, 0) * self.dimensions
        if self.padding == "same":
            missing = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            pairs = [(n // 2, n - n // 2) for n in missing]
        else:
            pairs = [(int(n), int(n)) for n in self.padding]
        return tuple(n for pair in reversed(pairs) for n in pair)

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        if self.padding != self._each(0):
            text += f", padding={self.padding}"
        if self.dilation != self._each(1):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        return text + (
            "" if self.padding_mode == "zeros" else f", padding_mode={self.padding_mode}"
        )


class Conv1d(_Convolution):
    """Cross-correlation of signals (N, C, L) with learned kernels; see `functional.conv1d`."""

    dimensions = 1


class Conv2d(_Convolution):
    """Cross-correlation of images (N, C, H, W) with learned kernels; see `functional.conv2d`."""

    dimensions = 2


class _TransposedConvolution(_Convolution):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Lengths,
        stride: Lengths = 1,
        padding: Lengths = 0,
        output_padding: Lengths = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Lengths = 1,
        device: str = "cpu",
        dtype: DType | str = float32,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            "zeros", device, dtype,
        )  # fmt: skip
        self.output_padding = self._each(output_padding)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, in_channels, L) for signals, (N, in_channels, H, W) for images."""
        convolve = ops.conv_transpose1d if self.dimensions == 1 else ops.conv_transpose2d
        assert not isinstance(self.padding, str)
        return convolve(
            x,
            self.weight,
            self.bias,
            self._option(self.stride),
            self._option(self.padding),
            self._option(self.output_padding),
            self.groups,
            self._option(self.dilation),
        )

    def extra_repr(self) -> str:
        text = super().extra_repr()
        if self.output_padding != self._each(0):
            text += f", output_padding={self.output_padding}"
        return text


class ConvTranspose1d(_TransposedConvolution):
    """The transposed map of `Conv1d`; see `functional.conv_transpose1d`."""

    dimensions = 1


class ConvTranspose2d(_TransposedConvolution):
    """The transposed map of `Conv2d`; see `functional.conv_transpose2d`."""

    dimensions = 2
