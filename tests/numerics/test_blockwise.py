"""A formula in blocks gives what it gives at once."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from tinymp.numerics.blockwise import blockwise

SIZES = []


@blockwise
def slope(xp, g, x):
    SIZES.append(g.size)
    return g * (1 - xp.tanh(x) ** 2)


def plain(g, x):
    return g * (1 - np.tanh(x) ** 2)


@pytest.mark.parametrize("shape", [(), (0,), (3, 5), (16_384,), (16_385,), (70, 41, 30)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_bits_are_the_same(shape, dtype):
    g, x = np.random.default_rng(0).standard_normal((2, *shape)).astype(dtype)
    SIZES.clear()
    out = slope(np, g, x)
    assert out.shape == shape
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, plain(g, x))
    assert sum(SIZES) == g.size
    assert max(SIZES) <= 16_384


def test_what_lies_otherwise_is_computed_at_once():
    g, x = np.random.default_rng(0).standard_normal((2, 200, 300)).astype(np.float32)
    for a, b in ((g.T, x.T), (g, x[:1]), (g[:, ::2], x[:, ::2]), (g, x.astype(np.float64))):
        SIZES.clear()
        np.testing.assert_array_equal(slope(np, a, b), plain(a, b))
        assert SIZES == [a.size]


def test_it_keeps_its_signature():
    assert list(inspect.signature(slope).parameters) == ["xp", "g", "x"]
