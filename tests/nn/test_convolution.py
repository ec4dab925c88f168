"""Convolutional, normalising and pooling layers: what they hold, and how it begins."""

from __future__ import annotations

import numpy as np
import pytest

import tinymp as mp
from tinymp import nn

LOW = [mp.float16, mp.bfloat16]


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d])
def test_first_values_are_uniform_in_the_bounds_of_the_fan_in(kind: type) -> None:
    layer = kind(8, 32, 3, groups=2)
    bound = 1 / np.sqrt(np.prod(layer.weight.shape[1:]))
    for parameter in layer.parameters():
        values = parameter.numpy()
        assert abs(values).max() <= bound
        # Of n uniform numbers, all stay within 0.7 of the bound with probability 0.7^n.
        assert abs(values).max() > 0.7 * bound
    before = layer.weight.numpy()
    layer.reset_parameters()
    assert (layer.weight.numpy() != before).any()


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.ConvTranspose2d])
def test_groups_divide_both_channels(kind: type) -> None:
    with pytest.raises(ValueError, match=rf"{kind.__name__} was given 3 and 4 channels.*groups=2"):
        kind(3, 4, 1, groups=2)


def test_a_layer_without_inputs_has_nothing_to_draw() -> None:
    assert nn.Conv1d(0, 2, 3).weight.shape == (2, 0, 3)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.BatchNorm1d(4), (6, 4)),
        (nn.GroupNorm(2, 4), (6, 4)),
        (nn.RMSNorm(4), (6, 4)),
    ],
)
def test_norms_begin_as_they_are_reset(layer: nn.Module, shape: tuple[int, ...]) -> None:
    first = {name: x.numpy() for name, x in layer.state_dict().items()}
    layer(mp.randn(*shape))
    for parameter in layer.parameters():
        parameter.data.fill_(7.0)
    layer.reset_parameters()
    for name, x in layer.state_dict().items():
        np.testing.assert_array_equal(x.numpy(), first[name])


@pytest.mark.parametrize("dtype", LOW, ids=lambda dtype: dtype.name)
def test_a_convolutional_network_keeps_its_dtype(dtype: mp.DType) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, dtype=dtype),
        nn.BatchNorm2d(4, dtype=dtype),
        nn.SiLU(),
        nn.MaxPool2d(2),
        nn.ConvTranspose2d(4, 2, 2, stride=2, dtype=dtype),
        nn.GroupNorm(2, 2, dtype=dtype),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    x = mp.randn(3, 1, 6, 6).to(dtype)
    out = model(x)
    assert out.shape == (3, 2)
    assert out.dtype is dtype
    out.sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype is dtype
    assert model[1].running_mean.dtype is dtype


@pytest.mark.parametrize("dtype", LOW, ids=lambda dtype: dtype.name)
def test_a_convolutional_network_under_autocast(dtype: mp.DType) -> None:
    """Activations stay in 2 bytes through batch normalisation; parameters and statistics do not."""
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.AvgPool1d(2))
    with mp.amp.autocast(dtype):
        out = model(mp.randn(3, 2, 8))
    assert out.dtype is dtype
    out.float().sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype is mp.float32
    assert model[1].running_var.dtype is mp.float32
