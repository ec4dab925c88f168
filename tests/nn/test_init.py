"""Initial values: their distribution, their bounds, and their rounding."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import pytest
from scipy import stats

import tinymp as mp
from tinymp import nn
from tinymp.nn import init

SHAPE = (80, 50)
FAN_OUT, FAN_IN = SHAPE
# The seed is fixed, so these tests do not fail by chance; a right sampler has a p-value below this
# for one seed in a thousand.
SIGNIFICANCE = 1e-3


def sample(fill: Any, *arguments: Any, **options: Any) -> np.ndarray[Any, Any]:
    values: np.ndarray[Any, Any] = fill(mp.zeros(*SHAPE), *arguments, **options).numpy()
    return values.ravel()


def linear(name: str, out_features: int) -> np.ndarray[Any, Any]:
    return nn.Linear(FAN_IN, out_features).state_dict()[name].numpy().ravel()


@pytest.mark.parametrize(
    ("values", "bound"),
    [
        (lambda: sample(init.uniform_, -2.0, 2.0), 2.0),
        (lambda: sample(init.xavier_uniform_, gain=2.0), 2 * sqrt(6 / (FAN_IN + FAN_OUT))),
        (lambda: sample(init.kaiming_uniform_, a=0.0), sqrt(6 / FAN_IN)),
        (lambda: sample(init.kaiming_uniform_, mode="fan_out"), sqrt(6 / FAN_OUT)),
        (lambda: sample(init.kaiming_uniform_, a=sqrt(5)), sqrt(1 / FAN_IN)),
        (lambda: linear("weight", 80), sqrt(1 / FAN_IN)),
        (lambda: linear("bias", 4000), sqrt(1 / FAN_IN)),
    ],
)
def test_uniform_values_fill_their_bounds(values: Any, bound: float) -> None:
    drawn = values()
    assert np.abs(drawn).max() <= bound * (1 + 2**-23)
    assert stats.kstest(drawn / bound, stats.uniform(-1, 2).cdf).pvalue > SIGNIFICANCE


@pytest.mark.parametrize(
    ("values", "mean", "std"),
    [
        (lambda: sample(init.normal_, mean=1.0, std=3.0), 1.0, 3.0),
        (lambda: sample(init.xavier_normal_), 0.0, sqrt(2 / (FAN_IN + FAN_OUT))),
        (lambda: sample(init.kaiming_normal_, nonlinearity="tanh"), 0.0, 5 / 3 / sqrt(FAN_IN)),
    ],
)
def test_normal_values_have_their_mean_and_deviation(values: Any, mean: float, std: float) -> None:
    assert stats.kstest(values(), stats.norm(mean, std).cdf).pvalue > SIGNIFICANCE


def test_constants() -> None:
    assert sample(init.constant_, 0.1).tolist() == [float(np.float32(0.1))] * (FAN_IN * FAN_OUT)
    assert not sample(init.zeros_).any()
    assert (sample(init.ones_) == 1).all()


def test_it_is_written_in_place_and_returned_and_a_parameter_stays_a_leaf() -> None:
    parameter = nn.Parameter(mp.zeros(3, 3))
    assert init.normal_(parameter) is parameter
    assert parameter.is_leaf
    assert parameter.numpy().all()


@pytest.mark.parametrize("dtype", [mp.float16, mp.bfloat16, mp.float64])
def test_another_dtype_starts_from_the_rounded_float32_values(dtype: mp.DType) -> None:
    mp.manual_seed(5)
    reference = nn.Linear(30, 20)
    mp.manual_seed(5)
    layer = nn.Linear(30, 20, dtype=dtype)
    for name, tensor in layer.state_dict().items():
        expected = reference.state_dict()[name].to(dtype)
        np.testing.assert_array_equal(tensor.storage, expected.storage)


def test_every_device_starts_from_the_same_bits(device: str) -> None:
    mp.manual_seed(5)
    expected = nn.Linear(30, 20).weight.numpy()
    mp.manual_seed(5)
    np.testing.assert_array_equal(nn.Linear(30, 20, device=device).weight.numpy(), expected)


def test_fans_of_a_convolution() -> None:
    assert init.fan_in_and_fan_out(mp.zeros(8, 3, 5, 5)) == (75, 200)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\); they need at least two dimensions"):
        init.xavier_uniform_(mp.zeros(3))
    with pytest.raises(ValueError, match=r"mode='fan'.*one of fan_in, fan_out"):
        init.kaiming_uniform_(mp.zeros(3, 3), mode="fan")
    with pytest.raises(ValueError, match=r"nonlinearity='swish' was given.*leaky_relu, linear"):
        init.kaiming_normal_(mp.zeros(3, 3), nonlinearity="swish")
