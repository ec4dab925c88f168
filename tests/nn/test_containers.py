"""Sequential and ModuleList."""

from __future__ import annotations

import numpy as np
import pytest

import tinymp as mp
from tinymp import nn


def test_sequential_applies_one_after_the_other() -> None:
    first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    model = nn.Sequential(first, nn.ReLU(), second)
    x = mp.randn(5, 3)
    np.testing.assert_array_equal(model(x).numpy(), second(first(x).relu()).numpy())
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_sequential_takes_names() -> None:
    model = nn.Sequential({"hidden": nn.Linear(3, 4), "act": nn.Tanh()})
    assert [name for name, _ in model.named_children()] == ["hidden", "act"]
    assert isinstance(model[1], nn.Tanh)


def test_numbers_slices_and_assignment() -> None:
    layers = [nn.Linear(2, 2) for _ in range(3)]
    for container in (nn.Sequential(*layers), nn.ModuleList(layers)):
        assert len(container) == 3
        assert list(container) == layers
        assert container[0] is layers[0]
        assert container[-1] is layers[2]
        part = container[1:]
        assert type(part) is type(container)
        assert list(part) == layers[1:]
        container[1] = nn.ReLU()
        assert isinstance(container[1], nn.ReLU)
        assert len(container) == 3
        container.append(nn.Tanh()).extend([nn.Sigmoid()])
        assert [type(m).__name__ for m in container][3:] == ["Tanh", "Sigmoid"]
        with pytest.raises(IndexError, match=r"index 9; it holds 5 modules, counted from 0"):
            container[9]


def test_what_is_not_a_module_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"Sequential was given a function; it takes modules; .*ReLU"
    ):
        nn.Sequential(nn.Linear(1, 1), mp.relu)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="ModuleList was given a int"):
        nn.ModuleList([3])  # type: ignore[list-item]
