"""Gradient clipping by norm and by value."""

from __future__ import annotations

from math import fsum, inf, nan, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinymp as mp
from tinymp import nn, optim

DTYPES = [mp.float64, mp.float32, mp.float16, mp.bfloat16]


def with_gradients(
    *gradients: Any, dtype: mp.DType = mp.float32, device: str = "cpu"
) -> list[nn.Parameter]:
    parameters = []
    for gradient in gradients:
        p = nn.Parameter(mp.zeros(np.shape(gradient), dtype=dtype, device=device))
        p.grad = mp.tensor(gradient, dtype=dtype, device=device)
        parameters.append(p)
    return parameters


def flat(parameters: list[nn.Parameter]) -> np.ndarray[Any, Any]:
    return np.concatenate([p.grad.numpy().ravel() for p in parameters if p.grad is not None])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, inf])
def test_the_norm_is_that_of_all_gradients_as_one_vector(
    dtype: mp.DType, p: float, device: str
) -> None:
    """Computed in float64, where thirty roundings do not show, and rounded once."""
    rng = np.random.default_rng(0)
    shapes = [(3, 4), (7,), (), (0, 2), (5000, 17)]
    parameters = with_gradients(*[rng.normal(size=s) for s in shapes], dtype=dtype, device=device)
    values = np.abs(flat(parameters).astype(np.float64))
    norm = optim.clip_grad_norm_(parameters, 1e9, p)
    expected = values.max() if p == inf else fsum(values**p) ** (1 / p)
    assert norm.dtype is (mp.float64 if dtype is mp.float64 else mp.float32)
    assert norm.shape == ()
    u = 1e-12 if dtype is mp.float64 else 2.0**-24 * (1 + 1e-6)
    assert abs(norm.item() - expected) <= u * expected
    assert norm.device == parameters[0].device


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    values=st.lists(st.floats(-100, 100, width=16), min_size=1, max_size=8),
    max_norm=st.floats(0.015625, 100, width=32),
)
def test_afterwards_the_norm_is_at_most_max_norm(
    dtype: mp.DType, values: list[float], max_norm: float
) -> None:
    """Each element is rounded twice: the factor to the compute dtype, the product to its own."""
    parameters = with_gradients(values, dtype=dtype)
    before = flat(parameters)
    norm = optim.clip_grad_norm_(parameters, max_norm).item()
    after = flat(parameters)
    u = dtype.unit_roundoff("nearest_even" if dtype is not mp.bfloat16 else None)
    subnormal = dtype.smallest_subnormal * sqrt(len(values))
    length = sqrt(fsum(float(x) ** 2 for x in after))
    assert length <= min(max_norm, norm) * (1 + u) * (1 + 2.0**-22) + subnormal
    if norm + 1e-6 <= max_norm:
        np.testing.assert_array_equal(after, before)
    else:
        scale = max_norm / (norm + 1e-6)
        tolerance = (u + 2.0**-22) * np.abs(before) * scale + dtype.smallest_subnormal
        assert (np.abs(after - before * scale) <= tolerance).all()


def test_squares_of_large_float16_and_float32_gradients_do_not_overflow() -> None:
    parameters = with_gradients([60000.0] * 4, dtype=mp.float16)
    assert optim.clip_grad_norm_(parameters, 1.0).item() == np.float32(2 * 59999.984375 + 0.03125)
    np.testing.assert_array_equal(flat(parameters), 0.5)
    parameters = with_gradients([1e30, 1e30])
    assert optim.clip_grad_norm_(parameters, 1.0).item() == pytest.approx(sqrt(2) * 1e30)
    np.testing.assert_allclose(flat(parameters), sqrt(0.5), rtol=1e-6)


def test_squares_of_small_gradients_do_not_vanish() -> None:
    parameters = with_gradients([2.0**-24] * 4, dtype=mp.float16)
    assert optim.clip_grad_norm_(parameters, 1.0).item() == 2.0**-23


def test_one_tensor_or_none_with_gradients() -> None:
    (p,) = with_gradients([3.0, 4.0])
    assert optim.clip_grad_norm_(p, 1.0).item() == 5.0
    assert optim.clip_grad_norm_([nn.Parameter(mp.ones(2))], 1.0).item() == 0.0
    assert optim.clip_grad_norm_([], 1.0).item() == 0.0
    assert optim.clip_grad_norm_(with_gradients([]), 1.0).item() == 0.0


def test_an_infinite_or_nan_norm_can_be_an_error_that_changes_nothing() -> None:
    for bad in (inf, -inf, nan):
        parameters = with_gradients([1.0, bad])
        with pytest.raises(RuntimeError, match=r"norm of the gradients is (inf|nan), so they"):
            optim.clip_grad_norm_(parameters, 1.0, error_if_nonfinite=True)
        np.testing.assert_array_equal(flat(parameters), np.float32([1.0, bad]))


def test_without_the_error_they_spread_as_in_pytorch() -> None:
    parameters = with_gradients([1.0, inf])
    assert optim.clip_grad_norm_(parameters, 1.0).item() == inf
    np.testing.assert_array_equal(flat(parameters), [0.0, nan])
    parameters = with_gradients([1.0, nan])
    assert np.isnan(optim.clip_grad_norm_(parameters, 1.0).item())
    np.testing.assert_array_equal(flat(parameters), [nan, nan])


def test_a_clipped_gradient_is_a_new_version() -> None:
    (p,) = with_gradients([3.0, 4.0])
    assert p.grad is not None
    before = p.grad.version.count
    optim.clip_grad_norm_(p, 1.0)
    optim.clip_grad_value_(p, 0.1)
    assert p.grad.version.count == before + 2


def test_clipping_by_value_cuts_each_element_and_keeps_nan(device: str) -> None:
    parameters = with_gradients([3.0, -0.5, nan], [-inf], device=device)
    optim.clip_grad_value_([*parameters, nn.Parameter(mp.ones(1))], 1.0)
    np.testing.assert_array_equal(flat(parameters), [1.0, -0.5, nan, -1.0])


def test_errors() -> None:
    for bad in (-1.0, nan):
        with pytest.raises(ValueError, match=rf"max_norm={bad} was given; it must be a number"):
            optim.clip_grad_norm_([], bad)
        with pytest.raises(ValueError, match=rf"clip_value={bad} was given; it must be a number"):
            optim.clip_grad_value_([], bad)
    with pytest.raises(ValueError, match=r"norm_type=0 was given; it must be above 0"):
        optim.clip_grad_norm_([], 1.0, 0)
