"""Layers: what they compute, in every dtype, in training and in evaluation."""

from __future__ import annotations

import numpy as np
import pytest

import tinymp as mp
from tinymp import nn
from tinymp.nn import functional as F

LOW = [mp.float16, mp.bfloat16]


def test_linear_is_the_formula() -> None:
    layer = nn.Linear(3, 2, dtype=mp.float64)
    x = mp.randn(4, 5, 3).to(mp.float64)
    assert layer.bias is not None
    expected = x.numpy() @ layer.weight.numpy().T + layer.bias.numpy()
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=0, atol=1e-15)


def test_linear_without_bias_or_inputs() -> None:
    assert nn.Linear(3, 2, bias=False).bias is None
    out = nn.Linear(0, 2)(mp.zeros(4, 0))
    assert out.shape == (4, 2)


@pytest.mark.parametrize("dtype", [mp.float64, mp.float32, *LOW])
def test_values_and_gradients_keep_the_dtype_of_the_layer(dtype: mp.DType) -> None:
    model = nn.Sequential(nn.Linear(4, 6, dtype=dtype), nn.GELU(), nn.LayerNorm(6, dtype=dtype))
    x = mp.randn(3, 4).to(dtype).requires_grad_()
    out = model(x)
    assert out.dtype is dtype
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype is dtype
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype is dtype


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (nn.ReLU(), mp.relu),
        (nn.GELU(), mp.gelu),
        (nn.GELU("tanh"), lambda x: mp.gelu(x, "tanh")),
        (nn.Tanh(), mp.tanh),
        (nn.Sigmoid(), mp.sigmoid),
        (nn.Softmax(dim=-1), lambda x: mp.softmax(x, -1)),
        (nn.LogSoftmax(dim=1), lambda x: mp.log_softmax(x, 1)),
        (nn.Flatten(), lambda x: x.reshape(2, 12)),
        (nn.Flatten(0, 1), lambda x: x.reshape(6, 4)),
        (nn.Identity(), lambda x: x),
    ],
)
def test_a_module_is_its_function(module: nn.Module, function: object) -> None:
    x = mp.randn(2, 3, 4)
    np.testing.assert_array_equal(module(x).numpy(), function(x).numpy())  # type: ignore[operator]


def test_losses_are_their_functions() -> None:
    logits, labels = mp.randn(5, 3), mp.tensor([0, 2, 1, 1, 0])
    for reduction in ("mean", "sum", "none"):
        np.testing.assert_array_equal(
            nn.CrossEntropyLoss(reduction=reduction)(logits, labels).numpy(),
            F.cross_entropy(logits, labels, reduction=reduction).numpy(),
        )
        np.testing.assert_array_equal(
            nn.MSELoss(reduction)(logits, logits * 2).numpy(),
            F.mse_loss(logits, logits * 2, reduction=reduction).numpy(),
        )
    with pytest.raises(ValueError, match="reduction='median'"):
        nn.MSELoss("median")(logits, logits)


# Layer normalisation


def test_layer_norm_normalises_then_scales() -> None:
    layer = nn.LayerNorm(64, dtype=mp.float64)
    x = (mp.randn(10, 64) * 3 + 7).to(mp.float64)
    out = layer(x).numpy()
    np.testing.assert_allclose(out.mean(-1), 0, atol=1e-13)
    np.testing.assert_allclose(out.var(-1), 1, rtol=1e-4)  # eps makes it a little less than 1
    assert layer.weight is not None
    assert layer.bias is not None
    layer.weight.data.fill_(2.0)
    layer.bias.data.fill_(-1.0)
    np.testing.assert_allclose(layer(x).numpy(), 2 * out - 1, rtol=0, atol=1e-14)
    layer.reset_parameters()
    np.testing.assert_array_equal(layer(x).numpy(), out)


def test_layer_norm_with_fewer_parameters() -> None:
    assert list(nn.LayerNorm((2, 3), bias=False).state_dict()) == ["weight"]
    bare = nn.LayerNorm((2, 3), elementwise_affine=False)
    assert not bare.state_dict()
    assert bare(mp.randn(4, 2, 3)).shape == (4, 2, 3)
    bare.reset_parameters()
    assert repr(bare) == "LayerNorm((2, 3), eps=1e-05, elementwise_affine=False, bias=False)"


@pytest.mark.parametrize("dtype", LOW)
def test_layer_norm_of_low_precision_rounds_the_float32_result_once(dtype: mp.DType) -> None:
    x = mp.randn(6, 32).to(dtype)
    expected = nn.LayerNorm(32)(x.float()).to(dtype)
    np.testing.assert_array_equal(nn.LayerNorm(32, dtype=dtype)(x).storage, expected.storage)


# Dropout


def test_dropout_zeros_a_share_p_and_scales_the_rest(device: str) -> None:
    p, n = 0.3, 100_000
    out = nn.Dropout(p)(mp.ones(n, device=device)).numpy()
    assert set(np.unique(out)) == {np.float32(0), np.float32(1) / np.float32(1 - p)}
    # A binomial count stays within 5 standard deviations of its mean but once in two million times.
    assert abs((out == 0).mean() - p) < 5 * np.sqrt(p * (1 - p) / n)


def test_dropout_is_the_identity_in_evaluation_and_for_p_0() -> None:
    x = mp.randn(10)
    assert nn.Dropout(0.5).eval()(x) is x
    assert nn.Dropout(0.0)(x) is x


def test_dropout_of_everything_gives_zeros_and_no_nan() -> None:
    x = mp.randn(10, requires_grad=True)
    out = nn.Dropout(1.0)(x)
    assert not out.numpy().any()
    out.sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), 0)


def test_dropout_passes_the_gradient_where_it_passed_the_value() -> None:
    x = mp.ones(1000, requires_grad=True)
    out = F.dropout(x, 0.25)
    out.sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), out.numpy())


def test_dropout_repeats_with_the_seed_and_differs_from_call_to_call() -> None:
    x = mp.ones(1000)
    mp.manual_seed(7)
    first, second = F.dropout(x), F.dropout(x)
    mp.manual_seed(7)
    np.testing.assert_array_equal(F.dropout(x).numpy(), first.numpy())
    assert (first.numpy() != second.numpy()).any()


def test_dropout_keeps_the_same_elements_on_every_device_and_in_every_dtype(device: str) -> None:
    mp.manual_seed(3)
    expected = F.dropout(mp.ones(1000), 0.4).numpy() != 0
    for dtype in (mp.float32, mp.float16, mp.bfloat16):
        mp.manual_seed(3)
        out = F.dropout(mp.ones(1000, dtype=dtype, device=device), 0.4)
        assert out.dtype is dtype
        np.testing.assert_array_equal(out.numpy() != 0, expected)


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
def test_dropout_refuses_what_is_no_probability(p: float) -> None:
    with pytest.raises(ValueError, match=rf"dropout was given p={p}; it is a probability"):
        nn.Dropout(p)
    with pytest.raises(ValueError, match="it is a probability, from 0 to 1"):
        F.dropout(mp.ones(2), p)
