"""The normal distribution against the C library's erfc, and exact continued fractions, in ulps."""

from __future__ import annotations

from decimal import Decimal, localcontext
from math import erf as reference_erf
from math import erfc as reference_erfc
from typing import Any

import numpy as np
import pytest

from tinymp.numerics.special import erf, erfc, normal

# Horner's rule with positive coefficients of degree 8 errs by up to 16 roundings, half an ulp each.
ULPS = 10
PI = Decimal("3.14159265358979323846264338327950288419716939937511")


def ulps(found: Any, exact: Any) -> Any:
    """Error in units of the last place of the exact value, in the dtype of what was found."""
    unit = np.spacing(np.abs(exact).astype(found.dtype)).astype(np.float64)
    return np.abs(found.astype(np.float64) - exact) / unit


def arguments(dtype: Any, largest: float) -> Any:
    """A fine grid, every scale near zero, and both sides of the places where formulas change."""
    seams = [0.46875, 0.6, 4.0, 0.46875 * 2**0.5, 4 * 2**0.5]
    near = np.concatenate([s + np.arange(-40, 41) * np.spacing(dtype(s)) for s in seams])
    x = np.concatenate([np.linspace(0, largest, 20011), np.logspace(-37, 0, 400), near])
    return np.concatenate([x, -x]).astype(dtype)


def exact_cdf(x: float) -> float:
    """Φ(x) by its power series for |x| < 4, else by the continued fraction of Mills' ratio."""
    with localcontext() as context:
        context.prec = 50
        value = abs(Decimal(x))
        density = (-value * value / 2).exp() / (2 * PI).sqrt()
        if value < 4:
            term = total = value
            for k in range(3, 201, 2):
                term = term * value * value / k
                total += term
            tail = Decimal("0.5") - density * total
        else:
            fraction = value
            for k in range(200, 0, -1):
                fraction = value + k / fraction
            tail = density / fraction
        return float(tail if x < 0 else 1 - tail)


@pytest.mark.parametrize(("dtype", "largest"), [(np.float32, 10.5), (np.float64, 27.5)])
def test_erfc(dtype: Any, largest: float) -> None:
    x = arguments(dtype, largest)
    found = erfc(np, x)
    assert found.dtype == dtype
    exact = np.array([reference_erfc(v) for v in x.astype(np.float64)])
    with np.errstate(under="ignore"):
        assert ulps(found, exact).max() <= ULPS


@pytest.mark.parametrize(("dtype", "largest"), [(np.float32, 5.0), (np.float64, 7.0)])
def test_erf(dtype: Any, largest: float) -> None:
    x = arguments(dtype, largest)
    found = erf(np, x)
    assert found.dtype == dtype
    assert ulps(found, np.array([reference_erf(v) for v in x.astype(np.float64)])).max() <= ULPS


@pytest.mark.parametrize(("dtype", "largest"), [(np.float32, 14.5), (np.float64, 38.6)])
def test_normal_cdf(dtype: Any, largest: float) -> None:
    x = arguments(dtype, largest)[::37]
    found = normal(np, x)[0]
    assert found.dtype == dtype
    assert ulps(found, np.array([exact_cdf(float(v)) for v in x])).max() <= ULPS


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normal_pdf(dtype: Any) -> None:
    x = arguments(dtype, 12)
    found = normal(np, x)[1]
    assert found.dtype == dtype
    wide = [Decimal(float(v)) for v in x[::20]]
    exact = [float((-v * v / 2).exp() / (2 * PI).sqrt()) for v in wide]
    assert ulps(found[::20], np.array(exact)).max() <= ULPS


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_at_the_ends(dtype: Any) -> None:
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, np.finfo(dtype).max], dtype)
    np.testing.assert_array_equal(erfc(np, x), np.array([0, 2, np.nan, 1, 1, 0], dtype))
    np.testing.assert_array_equal(normal(np, x)[0], np.array([1, 0, np.nan, 0.5, 0.5, 1], dtype))
    peak = dtype(1 / np.sqrt(2 * np.pi))
    np.testing.assert_array_equal(normal(np, x)[1], [0, 0, np.nan, peak, peak, 0])
