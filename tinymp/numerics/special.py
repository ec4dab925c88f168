"""The normal distribution, whose error function NumPy lacks."""

from __future__ import annotations

from math import pi, sqrt
from typing import Any

import numpy as np

Array = Any

# Coefficients of Cody's rational approximations, from the highest power down: W. J. Cody, Rational
# Chebyshev approximations for the error function, Math. Comp. 23 (1969), tables II and III.
_ERF_SMALL = (
    (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2,
     3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
     2.84423683343917062e3),
)  # fmt: skip
_ERFC_MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
     1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
     1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3,
     1.23033935480374942e3),
)  # fmt: skip
_ERFC_LARGE = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
     1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242, 1.87295284992346725, 5.27905102951428412e-1, 6.05183413124413191e-2,
     2.33520497626869185e-3),
)  # fmt: skip

# For float32 a single formula serves from 0 to infinity, and one for erf near 0. The coefficients
# are our own: polynomials of least maximal relative error, by least squares with weights that
# Lawson's iteration finds (2^-27 for both).
#     erfc(y) = t·Q(t)·e^(-y²), t = 1/(1 + 0.4y), y ≥ 0        erf(x) = x·R(x²), |x| ≤ 0.6
_ERFC_FLOAT32 = (-0.02921516844, 0.1404469745, -0.2355278124, 0.1375620828, -0.0468956696,
    0.08391663557, 0.1190082319, 0.1717392966, 0.207613728, 0.2256758602, 0.2256758348)  # fmt: skip
_ERF_FLOAT32 = (0.004512357981, -0.02664698635, 0.1128099173, -0.3761251261, 1.128379158)


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    """A polynomial by Horner's rule, in the memory of one array."""
    first, *between, last = coefficients
    result = first * x
    for coefficient in between:
        result += coefficient
        result *= x
    result += last
    return result


def _ratio(polynomials: tuple[tuple[float, ...], tuple[float, ...]], x: Array) -> Array:
    """Quotient of two polynomials."""
    numerator, denominator = (_polynomial(c, x) for c in polynomials)
    numerator /= denominator
    return numerator


def _gaussian(xp: Any, y: Array, scale: float) -> Array:
    """e^(-scale·y²) for y ≥ 0 and a `scale` that is a power of two.

    As a product of two factors, so that the rounding of y² is not magnified: h has few enough bits
    that h² is exact, and (y - h)(y + h), the rest of y², is small. A kernel knows a shorter way.
    """
    if hasattr(xp, "gaussian"):
        return xp.gaussian(y, scale)
    h = xp.floor(xp.minimum(y, 64) * 16) / 16
    return xp.exp(-scale * h * h) * xp.exp(-scale * (y - h) * (y + h))


def _erfc(xp: Any, x: Array, gaussian: Array) -> Array:
    """erfc(x), given e^(-x²)."""
    y = xp.abs(x)
    if x.dtype == np.float32:
        t = 1 / (1 + 0.4 * y)
        tail = _polynomial(_ERFC_FLOAT32, t)
        tail *= t
        tail *= gaussian
        return xp.where(x < 0, 2 - tail, tail)
    small = y <= 0.46875
    # Each formula sees only arguments of its own interval; the others get a harmless stand-in.
    middle = xp.clip(y, 0.46875, 4)
    large = xp.maximum(y, 4)
    square = 1 / (large * large)
    # Above 4: e^(-x²) (1/√π - r(1/x²)/x²) / x
    tail = gaussian * xp.where(
        y <= 4,
        _ratio(_ERFC_MIDDLE, middle),
        (1 / sqrt(pi) - square * _ratio(_ERFC_LARGE, square)) / large,
    )
    tail = xp.where(x < 0, 2 - tail, tail)
    return xp.where(small, 1 - x * _ratio(_ERF_SMALL, xp.where(small, x * x, 0)), tail)


def gaussian(xp: Any, x: Array) -> Array:
    """e^(-x²), elementwise, within 10 ulps of the dtype."""
    return _gaussian(xp, xp.abs(x), 1)


def erf(xp: Any, x: Array) -> Array:
    """Error function 2/√π ∫₀ˣ e^(-t²) dt, elementwise, within 10 ulps of the dtype."""
    single = x.dtype == np.float32
    near = xp.abs(x) <= (0.6 if single else 0.46875)  # further out, 1 - erfc cancels one bit
    square = xp.where(near, x * x, 0)
    quotient = _polynomial(_ERF_FLOAT32, square) if single else _ratio(_ERF_SMALL, square)
    return xp.where(near, x * quotient, xp.sign(x) * (1 - erfc(xp, xp.abs(x))))


def erfc(xp: Any, x: Array) -> Array:
    """Complementary error function 1 - erf(x), elementwise, within 10 ulps of the dtype.

    In the upper tail, where 1 - erf(x) would cancel, it is computed as such.
    """
    return _erfc(xp, x, _gaussian(xp, xp.abs(x), 1))


def normal(xp: Any, x: Array) -> tuple[Array, Array]:
    """Φ(x) and φ(x), distribution function and density of the standard normal distribution.

    Both are within 10 ulps of the dtype, the tails included.
    """
    # e^(-x²/2) is taken from x: the rounding of x/√2 would cost x² ulps.
    gaussian = _gaussian(xp, xp.abs(x), 0.5)
    return 0.5 * _erfc(xp, -x * sqrt(0.5), gaussian), gaussian * (1 / sqrt(2 * pi))
