"""An independent oracle: rounding by looking up neighbours in other people's tables of values."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tinymp.formats import DType, bfloat16, float8_e4m3fn, float8_e5m2, float16

PEERS = {
    float16: np.dtype(np.float16),
    bfloat16: np.dtype(ml_dtypes.bfloat16),
    float8_e4m3fn: np.dtype(ml_dtypes.float8_e4m3fn),
    float8_e5m2: np.dtype(ml_dtypes.float8_e5m2),
}


class Oracle:
    """A format below float32, known by the values that NumPy or ml_dtypes read in its words."""

    def __init__(self, dtype: DType) -> None:
        self.dtype = dtype
        self.peer = PEERS[dtype]
        self.words = np.arange(1 << dtype.bits).astype(dtype.words)
        with np.errstate(invalid="ignore"):  # signalling NaNs
            self.values = self.words.view(self.peer).astype(np.float64)
        half = self.values[: len(self.values) // 2]
        finite = half[np.isfinite(half)]
        # The value that the word after the last finite one would have if exponents went on.
        self.magnitudes = np.append(finite, 2 * finite[-1] - finite[-2])

    def below(self, x: Any) -> Any:
        """Index of the largest magnitude that is not above |x|: the word, but for overflow."""
        return np.searchsorted(self.magnitudes, np.abs(x), side="right") - 1

    def round(self, x: Any, mode: str, saturate: bool = False) -> Any:
        """Words of float64 values; every comparison is exact, for midpoints are float64 values."""
        last = len(self.magnitudes) - 2  # the word of the largest finite value
        low = np.minimum(self.below(x), last)
        word = low.copy()
        if mode == "nearest_even":
            midpoint = (self.magnitudes[low] + self.magnitudes[low + 1]) / 2
            word += (np.abs(x) > midpoint) | ((np.abs(x) == midpoint) & (low % 2 == 1))
        nan = np.flatnonzero(np.isnan(self.values))[0]
        infinite = np.flatnonzero(np.isinf(self.values))
        infinity = infinite[0] if len(infinite) else nan
        word = np.where(word > last, last if saturate else infinity, word)
        word = np.where(np.isinf(x), last if saturate else infinity, word)
        word = np.where(np.isnan(x), nan, word)
        return (word + np.where(np.signbit(x), len(self.values) // 2, 0)).astype(self.dtype.words)

    def same(self, ours: Any, theirs: Any) -> Any:
        """Whether words agree, NaNs being one class (with the same sign)."""
        both_nan = np.isnan(self.values[ours]) & np.isnan(self.values[theirs])
        same_sign = (ours ^ theirs) & self.dtype.sign_mask == 0
        return (ours == theirs) | (both_nan & same_sign)

    def edges(self, floating: type) -> Any:
        """All magnitudes, all midpoints, and their neighbours in a wider type, with both signs."""
        middles = (self.magnitudes[:-1] + self.magnitudes[1:]) / 2
        points = np.concatenate([self.magnitudes, middles]).astype(floating)
        up, down = np.nextafter(points, floating(np.inf)), np.nextafter(points, floating(-np.inf))
        special = np.array([np.inf, np.nan, np.finfo(floating).max], floating)
        tiny = np.array([np.finfo(floating).smallest_subnormal, np.finfo(floating).tiny], floating)
        edges = np.concatenate([points, up, down, special, tiny])
        return np.concatenate([edges, -edges])


@cache
def _oracle(dtype: DType) -> Oracle:
    return Oracle(dtype)


@pytest.fixture(scope="session")
def oracle() -> Callable[[DType], Oracle]:
    """Give the oracle of a format below float32."""
    return _oracle


@pytest.fixture(params=list(PEERS), ids=lambda dtype: dtype.name)
def narrow(request: pytest.FixtureRequest) -> DType:
    """Give each format below float32 in turn."""
    dtype: DType = request.param
    return dtype
