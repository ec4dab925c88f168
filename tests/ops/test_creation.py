"""Tensors that are made, not computed: filled, counted, drawn; and questions about tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

import tinymp as mp

FLOATS = [mp.float64, mp.float32, mp.float16, mp.bfloat16]
X = mp.tensor([[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
def test_filled_and_counted(dtype: Any) -> None:
    made = {
        "eye": (mp.eye(2, 3, dtype), np.eye(2, 3)),
        "square eye": (mp.eye(2, dtype=dtype), np.eye(2)),
        "full_like": (mp.full_like(X.to(dtype), 1.5), np.full((2, 2), 1.5)),
        "linspace": (mp.linspace(-1, 1, 9, dtype), np.linspace(-1, 1, 9)),
        "linspace of one": (mp.linspace(2, 3, 1, dtype), [2.0]),
        "linspace of none": (mp.linspace(2, 3, 0, dtype), np.zeros(0)),
    }
    for name, (found, expected) in made.items():
        assert found.dtype is dtype, name
        np.testing.assert_array_equal(found.numpy(), expected)
    third = mp.linspace(0, 1, 4, mp.float16)[1].item()
    assert third == np.float16(1 / 3)  # rounded once, from float64


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
def test_of_a_number_of_numpy(dtype: Any) -> None:
    made = mp.tensor(np.float64(0.5), dtype)
    assert (made.shape, made.dtype, made.item()) == ((), dtype, 0.5)
    assert mp.tensor(np.float64(0.5)).dtype is mp.float64
    assert mp.tensor(np.int32(3)).dtype is mp.int64


def test_drawn_like_another_tensor() -> None:
    like = X.half()
    for function in (mp.rand_like, mp.randn_like):
        drawn = function(like, requires_grad=True)
        assert (drawn.shape, drawn.dtype, drawn.requires_grad) == (like.shape, mp.float16, True)
        assert function(like, dtype="bfloat16").dtype is mp.bfloat16


def test_integers_are_equally_likely() -> None:
    counts = np.bincount(mp.randint(3, 10, (7000,)).numpy(), minlength=10)
    assert counts[:3].sum() == 0
    assert stats.chisquare(counts[3:]).pvalue > 1e-3
    assert mp.randint(5, size=3, dtype=mp.float16).dtype is mp.float16
    assert mp.randint(2**62, 2**62 + 1, (2,)).tolist() == [2**62] * 2
    with pytest.raises(ValueError, match="low=3 and high=3; the second must be the larger"):
        mp.randint(3, 3)


def test_a_permutation_has_every_number_once_and_repeats_with_the_seed() -> None:
    mp.manual_seed(1)
    first = mp.randperm(100)
    mp.manual_seed(1)
    assert first.tolist() == mp.randperm(100).tolist() != sorted(first.tolist())
    assert sorted(first.tolist()) == list(range(100))
    assert mp.randperm(0).shape == (0,)
    places = np.bincount([mp.randperm(3).tolist().index(0) for _ in range(900)])
    assert stats.chisquare(places).pvalue > 1e-3


def test_bernoulli() -> None:
    p = mp.tensor([[0.0], [0.25], [1.0]], mp.float16).expand(3, 4000)
    drawn = mp.bernoulli(p)
    assert drawn.dtype is mp.float16
    assert set(np.unique(drawn.numpy())) == {0, 1}
    means = drawn.numpy().mean(1)
    assert (means[0], means[2]) == (0, 1)
    assert abs(means[1] - 0.25) < 5 * (0.25 * 0.75 / 4000) ** 0.5
    with pytest.raises(ValueError, match="takes probabilities"):
        mp.bernoulli(mp.tensor([1.5]))


@pytest.mark.parametrize("replacement", [True, False])
def test_multinomial_draws_by_the_weights(replacement: bool) -> None:
    weights = mp.tensor([1.0, 0.0, 3.0, 4.0])
    first = mp.multinomial(weights.expand(4000, 4), 1, replacement).numpy()[:, 0]
    counts = np.bincount(first, minlength=4)
    assert counts[1] == 0
    assert stats.chisquare(counts[[0, 2, 3]], np.array([1, 3, 4]) * 500).pvalue > 1e-3
    three = mp.multinomial(weights, 3, replacement).tolist()
    assert replacement or sorted(three) == [0, 2, 3]
    assert mp.multinomial(weights, 5, True).shape == (5,)
    with pytest.raises(ValueError, match=r"num_samples=4.*above 0 as samples: here 3"):
        mp.multinomial(weights, 4)
    with pytest.raises(ValueError, match="finite and at least 0"):
        mp.multinomial(-weights, 1, True)


def test_equal_and_close() -> None:
    assert mp.equal(X, X.half())
    assert not mp.equal(X, X[:1])
    assert not mp.equal(mp.tensor([np.nan]), mp.tensor([np.nan]))
    assert mp.allclose(X, X + 1e-6)
    assert not X.allclose(X + 1e-3)
    assert X.allclose(X + 1e-3, atol=1e-2)
    nan = mp.tensor([np.nan])
    assert mp.allclose(nan, nan, equal_nan=True)
    assert not mp.allclose(nan, nan)


def test_methods_that_look_or_change_in_place() -> None:
    x = mp.ones(2, 3)
    assert (x.numel(), x.dim(), x.contiguous() is x) == (6, 2, True)
    assert mp.ones(3).expand_as(x).shape == x.shape
    assert mp.ones(6).view_as(x).shape == mp.ones(6).reshape_as(x).shape == x.shape
    assert x.type_as(x.half()).dtype is mp.float16
    y = mp.tensor([1.0, 5.0], mp.float16)
    assert y.sub_(0.5).mul_(2).div_(4).clamp_(max=2).tolist() == [0.25, 2]
    assert y.dtype is mp.float16
    assert y.version.count == 4


def test_division_with_a_remainder_is_pythons() -> None:
    x = mp.tensor([-7, 7, -8])
    assert ((x // 3).tolist(), (x % 3).tolist()) == ([-3, 2, -3], [2, 1, 1])
    assert ((20 // x).tolist(), (20 % x).tolist()) == ([-3, 2, -3], [-1, 6, -4])
    assert (x // 3).dtype is (x % 3).dtype is mp.int64


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float6_e2m3fn"])
def test_arrays_of_ml_dtypes_are_taken_word_for_word(name: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = np.array([1.5, -0.0, 2.0, 0.25]).astype(getattr(ml_dtypes, name))
    copied, shared = mp.tensor(values), mp.from_numpy(values)
    assert copied.dtype is shared.dtype
    assert copied.dtype.name == name
    for tensor in (copied, shared):
        np.testing.assert_array_equal(tensor.numpy(), values.astype(np.float32))
    values[0] = 1.0
    assert shared.numpy()[0] == 1
    assert copied.numpy()[0] == 1.5
    assert mp.tensor(values, mp.float32).dtype is mp.float32
    with pytest.raises(TypeError, match="of NumPy type int4"):
        mp.tensor(np.zeros(2, ml_dtypes.int4))
