"""`where` and `maximum` give what NumPy's give, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from tinymp.numerics import select
from tinymp.numerics.select import maximum, where

SHAPE = (90, 100)


def same(a, b):
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    np.testing.assert_array_equal(
        np.ascontiguousarray(a).view(np.uint8), np.ascontiguousarray(b).view(np.uint8)
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.uint8])
def test_all_words_are_chosen_as_they_are(dtype):
    random = np.random.default_rng(0)
    bits = random.integers(0, 256, (2, *SHAPE, np.dtype(dtype).itemsize), dtype=np.uint8)
    x, y = bits.view(dtype)[..., 0]  # NaNs with payloads among them
    mask = random.random(SHAPE) < 0.5
    same(where(mask, x, y), np.where(mask, x, y))
    same(where(mask.T, x.T, y.T), np.where(mask.T, x.T, y.T))
    same(where(mask[:, ::2], x[:, ::2], y[:, ::2]), np.where(mask[:, ::2], x[:, ::2], y[:, ::2]))


@pytest.mark.parametrize("number", [0, -np.inf, np.nan, 1.5])
def test_numbers_take_the_type_of_the_array(number):
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    x[0, :3] = np.inf, -np.inf, -0.0
    same(where(x > 0, x, number), np.where(x > 0, x, number))
    same(where(x > 0, number, x), np.where(x > 0, number, x))
    same(where(x > 0, 1, number), np.where(x > 0, 1, number))


def test_lengths_broadcast():
    x = np.random.default_rng(0).standard_normal((2, *SHAPE)).astype(np.float32)
    for mask in (x[0] > 0, x > 0, x[:, :, :1] > 0):
        for y in (x[0], x[0, :1], np.float32(2)):
            same(where(mask, x, y), np.where(mask, x, y))
            same(where(mask, y, x), np.where(mask, y, x))


def test_anything_else_is_left_to_numpy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(select, "_FEW", 0)
    same(where(np.array([0, 1, 2]), np.float32([1, 2, 3]), 0), np.float32([0, 2, 3]))
    assert where(np.bool_(True), 1.0, 2.0) == 1.0
    assert where(np.array([True]), 1, 2).tolist() == [1]
    same(where(np.array(True), np.float32(1), np.float32(2)), np.array(1, np.float32))


@pytest.mark.parametrize("size", [0, 1, 7, 100, select._MANY + 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
def test_the_larger_of_an_array_and_a_number(dtype, size):
    beyond = [np.nan, -np.nan, np.inf, -np.inf] if np.dtype(dtype).kind == "f" else []
    edges = np.array([-0.0, 0.0, 1, -1, *beyond]).astype(dtype)
    x = np.resize(edges, size)
    for y in (0, 1, -1, 0.5, False):
        same(maximum(x, y), np.maximum(x, y))
    same(maximum(x.reshape(1, -1), x), np.maximum(x.reshape(1, -1), x))


def test_the_larger_of_two_numbers():
    assert maximum(np.float32(-1), 0) == 0
    assert maximum(np.array(-1.0), 0) == 0
