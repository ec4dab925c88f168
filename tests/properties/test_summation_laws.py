"""Law 10: what is known of the error of a sum, for every order, format and rounding mode.

|computed - Σ xᵢ| ≤ γ_m Σ|xᵢ|        always; m is the number of roundings that a term passes
|computed - Σ xᵢ| ≤ γ̃_m(λ) Σ|xᵢ|    for stochastic rounding, with the probability of the theorem
"""

from __future__ import annotations

from math import ceil, log2

import numpy as np
import pytest

from tinymp.formats import MODES, bfloat16, decode, encode, float8_e5m2, float16, float32
from tinymp.numerics import ARCHITECTURES, accumulator, bounds, tensor_core_matmul

ORDERS = {
    "sequential": ({}, lambda n: n),
    "chunked": ({"size": 7}, lambda n: 7 + ceil(n / 7)),
    "pairwise": ({}, lambda n: ceil(log2(n)) + 1),
}
FORMATS = [float32, float16, bfloat16, float8_e5m2]
n_terms, n_sums = 24, 64  # 1,536 terms an example


def terms(seed, dtype):
    """Columns of terms that cancel, differ widely, are equal, or are ties; far from overflow."""
    rng = np.random.default_rng(seed)
    shape = n_terms, n_sums
    x = rng.standard_normal(shape) * np.exp2(rng.integers(-dtype.precision, 3, shape))
    x[:, : n_sums // 4] = np.abs(x[:, : n_sums // 4])
    x[:, 0] = x[0, 0]  # equal terms
    half = n_terms // 2
    x[half:, 1] = -x[:half, 1]  # the exact sum is zero
    x[:, 2] = 1 + 2.0**-dtype.precision  # the middle between two numbers
    x[:, 3] *= dtype.smallest_normal  # subnormal numbers: sums are exact there
    return x.astype(np.float32)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", FORMATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("mode", MODES)
def test_10_a_sum_keeps_within_gamma(order, dtype, mode, every_seed):
    options, roundings = ORDERS[order]
    how = accumulator(order, dtype=dtype, rounding=mode, **options)
    gamma = bounds.gamma(roundings(n_terms), dtype.unit_roundoff(mode))
    # A wide term that is subnormal in the format is rounded by up to its smallest number.
    subnormal = n_terms * dtype.smallest_subnormal

    @every_seed
    def law(seed):
        x = terms(seed, dtype)
        exact, size = x.sum(0, dtype=np.float64), np.abs(x).sum(0, dtype=np.float64)
        assert (np.abs(how.sum(x, 0) - exact) <= gamma * size + subnormal).all()


@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=lambda dtype: dtype.name)
def test_10_a_stochastic_sum_keeps_within_the_probabilistic_bound(dtype, every_seed):
    """λ = 6 holds for one sum with a probability above 1 - 4e-8: for all sums of 1,000 examples."""
    how = accumulator("stochastic", dtype=dtype)
    n, u = 64, dtype.unit_roundoff("stochastic")
    limit = bounds.probabilistic_gamma(n, u, confidence=6.0)
    assert limit < bounds.gamma(n, u)
    assert 64 * 1000 * (1 - bounds.probability(u, 6.0)) < 0.01

    @every_seed
    def law(seed):
        rng = np.random.default_rng(seed)
        x = decode(encode(rng.random((n, 64)), dtype, "toward_zero"), dtype)
        exact = x.sum(0, dtype=np.float64)
        assert (np.abs(how.sum(x, 0) - exact) <= limit * exact).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_10_tensor_cores_keep_within_their_bound(architecture, every_seed):
    core = ARCHITECTURES[architecture].instructions[float16]
    limit = bounds.tensor_core_bound(40, core)

    @every_seed
    def law(seed):
        rng = np.random.default_rng(seed)
        a, b = (
            (rng.standard_normal(shape) * np.exp2(rng.integers(-8, 5, shape))).astype(np.float16)
            for shape in ((16, 40), (40, 16))
        )
        wide = a.astype(np.float64), b.astype(np.float64)
        size = np.abs(wide[0]) @ np.abs(wide[1])
        product = tensor_core_matmul(a, b, float16, architecture=architecture)
        assert (np.abs(product - wide[0] @ wide[1]) <= limit * size).all()
