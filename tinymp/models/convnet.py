"""A residual convolutional network for small images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from tinymp.autograd import Tensor
from tinymp.formats import DType, float32
from tinymp.nn import BatchNorm2d, Conv2d, Identity, Linear, Module, Sequential, init
from tinymp.nn import functional as F


class BasicBlock(Module):
    """Two 3 × 3 convolutions, and past them the input itself: (n, in, h, w) to (n, out, h', w').

    h' = ⌈h / stride⌉, and w' likewise. Where the shape changes, what leads past is a 1 × 1
    convolution.

    Source: He, Zhang, Ren & Sun, Deep Residual Learning for Image Recognition (arXiv 1512.03385),
    section 3.3 (option B) and figure 5.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, dtype: DType | str = float32
    ) -> None:
        # A bias would vanish in the mean that batch normalisation subtracts.
        self.conv_1 = Conv2d(
            in_channels, out_channels, 3, stride, padding=1, bias=False, dtype=dtype
        )
        self.norm_1 = BatchNorm2d(out_channels, dtype=dtype)
        self.conv_2 = Conv2d(out_channels, out_channels, 3, padding=1, bias=False, dtype=dtype)
        self.norm_2 = BatchNorm2d(out_channels, dtype=dtype)
        self.shortcut: Module = Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = Sequential(
                Conv2d(in_channels, out_channels, 1, stride, bias=False, dtype=dtype),
                BatchNorm2d(out_channels, dtype=dtype),
            )

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, in_channels, h, w)."""
        hidden = F.relu(self.norm_1(self.conv_1(x)))
        return F.relu(self.norm_2(self.conv_2(hidden)) + self.shortcut(x))


class ConvNet(Module):
    """Logits of images: (n, in_channels, h, w) to (n, classes), for h and w of 8 or 28, say.

    A convolution, then stages of residual blocks, each stage but the first at half the resolution,
    then the mean over the image and a linear layer. Initial values are those of He, Zhang, Ren &
    Sun, Delving Deep into Rectifiers (arXiv 1502.01852), section 2.2.

    Batch normalisation computes its statistics in float32 in every format. Its weights and running
    statistics have the format of the other parameters after `half()` or `bfloat16()`, as in
    PyTorch; the running ones then move in steps of their last bit.

    Args:
        in_channels: 1 for grey images, 3 for coloured ones.
        classes: number of classes.
        channels: channels of each stage.
        blocks: residual blocks of each stage.
        device, dtype: of the parameters.

    Raises:
        ValueError: no stages, or a number below 1.

    Source: He, Zhang, Ren & Sun (arXiv 1512.03385), section 4.2, in small.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 10,
        channels: Sequence[int] = (16, 32),
        blocks: int = 1,
        device: str = "cpu",
        dtype: DType | str = float32,
    ) -> None:
        sizes = {"in_channels": in_channels, "classes": classes, "blocks": blocks}
        for name, size in {**sizes, "channels": min(channels, default=0)}.items():
            if size < 1:
                raise ValueError(
                    f"ConvNet was given {name} of {size if channels else 'no stage'}; there must "
                    "be at least 1"
                )
        self.stem = Conv2d(in_channels, channels[0], 3, padding=1, bias=False, dtype=dtype)
        self.norm = BatchNorm2d(channels[0], dtype=dtype)
        stages = [_stage(channels[0], channels[0], blocks, 1, dtype)]
        stages += [_stage(before, after, blocks, 2, dtype) for before, after in pairwise(channels)]
        self.stages = Sequential(*stages)
        self.classifier = Linear(channels[-1], classes, dtype=dtype)
        for module in self.modules():
            if isinstance(module, Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.to(device)

    def forward(self, images: Tensor) -> Tensor:
        """images: (n, in_channels, h, w)."""
        features = self.stages(F.relu(self.norm(self.stem(images))))
        logits: Tensor = self.classifier(features.mean((2, 3)))
        return logits


def _stage(before: int, after: int, blocks: int, stride: int, dtype: DType | str) -> Sequential:
    rest = (BasicBlock(after, after, dtype=dtype) for _ in range(blocks - 1))
    return Sequential(BasicBlock(before, after, stride, dtype), *rest)
