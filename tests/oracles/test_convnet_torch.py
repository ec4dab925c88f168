"""The residual network beside the same one in PyTorch, from the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp.models import ConvNet
from tinymp.models.convnet import BasicBlock

torch = pytest.importorskip("torch")


class TheirBlock(torch.nn.Module):  # type: ignore[misc]
    """A basic block of PyTorch's parts, under the names of ours."""

    def __init__(self, own: BasicBlock) -> None:
        super().__init__()
        shapes = own.conv_1.weight.shape, own.conv_1.stride
        (out, into, *_), stride = shapes
        self.conv_1 = torch.nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.norm_1 = torch.nn.BatchNorm2d(out)
        self.conv_2 = torch.nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.norm_2 = torch.nn.BatchNorm2d(out)
        self.shortcut = torch.nn.Identity()
        if list(own.shortcut.parameters()):
            self.shortcut = torch.nn.Sequential(
                torch.nn.Conv2d(into, out, 1, stride, bias=False), torch.nn.BatchNorm2d(out)
            )

    def forward(self, x: Any) -> Any:
        hidden = self.norm_1(self.conv_1(x)).relu()
        return (self.norm_2(self.conv_2(hidden)) + self.shortcut(x)).relu()


class TheirConvNet(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, own: ConvNet) -> None:
        super().__init__()
        first, images = own.stem.weight.shape[:2]
        self.stem = torch.nn.Conv2d(images, first, 3, padding=1, bias=False)
        self.norm = torch.nn.BatchNorm2d(first)
        self.stages = torch.nn.Sequential(
            *(torch.nn.Sequential(*(TheirBlock(block) for block in stage)) for stage in own.stages)
        )
        self.classifier = torch.nn.Linear(*own.classifier.weight.shape[::-1])
        self.load_state_dict({k: torch.tensor(t.numpy()) for k, t in own.state_dict().items()})

    def forward(self, images: Any) -> Any:
        features = self.stages(self.norm(self.stem(images)).relu())
        return self.classifier(features.mean((2, 3)))


def test_it_computes_what_pytorch_computes() -> None:
    """In float64: logits, gradients and running statistics of training, then of evaluation."""
    model = ConvNet(2, 5, channels=(3, 6), blocks=2, dtype=mp.float64)
    theirs = TheirConvNet(model).double()
    images = np.random.default_rng(0).normal(size=(7, 2, 9, 9))
    labels = np.arange(7) % 5
    loss = mp.cross_entropy(model(mp.tensor(images)), mp.tensor(labels))
    expected = torch.nn.functional.cross_entropy(theirs(torch.tensor(images)), torch.tensor(labels))
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    gradients = {name: p.grad.numpy() for name, p in theirs.named_parameters()}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        np.testing.assert_allclose(
            parameter.grad.numpy(), gradients[name], rtol=0, atol=1e-11 * abs(gradients[name]).max()
        )
    for (name, buffer), (other, their_buffer) in zip(
        model.named_buffers(), theirs.named_buffers(), strict=True
    ):
        assert name == other
        np.testing.assert_allclose(buffer.numpy(), their_buffer.numpy(), rtol=1e-12)
    own = model.eval()(mp.tensor(images)).numpy()
    np.testing.assert_allclose(own, theirs.eval()(torch.tensor(images)).detach().numpy(), rtol=1e-9)
