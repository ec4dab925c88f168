"""Multi-head attention, the encoder layer, padded convolutions and small modules in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp import nn

torch = pytest.importorskip("torch")
U = 2.0**-53


def copied(ours: Any, theirs: Any) -> tuple[Any, Any]:
    """Both modules in float64, ours with PyTorch's weights."""
    theirs = theirs.double()
    ours = ours.double()
    weights = {name: mp.tensor(v.detach().numpy()) for name, v in theirs.state_dict().items()}
    assert list(weights) == list(ours.state_dict())
    ours.load_state_dict(weights)
    return ours, theirs


def agree(ours: Any, theirs: Any, inputs: list[Any], call: Any) -> None:
    """Results and all gradients, within a few thousand roundings of numbers below 8."""
    x = [mp.tensor(v, requires_grad=True) for v in inputs]
    y = [torch.tensor(v, requires_grad=True) for v in inputs]
    found, expected = call(ours, x, mp), call(theirs, y, torch)
    np.testing.assert_allclose(found.numpy(), expected.detach().numpy(), rtol=0, atol=1e4 * U)
    found.square().sum().backward()
    expected.square().sum().backward()
    pairs = list(zip(x, y, strict=True)) + list(
        zip(ours.parameters(), theirs.parameters(), strict=True)
    )
    for a, b in pairs:
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=0, atol=1e6 * U)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("masked", ["none", "bool", "float", "padding", "both", "3-d"])
@pytest.mark.parametrize("layout", ["batch_first", "batch second", "no batch"])
def test_multihead_attention(layout: str, masked: str, need_weights: bool) -> None:
    options = {"batch_first": layout == "batch_first", "bias": masked != "float"}
    ours, theirs = copied(
        nn.MultiheadAttention(6, 2, **options), torch.nn.MultiheadAttention(6, 2, **options)
    )
    rng = np.random.default_rng(0)
    lengths, batch = (4, 5, 5), 3
    shapes = {
        "batch_first": [(batch, n, 6) for n in lengths],
        "batch second": [(n, batch, 6) for n in lengths],
        "no batch": [(n, 6) for n in lengths],
    }[layout]
    if masked == "3-d" and layout == "no batch":
        return
    masks: dict[str, Any] = {}
    if masked in ("bool", "both"):
        masks["attn_mask"] = np.triu(np.ones((4, 5), bool), 2)
    elif masked == "float":
        masks["attn_mask"] = rng.standard_normal((4, 5))
    elif masked == "3-d":
        masks["attn_mask"] = rng.random((2 * batch, 4, 5)) < 0.25
    if masked in ("padding", "both"):
        padding = np.zeros((batch, 5), bool)
        padding[1, 3:] = padding[2, 4:] = True
        masks["key_padding_mask"] = padding[1] if layout == "no batch" else padding

    def call(module: Any, x: Any, library: Any) -> Any:
        given = {name: library.tensor(mask) for name, mask in masks.items()}
        out, weights = module(*x, need_weights=need_weights, **given)
        assert (weights is None) == (not need_weights)
        return out if weights is None else out.sum() * weights

    agree(ours, theirs, [rng.standard_normal(shape) for shape in shapes], call)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_encoder_layer(norm_first: bool, causal: bool) -> None:
    options = {"dropout": 0.0, "batch_first": True, "norm_first": norm_first}
    ours, theirs = copied(
        nn.TransformerEncoderLayer(6, 2, 8, activation=mp.ops.gelu, **options),
        torch.nn.TransformerEncoderLayer(6, 2, 8, activation="gelu", **options),
    )
    mask = np.triu(np.ones((4, 4), bool), 1)

    def call(module: Any, x: Any, library: Any) -> Any:
        if library is mp:
            return module(*x, is_causal=causal)
        return module(*x, src_mask=library.tensor(mask) if causal else None)

    agree(ours, theirs, [np.random.default_rng(1).standard_normal((3, 4, 6))], call)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [1, "same", "valid"])
@pytest.mark.parametrize("dimensions", [1, 2])
def test_padding_modes_of_convolutions(mode: str, padding: Any, dimensions: int) -> None:
    options = {"padding": padding, "padding_mode": mode, "dilation": 2}
    name = f"Conv{dimensions}d"
    ours, theirs = copied(
        getattr(nn, name)(2, 3, 3, **options), getattr(torch.nn, name)(2, 3, 3, **options)
    )
    assert ours.extra_repr() == theirs.extra_repr()
    x = np.random.default_rng(2).standard_normal((2, 2, 6, 5)[: 2 + dimensions])
    agree(ours, theirs, [x], lambda module, x, library: module(*x))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ReLU6", ()),
        ("SELU", ()),
        ("Mish", ()),
        ("LogSigmoid", ()),
        ("Unflatten", (1, (2, 3))),
        ("AdaptiveMaxPool1d", (3,)),
        ("MaxPool1d", (2, 2, 0, 1)),
        ("AvgPool1d", (2, 2, 0, True)),
    ],
)
def test_small_modules(name: str, arguments: Any) -> None:
    options = {"ceil_mode": True} if name == "MaxPool1d" else {}
    ours, theirs = (getattr(x.nn, name)(*arguments, **options) for x in (mp, torch))
    x = np.random.default_rng(3).uniform(-3, 8, (2, 6, 5))
    agree(ours, theirs, [x], lambda module, x, library: module(*x))
    if name not in ("AvgPool1d", "Unflatten"):
        assert repr(ours) == repr(theirs)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match="embed_dim=6 and num_heads=4; the second must divide"):
        nn.MultiheadAttention(6, 4)
    with pytest.raises(ValueError, match=r"MultiheadAttention was given shapes .*batch_first"):
        nn.MultiheadAttention(6, 2)(mp.ones(2, 6), mp.ones(1, 2, 6), mp.ones(2, 6))
    with pytest.raises(ValueError, match="padding_mode='mirror'; it must be one of zeros, refl"):
        nn.Conv1d(1, 1, 1, padding_mode="mirror")


def test_attention_drops_weights_in_training_alone() -> None:
    layer = nn.MultiheadAttention(4, 2, dropout=0.5)
    x = mp.randn(5, 2, 4)
    first, _ = layer(x, x, x)
    assert not mp.equal(first, layer(x, x, x)[0])
    layer.eval()
    assert mp.equal(layer(x, x, x)[0], layer(x, x, x)[0])
    fused, _ = layer(x, x, x, need_weights=False)
    assert mp.allclose(fused, layer(x, x, x)[0], atol=100 * 2.0**-24)


def test_module_dict() -> None:
    modules = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.ReLU()})
    modules["c"] = nn.Linear(3, 1)
    assert list(modules) == modules.keys() == ["a", "b", "c"]
    assert len(modules) == 3
    assert "b" in modules
    assert modules["a"] is modules.values()[0] is modules.items()[0][1]
    assert list(modules.state_dict()) == ["a.weight", "a.bias", "c.weight", "c.bias"]
    with pytest.raises(KeyError, match="there is no module 'd'; there are a, b, c"):
        modules["d"]
    with pytest.raises(TypeError, match="ModuleDict was given a float"):
        modules["d"] = 1.0


def test_initial_values() -> None:
    x = nn.init.trunc_normal_(mp.zeros(2000), 1.0, 2.0, -1.0, 4.0).numpy()
    assert x.min() >= -1
    assert x.max() <= 4
    assert abs(x.mean() - 1.2) < 0.2  # more is cut off below than above
    with pytest.raises(ValueError, match="a=2 and b=1 for mean"):
        nn.init.trunc_normal_(mp.zeros(2), a=2, b=1)
    assert nn.init.eye_(mp.zeros(2, 3)).tolist() == np.eye(2, 3).tolist()
    with pytest.raises(ValueError, match=r"eye_ was given a tensor of shape \(2,\)"):
        nn.init.eye_(mp.zeros(2))
    for shape in ((3, 5), (5, 3), (3, 2, 2)):
        q = nn.init.orthogonal_(mp.zeros(*shape, dtype=mp.float64), 2.0).numpy()
        q = q.reshape(shape[0], -1)
        product = q @ q.T if shape[0] <= q.shape[1] else q.T @ q
        np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-5)
    with pytest.raises(ValueError, match="orthogonal_ was given"):
        nn.init.orthogonal_(mp.zeros(2))
