"""The normal distribution, whose error function NumPy lacks."""

from __future__ import annotations

from math import pi, sqrt
from typing import Any

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


def _ratio(polynomials: tuple[tuple[float, ...], tuple[float, ...]], x: Array) -> Array:
    """Quotient of two polynomials by Horner's rule."""
    (p, *above), (q, *below) = polynomials
    numerator, denominator = p * x, q * x
    for p, q in zip(above[:-1], below[:-1], strict=True):
        numerator += p
        numerator *= x
        denominator += q
        denominator *= x
    numerator += above[-1]
    denominator += below[-1]
    numerator /= denominator
    return numerator


def _gaussian(xp: Any, y: Array, scale: float) -> Array:
    """e^(-scale·y²) for y ≥ 0 and a `scale` that is a power of two.

    As a product of two factors, so that the rounding of y² is not magnified: h has few enough bits
    that h² is exact, and (y - h)(y + h), the rest of y², is small.
    """
    h = xp.floor(xp.minimum(y, 64) * 16) / 16
    return xp.exp(-scale * h * h) * xp.exp(-scale * (y - h) * (y + h))


def _erfc(xp: Any, x: Array, gaussian: Array) -> Array:
    """erfc(x), given e^(-x²)."""
    y = xp.abs(x)
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
    near = xp.abs(x) <= 0.46875  # further out, 1 - erfc cancels at most one bit
    square = xp.where(near, x * x, 0)
    return xp.where(near, x * _ratio(_ERF_SMALL, square), xp.sign(x) * (1 - erfc(xp, xp.abs(x))))


def erfc(xp: Any, x: Array) -> Array:
    """Complementary error function 1 - erf(x), elementwise, within 10 ulps of the dtype.

    In the upper tail, where 1 - erf(x) would cancel, it is computed as such.
    """
    return _erfc(xp, x, _gaussian(xp, xp.abs(x), 1))


def normal_cdf(xp: Any, x: Array) -> Array:
    """Φ(x), the standard normal distribution function, within 10 ulps, the tails included."""
    # e^(-x²/2) is taken from x: the rounding of x/√2 would cost x² ulps.
    return 0.5 * _erfc(xp, -x * sqrt(0.5), _gaussian(xp, xp.abs(x), 0.5))


def normal_pdf(xp: Any, x: Array) -> Array:
    """φ(x), the standard normal density, within 10 ulps."""
    return _gaussian(xp, xp.abs(x), 0.5) * (1 / sqrt(2 * pi))
