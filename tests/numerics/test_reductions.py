"""Sums and maxima along an axis are NumPy's: sums within the bound of any order, maxima exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tinymp.numerics import reductions
from tinymp.numerics.bounds import gamma
from tinymp.numerics.reductions import max_along, sum_along

SHAPES = npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=9)
LAYOUTS = {
    "as it is": lambda x: x,
    "transposed": lambda x: x.T,
    "every other": lambda x: x[..., ::2],
    "backwards": lambda x: x[::-1],
}


@st.composite
def cases(draw: Any) -> tuple[Any, Any, bool]:
    dtype = draw(st.sampled_from([np.float32, np.float64, np.int64]))
    shape = draw(SHAPES)
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = (random.standard_normal(shape) * 100).astype(dtype)
    x = LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](x)
    several = st.sets(st.integers(0, x.ndim - 1)).map(tuple)
    axis = draw(st.one_of(st.none(), st.integers(-x.ndim, x.ndim - 1), several))
    return x, axis, draw(st.booleans())


@settings(max_examples=500)
@given(cases())
@example((np.zeros((2, 3, 0), np.float32), -1, True))
@example((np.zeros((0, 3), np.float32), 0, False))
@example((np.zeros((3, 0), np.float64), 1, False))
def test_sums_lie_within_the_bound_of_any_order(case: Any) -> None:
    x, axis, keepdims = case
    found = sum_along(x, axis, keepdims)
    exact = x.astype(np.longdouble).sum(axis=axis, keepdims=keepdims)
    assert found.dtype == x.sum(axis=axis).dtype
    assert found.shape == exact.shape
    if x.dtype.kind == "i":
        np.testing.assert_array_equal(found, exact)
        return
    terms = max(1, x.size // max(1, exact.size))
    size = np.abs(x.astype(np.longdouble)).sum(axis=axis, keepdims=keepdims)
    assert (np.abs(found - exact) <= gamma(terms, np.finfo(x.dtype).eps / 2) * size).all()


@given(cases(), st.sampled_from([0.0, 0.2, 1.0]))
def test_maxima_are_numpys_nan_included(case: Any, nans: float) -> None:
    x, axis, keepdims = case
    if x.dtype.kind == "f":
        x = np.where(np.random.default_rng(0).random(x.shape) < nans, np.nan, x).astype(x.dtype)
    try:
        expected = np.max(x, axis=axis, keepdims=keepdims)
    except ValueError as error:  # no elements
        with pytest.raises(ValueError, match=str(error).split()[0]):
            max_along(x, axis, keepdims)
        return
    np.testing.assert_array_equal(max_along(x, axis, keepdims), expected, strict=True)


def test_long_rows_are_left_to_numpy_which_adds_them_in_pairs() -> None:
    x = np.full((2, 1 << 20), 0.1, np.float32)
    exact = x.astype(np.float64).sum(axis=1)
    assert (np.abs(sum_along(x, 1) - exact) <= gamma(20 + 128, 2.0**-24) * exact).all()


def test_infinities_meet_as_in_any_sum() -> None:
    x = np.array([[np.inf, 1, 2], [np.inf, -np.inf, 0], [np.nan, 0, 1]], np.float32)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(sum_along(x, 1), [np.inf, np.nan, np.nan])


def test_the_ones_that_are_kept_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        reductions._ones(3, np.dtype(np.float32))[0] = 2


@pytest.mark.parametrize("axis", [2, -3, (0, 2), (0, 0)])
def test_an_axis_that_is_not_there_is_refused(axis: Any) -> None:
    with pytest.raises(ValueError, match="axis"):
        sum_along(np.ones((2, 3), np.float32), axis)


def test_numpys_integers_are_axes() -> None:
    x = np.ones((2, 3, 4), np.float32)
    np.testing.assert_array_equal(sum_along(x, np.int64(0)), np.full((3, 4), 2))
    np.testing.assert_array_equal(sum_along(x[0], np.int64(1)), np.full(3, 4))


def test_long_vectors_of_ones_are_not_kept() -> None:
    dtype = np.dtype(np.float32)
    assert reductions._ones(reductions._KEPT, dtype) is reductions._ones(reductions._KEPT, dtype)
    assert reductions._ones(reductions._KEPT + 1, dtype) is not reductions._ones(
        reductions._KEPT + 1, dtype
    )
