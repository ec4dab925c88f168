"""A packed matrix is decoded once, in whatever shape it is asked for."""

from __future__ import annotations

import numpy as np
import pytest

from tinymp.formats import bfloat16, float16, float32, float64, pack
from tinymp.numerics import packed
from tinymp.numerics.packed import Packed


@pytest.mark.parametrize("dtype", [float16, bfloat16, float32, float64], ids=str)
def test_views_have_the_values_of_the_whole(dtype):
    values = np.arange(24, dtype=np.float64 if dtype is float64 else np.float32)
    matrix = Packed(pack(values.reshape(2, 3, 4), dtype), dtype)
    for view, expected in (
        (matrix, values.reshape(2, 3, 4)),
        (matrix.mT, values.reshape(2, 3, 4).swapaxes(-1, -2)),
        (matrix.reshape(6, 4).mT, values.reshape(6, 4).T),
        (matrix.mT.mT.reshape(-1), values),
    ):
        assert view.shape == expected.shape
        np.testing.assert_array_equal(view.values(), expected)
        np.testing.assert_array_equal(Packed(view.storage, dtype).values(), expected)


def test_it_is_decoded_once(monkeypatch: pytest.MonkeyPatch):
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return unpack(*arguments)

    unpack = packed.unpack
    monkeypatch.setattr(packed, "unpack", counted)
    matrix = Packed(pack(np.ones((3, 4), np.float32), float16), float16)
    for view in (matrix.mT, matrix, matrix.reshape(2, 6), matrix.mT):
        view.values()
    assert len(calls) == 1


def test_float32_is_not_copied():
    storage = np.ones((3, 4), np.float32)
    assert Packed(storage, float32).values() is storage
    assert np.shares_memory(Packed(storage, float32).mT.values(), storage)
