"""How wrong can a computed sum be? Bounds, as functions, each with the conditions it holds under.

All are relative to the sum of magnitudes: |computed - exact| ≤ bound · Σ|x_i|, for a product of
matrices ≤ bound · |A||B|. Each assumes that nothing overflows, and that products do not underflow
(sums need no such condition: a sum that is subnormal is exact).

`n` counts the roundings that a term passes on its way into the sum:

    sequential     n - 1 for n terms that the format holds, n for products or wider terms
    chunks         size + ⌈n / size⌉
    pairwise       ⌈log2 n⌉ + 1

`u` is the unit roundoff, `dtype.unit_roundoff(mode)`: 2^-p to nearest, 2^(1 - p) otherwise.
"""

from __future__ import annotations

from math import ceil, exp, expm1, inf, sqrt

from tinymp.numerics.architectures import DotProduct


def gamma(n: int, u: float) -> float:
    """γ_n = nu / (1 - nu): the worst that n roundings can do to a term. Infinite from nu = 1 on.

    It always holds, in every rounding mode, with that mode's u. Source: Higham, Accuracy and
    Stability of Numerical Algorithms (2nd ed., 2002), lemma 3.1 and equations (3.5) and (4.4).
    """
    return n * u / (1 - n * u) if n * u < 1 else inf


def probabilistic_gamma(n: int, u: float, confidence: float) -> float:
    """γ̃_n(λ) = exp(λ√n u + nu² / (1 - u)) - 1 for λ = `confidence`: about λ√n u.

    Holds for one sum with the probability `probability(u, confidence)` if rounding errors are mean
    zero and independent of each other, or mean independent:

    - under stochastic rounding they are, and the bound is a theorem (Connolly, Higham & Mary,
      Stochastic rounding and its probabilistic backward error analysis, SIAM J. Sci. Comput. 43,
      2021, section 4; u is 2^(1 - p) there);
    - to nearest it is a model, good for random terms (Higham & Mary, A new approach to
      probabilistic rounding error analysis, SIAM J. Sci. Comput. 41, 2019, theorem 2.4), but wrong
      for sums of equal terms, whose errors repeat: float16 ones stop at 2048;
    - toward zero the errors of a sum of positive terms all have one sign: it does not hold.
    """
    return expm1(confidence * sqrt(n) * u + n * u * u / (1 - u))


def probability(u: float, confidence: float) -> float:
    """1 - 2 exp(-λ²(1 - u)² / 2): how likely `probabilistic_gamma` holds for one sum, at least.

    For m sums at once, m times the rest may fail. Source: Higham & Mary (2019), theorem 2.4.
    """
    return max(0.0, 1 - 2 * exp(-((confidence * (1 - u)) ** 2) / 2))


def tensor_core_bound(k: int, core: DotProduct) -> float:
    """Bound for a dot product of length `k` on tensor cores with 24-bit (or shorter) results.

    One instruction cuts its products and the accumulator, each by less than a unit of the largest
    term, and then the sum. Cuts toward zero make no partial sum larger than the magnitudes that
    went into it, so ⌈k / products⌉ instructions lose at most that many times
    (products + 1)·2^-fraction_bits + 2^(1 - precision). Holds without a run of float32 additions,
    barring overflow and results below 2^-100. Follows Fasi, Higham, Mikaitis & Pranesh (PeerJ
    Computer Science 7:e330, 2021).
    """
    cut_terms = (core.products + 1) * 2.0**-core.fraction_bits
    return ceil(k / core.products) * (cut_terms + 2.0 ** (1 - core.precision))
