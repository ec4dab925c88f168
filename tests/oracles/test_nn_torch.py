"""The same layers with the same weights in PyTorch, as an oracle."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from scipy import stats

import tinymp as mp
from tinymp import nn
from tinymp.nn import init

torch = pytest.importorskip("torch")


def twins() -> list[tuple[str, Any, Any, tuple[int, ...]]]:
    """Name, our layer, PyTorch's, and the shape of an input."""
    t = torch.nn
    return [
        ("linear", nn.Linear(7, 5), t.Linear(7, 5), (4, 7)),
        ("linear of a stack", nn.Linear(7, 5), t.Linear(7, 5), (2, 3, 7)),
        ("without bias", nn.Linear(7, 5, bias=False), t.Linear(7, 5, bias=False), (4, 7)),
        ("layer norm", nn.LayerNorm(6), t.LayerNorm(6), (4, 6)),
        ("layer norm of two", nn.LayerNorm((3, 6)), t.LayerNorm((3, 6)), (4, 3, 6)),
        ("layer norm, eps", nn.LayerNorm(6, eps=0.1), t.LayerNorm(6, eps=0.1), (4, 6)),
        ("no bias", nn.LayerNorm(6, bias=False), t.LayerNorm(6, bias=False), (4, 6)),
        ("rms norm", nn.RMSNorm(6, eps=1e-5), t.RMSNorm(6, eps=1e-5), (4, 6)),
        ("rms norm of two", nn.RMSNorm((3, 6)), t.RMSNorm((3, 6)), (4, 3, 6)),
        ("batch norm", nn.BatchNorm1d(6), t.BatchNorm1d(6), (8, 6)),
        ("batch norm of rows", nn.BatchNorm1d(6), t.BatchNorm1d(6), (4, 6, 3)),
        ("batch norm 2d", nn.BatchNorm2d(3, 0.1, None), t.BatchNorm2d(3, 0.1, None), (4, 3, 2, 2)),
        (
            "batch norm, evaluated",
            nn.BatchNorm1d(6, affine=False).eval(),
            t.BatchNorm1d(6, affine=False).eval(),
            (8, 6),
        ),
        (
            "batch norm without memory",
            nn.BatchNorm1d(6, track_running_stats=False).eval(),
            t.BatchNorm1d(6, track_running_stats=False).eval(),
            (8, 6),
        ),
        ("group norm", nn.GroupNorm(2, 6), t.GroupNorm(2, 6), (4, 6, 3)),
        (
            "group norm bare",
            nn.GroupNorm(3, 6, affine=False),
            t.GroupNorm(3, 6, affine=False),
            (4, 6),
        ),
        ("leaky relu", nn.LeakyReLU(0.2), t.LeakyReLU(0.2), (4, 6)),
        ("elu", nn.ELU(0.5), t.ELU(0.5), (4, 6)),
        ("silu", nn.SiLU(), t.SiLU(), (4, 6)),
        ("softplus", nn.Softplus(2.0), t.Softplus(2.0), (4, 6)),
        ("hardtanh", nn.Hardtanh(-0.5, 0.5), t.Hardtanh(-0.5, 0.5), (4, 6)),
        ("conv 1d", nn.Conv1d(4, 6, 3), t.Conv1d(4, 6, 3), (2, 4, 7)),
        (
            "conv 2d",
            nn.Conv2d(4, 6, (3, 2), 2, 1, (1, 2), 2),
            t.Conv2d(4, 6, (3, 2), 2, 1, (1, 2), 2),
            (2, 4, 7, 8),
        ),
        (
            "conv same",
            nn.Conv2d(3, 2, 4, padding="same", bias=False),
            t.Conv2d(3, 2, 4, padding="same", bias=False),
            (2, 3, 5, 5),
        ),
        (
            "transposed 1d",
            nn.ConvTranspose1d(4, 6, 3, 2, 1, 1),
            t.ConvTranspose1d(4, 6, 3, 2, 1, 1),
            (2, 4, 5),
        ),
        (
            "transposed 2d",
            nn.ConvTranspose2d(4, 6, 3, (2, 1), groups=2, dilation=2),
            t.ConvTranspose2d(4, 6, 3, (2, 1), groups=2, dilation=2),
            (2, 4, 3, 4),
        ),
        ("max pool 1d", nn.MaxPool1d(2), t.MaxPool1d(2), (2, 3, 7)),
        ("max pool", nn.MaxPool2d(3, 2, 1), t.MaxPool2d(3, 2, 1), (2, 3, 7, 6)),
        ("avg pool 1d", nn.AvgPool1d(3, 2, 1), t.AvgPool1d(3, 2, 1), (2, 3, 7)),
        ("avg pool", nn.AvgPool2d((2, 3)), t.AvgPool2d((2, 3)), (2, 3, 7, 6)),
        ("adaptive 1d", nn.AdaptiveAvgPool1d(3), t.AdaptiveAvgPool1d(3), (2, 3, 7)),
        ("adaptive", nn.AdaptiveAvgPool2d((3, 2)), t.AdaptiveAvgPool2d((3, 2)), (2, 3, 7, 6)),
        ("gelu", nn.GELU(), t.GELU(), (4, 6)),
        ("gelu tanh", nn.GELU("tanh"), t.GELU("tanh"), (4, 6)),
        ("softmax", nn.Softmax(1), t.Softmax(1), (4, 6, 2)),
        ("flatten", nn.Flatten(), t.Flatten(), (4, 6, 2)),
        (
            "mlp",
            nn.Sequential(nn.Linear(7, 9), nn.ReLU(), nn.LayerNorm(9), nn.Linear(9, 3)),
            t.Sequential(t.Linear(7, 9), t.ReLU(), t.LayerNorm(9), t.Linear(9, 3)),
            (4, 7),
        ),
    ]


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # PyTorch pads a copy, as we do
@pytest.mark.parametrize("case", twins(), ids=lambda case: case[0])
def test_values_and_gradients_in_float64(case: tuple[str, Any, Any, tuple[int, ...]]) -> None:
    """Both compute in float64 with fewer than 200 roundings a result, none of them magnified."""
    _, ours, theirs, shape = case
    ours, theirs = ours.double(), theirs.double()
    ours.load_state_dict({name: x.detach().numpy() for name, x in theirs.state_dict().items()})
    values = np.random.default_rng(0).normal(size=shape)
    x, y = mp.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    out, expected = ours(x), theirs(y)
    tolerance = 200 * 2.0**-53
    np.testing.assert_allclose(out.numpy(), expected.detach().numpy(), rtol=0, atol=8 * tolerance)
    (out * out).sum().backward()
    (expected * expected).sum().backward()
    pairs = [(x, y), *zip(ours.parameters(), theirs.parameters(), strict=True)]
    for a, b in pairs:
        largest = np.abs(b.grad.numpy()).max()
        np.testing.assert_allclose(
            a.grad.numpy(), b.grad.numpy(), rtol=0, atol=8 * tolerance * max(largest, 1)
        )


@pytest.mark.parametrize("case", twins(), ids=lambda case: case[0])
def test_names_shapes_and_trees_are_the_same(case: tuple[str, Any, Any, tuple[int, ...]]) -> None:
    _, ours, theirs, _ = case
    assert [(n, tuple(p.shape)) for n, p in ours.named_parameters()] == [
        (n, tuple(p.shape)) for n, p in theirs.named_parameters()
    ]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    # Not every version of PyTorch shows whether a norm has a bias.
    assert re.sub(", bias=\\w+", "", repr(ours)) == re.sub(", bias=\\w+", "", repr(theirs))


def test_default_initialisation_has_the_same_distribution() -> None:
    torch.manual_seed(0)
    theirs, ours = torch.nn.Linear(50, 80), nn.Linear(50, 80)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        drawn, expected = a.numpy().ravel(), b.detach().numpy().ravel()
        assert stats.ks_2samp(drawn, expected).pvalue > 1e-3


@pytest.mark.parametrize(
    "name", ["xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_"]
)
def test_initialisers_have_the_same_distribution(name: str) -> None:
    torch.manual_seed(0)
    drawn = getattr(init, name)(mp.zeros(60, 40)).numpy().ravel()
    expected = getattr(torch.nn.init, name)(torch.zeros(60, 40)).numpy().ravel()
    assert stats.ks_2samp(drawn, expected).pvalue > 1e-3


def test_gains() -> None:
    for name in ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        assert init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert init.calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)
