"""Rounding that stays decoded gives what encoding and decoding give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymp.formats import (
    bfloat16,
    decode,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    pack,
    representable,
    unpack,
)
from tinymp.formats.few import FEW

MODES = ["nearest_even", "toward_zero"]


def check(values: Any, dtype: Any, mode: str) -> None:
    before = values.tobytes()
    with np.errstate(all="ignore"):
        expected = unpack(pack(values, dtype, mode), dtype)
        found = representable(values, dtype, mode)
    assert found.dtype == np.float32
    assert found.shape == values.shape
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))
    assert values.tobytes() == before
    assert not np.shares_memory(found, values)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=lambda dtype: dtype.name)
def test_all_values_and_their_midpoints(dtype: Any, mode: str) -> None:
    words = np.arange(1 << 16).astype(np.uint16)
    values = decode(words, dtype)
    finite = np.sort(values[np.isfinite(values)]).astype(np.float64)
    middle = ((finite[1:] + finite[:-1]) / 2).astype(np.float32)  # exact: one bit more
    for all_of_them in (values, middle, np.nextafter(middle, 0), np.nextafter(middle, np.inf)):
        for begin in range(0, len(all_of_them), FEW):
            check(all_of_them[begin : begin + FEW], dtype, mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [float16, bfloat16, float8_e4m3fn, float8_e5m2], ids=repr)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(0, 3000), scale=st.integers(-40, 40))
def test_any_values(dtype: Any, mode: str, seed: int, size: int, scale: int) -> None:
    random = np.random.default_rng(seed)
    check(random.integers(0, 2**32, size, np.uint32).view(np.float32), dtype, mode)
    values = np.ldexp(random.standard_normal(size), scale).astype(np.float32)
    values[random.random(size) < 0.1] *= 0
    check(values, dtype, mode)
    check(np.stack([values, values])[:, ::2], dtype, mode)
    check(np.asarray(np.float32(scale) / 3), dtype, mode)
