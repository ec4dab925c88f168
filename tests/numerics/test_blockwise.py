"""A formula in blocks gives what it gives at once."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from tinymp.devices import threads
from tinymp.formats import float16, float32, pack
from tinymp.numerics.blockwise import blockwise, rowwise
from tinymp.numerics.packed import Packed

SIZES = []


@blockwise
def slope(xp, g, x):
    SIZES.append(g.size)
    return g * (1 - xp.tanh(x) ** 2)


def plain(g, x):
    return g * (1 - np.tanh(x) ** 2)


@pytest.mark.parametrize("shape", [(), (0,), (3, 5), (65_536,), (65_537,), (70, 41, 30)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_bits_are_the_same(shape, dtype):
    g, x = np.random.default_rng(0).standard_normal((2, *shape)).astype(dtype)
    SIZES.clear()
    out = slope(np, g, x)
    assert out.shape == shape
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, plain(g, x))
    assert sum(SIZES) == g.size
    assert max(SIZES) <= 65_536


def test_what_lies_otherwise_is_computed_at_once():
    g, x = np.random.default_rng(0).standard_normal((2, 300, 400)).astype(np.float32)
    for a, b in ((g.T, x.T), (g, x[:1]), (g[:, ::2], x[:, ::2]), (g, x.astype(np.float64))):
        SIZES.clear()
        np.testing.assert_array_equal(slope(np, a, b), plain(a, b))
        assert SIZES == [a.size]


def test_it_keeps_its_signature():
    assert list(inspect.signature(slope).parameters) == ["xp", "g", "x"]


ROWS = []


@rowwise("x", "shift")
def normal(xp, x, weight=None, shift=None, *, scale):
    """Two results with a row for each of x, and one that may be missing."""
    ROWS.append(len(x.shape) and x.shape[0])
    values = x.values() if isinstance(x, Packed) else x
    total = values.sum(-1, keepdims=True) * scale
    out = values - total
    return out if weight is None else out * weight, total, None if shift is None else values + shift


@pytest.mark.parametrize("shape", [(7, 5), (5000, 30), (9, 3, 16_000), (3, 200_000)])
@pytest.mark.parametrize("count", [1, 4])
def test_rows_give_the_same_bits_in_threads(monkeypatch, shape, count):
    monkeypatch.setattr(threads, "_threads", lambda: count)
    x, shift = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
    weight = np.arange(shape[-1], dtype=np.float32)
    for arguments in ((x,), (x, weight), (x, weight, shift), (Packed(x, float32), None, shift)):
        ROWS.clear()
        found = normal(np, *arguments, scale=0.5)
        assert sum(ROWS) == shape[0]
        assert (len(ROWS) > 1) == (count > 1 and 8 * x.size >= 1 << 21)
        for ours, plain in zip(found, normal.__wrapped__(np, *arguments, scale=0.5), strict=True):
            np.testing.assert_array_equal(ours, plain)


def test_rows_that_do_not_match_are_computed_at_once(monkeypatch):
    monkeypatch.setattr(threads, "_threads", lambda: 4)
    x = np.random.default_rng(0).standard_normal((400, 1000)).astype(np.float32)
    narrow = Packed(pack(x, float16), float16)
    for arguments in ((x, None, x[:1]), (x, None, x[0]), (narrow,)):
        ROWS.clear()
        normal(np, *arguments, scale=0.5)
        assert ROWS == [400]


def test_what_goes_wrong_in_a_row_is_raised(monkeypatch):
    monkeypatch.setattr(threads, "_threads", lambda: 4)
    with pytest.raises(ValueError, match="broadcast"):
        normal(np, np.ones((400, 1000), np.float32), np.ones(7, np.float32), scale=0.5)
