"""The multilayer perceptron."""

from __future__ import annotations

import numpy as np

import tinymp as mp
from tinymp import nn, optim
from tinymp.models import MLP


def test_its_layers() -> None:
    model = MLP(64, [32, 16], 10, activation=nn.Tanh, dropout=0.1)
    assert [type(layer).__name__ for layer in model] == [
        "Linear", "Tanh", "Dropout", "Linear", "Tanh", "Dropout", "Linear",
    ]  # fmt: skip
    assert sum(p.size for p in model.parameters()) == 64 * 32 + 32 + 32 * 16 + 16 + 16 * 10 + 10
    assert model(mp.randn(5, 64)).shape == (5, 10)


def test_without_hidden_layers_it_is_linear() -> None:
    model = MLP(3, [], 2)
    x = mp.randn(4, 3)
    np.testing.assert_array_equal(model(x).numpy(), model[0](x).numpy())


def test_its_dtype_and_device(device: str) -> None:
    model = MLP(3, [4], 2, dtype=mp.float16, device=device)
    assert all(p.dtype is mp.float16 for p in model.parameters())
    out = model(mp.randn(5, 3, dtype=mp.float16, device=device))
    assert out.dtype is mp.float16
    assert out.device.startswith(device)


def test_it_learns_exclusive_or(device: str) -> None:
    """What no linear model can."""
    x = mp.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], device=device)
    labels = mp.tensor([0, 1, 1, 0], device=device)
    model = MLP(2, [16], 2, activation=nn.Tanh, device=device)
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
    np.testing.assert_array_equal(model(x).argmax(1).numpy(), labels.numpy())
    assert loss.item() < 0.1
