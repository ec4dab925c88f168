"""The parameter: a leaf on the storage it was given."""

from __future__ import annotations

import pytest

import tinymp as mp
from tinymp import nn


def test_a_parameter_is_a_leaf_on_the_storage_it_was_given() -> None:
    data = mp.ones(2)
    parameter = nn.Parameter(data)
    assert parameter.requires_grad
    assert parameter.is_leaf
    data.fill_(5.0)
    assert parameter.tolist() == [5.0, 5.0]
    assert parameter.version is data.version
    assert repr(parameter).startswith("Parameter containing:\ntensor([5., 5.]")
    assert not nn.Parameter(data, requires_grad=False).requires_grad
    assert not isinstance(parameter * 2, nn.Parameter)


def test_a_parameter_takes_floating_point_tensors_only() -> None:
    with pytest.raises(TypeError, match=r"Parameter was given a list; it takes a tensor; make one"):
        nn.Parameter([1.0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"int64 tensor.* only floating-point tensors have"):
        nn.Parameter(mp.tensor([1]))
