"""The training step of a small convolutional network, by tinymp and by PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp import nn, ops
from tinymp.autograd import Tensor
from tinymp.bench.float32_step import HOW, float32_step
from tinymp.bench.machine import installed
from tinymp.bench.measure import Contestant, Race
from tinymp.bench.mlp import Step
from tinymp.devices import manual_seed
from tinymp.optim import SGD

BATCH, SIZE, CHANNELS, CLASSES = 64, 28, (16, 32), 10


def batch(rows: int = BATCH, size: int = SIZE) -> tuple[Any, Any]:
    """Images, float32 (rows, 1, size, size), and their labels, int64 (rows,)."""
    random = np.random.default_rng(0)
    images = random.standard_normal((rows, 1, size, size)).astype(np.float32)
    return images, random.integers(0, CLASSES, rows)


def our_model(size: int = SIZE) -> nn.Sequential:
    """Two convolutions 3×3, each with ReLU and max-pooling, and a linear layer."""
    manual_seed(0)
    first, second = CHANNELS
    return nn.Sequential(
        nn.Conv2d(1, first, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * (size // 4) ** 2, CLASSES),
    )


def tinymp(model: nn.Sequential, images: Any, labels: Any, captured: bool = False) -> Step:
    """This package, float32, SGD."""
    optimizer = SGD(model.parameters(), lr=0.01)
    x, y = ops.tensor(images), ops.tensor(labels)

    def objective(x: Tensor, y: Tensor) -> Tensor:
        return ops.cross_entropy(model(x), y)

    return float32_step(objective, optimizer, x, y, captured)


def pytorch(model: nn.Sequential, images: Any, labels: Any) -> Step:
    """PyTorch, eager, from copies of the weights of `model`."""
    import torch
    import torch.nn.functional as F

    w = [torch.tensor(value.numpy(), requires_grad=True) for value in model.parameters()]
    optimizer = torch.optim.SGD(w, lr=0.01)
    x, y = torch.tensor(images), torch.tensor(labels)

    def step() -> float:
        optimizer.zero_grad()
        hidden = F.max_pool2d(F.relu(F.conv2d(x, w[0], w[1], padding=1)), 2)
        hidden = F.max_pool2d(F.relu(F.conv2d(hidden, w[2], w[3], padding=1)), 2)
        loss = F.cross_entropy(F.linear(hidden.flatten(1), w[4], w[5]), y)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def _enter() -> list[Contestant]:
    images, labels = batch()
    here = [
        Contestant(f"tinymp FP32{how}", tinymp(our_model(), images, labels, captured))
        for how, captured in HOW.items()
    ]
    if installed("torch"):
        here.append(Contestant("PyTorch", pytorch(our_model(), images, labels)))
    return here


RACES = [
    Race(
        f"training step, ConvNet {SIZE}×{SIZE}, batch {BATCH}, SGD",
        "PyTorch",
        _enter,
        goals={f"tinymp FP32{how}": (2.5, 1.5) for how in HOW},
    )
]
