"""Pooling layers: the largest or the mean element under a window, as modules without parameters."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from tinymp import ops
from tinymp.autograd import Tensor
from tinymp.nn.module import Module

Pair = int | tuple[int, int]
Size = TypeVar("Size", bound=Pair)


class _MaxPool(Module, Generic[Size]):
    """What the two have in common: windows of `Size`, an integer or a pair."""

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size | int = 0,
        dilation: Size | int = 1,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode

    def _options(self) -> tuple[Any, ...]:
        return self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool2d(_MaxPool[Pair]):
    """The largest element under each place of a window; see `functional.max_pool2d`."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        return ops.max_pool2d(x, *self._options())


class MaxPool1d(_MaxPool[int]):
    """The largest element under each place of a window; see `functional.max_pool1d`."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, L)."""
        return ops.max_pool1d(x, *self._options())


class _AvgPool(Module, Generic[Size]):
    """What the two have in common: windows of `Size`, an integer or a pair."""

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size | int = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def _options(self) -> tuple[Any, ...]:
        around = (self.padding, self.ceil_mode, self.count_include_pad)
        return self.kernel_size, self.stride, *around


class AvgPool2d(_AvgPool[Pair]):
    """The mean of the elements under each place of a window; see `functional.avg_pool2d`."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        return ops.avg_pool2d(x, *self._options())

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool[int]):
    """The mean of the elements under each place of a window; see `functional.avg_pool1d`."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, L)."""
        return ops.avg_pool1d(x, *self._options())

    def extra_repr(self) -> str:
        # PyTorch shows these as the one-element tuples that it makes of them.
        sizes = [(n,) for n in (self.kernel_size, self.stride, self.padding)]
        return f"kernel_size={sizes[0]}, stride={sizes[1]}, padding={sizes[2]}"


class AdaptiveAvgPool2d(Module):
    """The mean of each of `output_size` parts of an image; see `functional.adaptive_avg_pool2d`."""

    def __init__(self, output_size: Pair) -> None:
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        return ops.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(Module):
    """The mean of each of `output_size` parts of a signal; see `functional.adaptive_avg_pool1d`."""

    def __init__(self, output_size: int) -> None:
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, L)."""
        return ops.adaptive_avg_pool1d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool2d(Module):
    """The largest element of each of `output_size` parts; see `functional.adaptive_max_pool2d`."""

    def __init__(self, output_size: Pair) -> None:
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        return ops.adaptive_max_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(Module):
    """The largest element of each of `output_size` parts; see `functional.adaptive_max_pool1d`."""

    def __init__(self, output_size: int) -> None:
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, L)."""
        return ops.adaptive_max_pool1d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
