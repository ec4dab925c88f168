"""The bounds: their values, that they hold, and where the probabilistic one does not."""

from __future__ import annotations

from fractions import Fraction
from math import inf, sqrt

import numpy as np
import pytest

from tinymp.formats import bfloat16, decode, encode, float16, float32
from tinymp.numerics import ARCHITECTURES, accumulator, bounds, tensor_core_matmul


def test_gamma_is_the_fraction_it_says():
    u = Fraction(float16.unit_roundoff())
    exact = 100 * u / (1 - 100 * u)
    assert bounds.gamma(100, float(u)) == pytest.approx(float(exact), rel=1e-15)
    assert bounds.gamma(0, 2.0**-11) == 0
    assert bounds.gamma(1, 2.0**-11) > 2.0**-11
    assert bounds.gamma(2048, 2.0**-11) == inf


def test_the_probabilistic_bound_is_about_lambda_sqrt_n_u():
    u = float32.unit_roundoff()
    assert bounds.probabilistic_gamma(10_000, u, 5) == pytest.approx(5 * 100 * u, rel=1e-4)
    assert bounds.probability(u, 5) == pytest.approx(1 - 2 * np.exp(-12.5), rel=1e-6)
    assert bounds.probability(u, 0.1) == 0


def test_to_nearest_it_is_a_model_that_equal_terms_break():
    n, confidence = 4000, 5.0
    u = float16.unit_roundoff("nearest_even")
    limit = bounds.probabilistic_gamma(n, u, confidence)
    add = accumulator("float16")
    random = np.random.default_rng(0).standard_normal((n, 20)).astype(np.float16)
    random = random.astype(np.float32)
    error = np.abs(add.sum(random, 0) - random.sum(0, dtype=np.float64))
    assert (error <= limit * np.abs(random).sum(0)).all()
    assert abs(add.sum(np.ones(n, np.float32)) - n) > limit * n


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=str)
def test_tensor_cores_keep_their_bound_and_sqrt_n_does_not_describe_them(architecture, dtype):
    known = ARCHITECTURES[architecture]
    if dtype not in known.instructions:
        pytest.skip("this architecture does not multiply the format")
    k = 512
    rng = np.random.default_rng(1)
    x, y = rng.random((40, k)), rng.standard_normal((k, 40))
    a, b = encode(x, dtype, "nearest_even"), encode(y, dtype, "nearest_even")
    product = tensor_core_matmul(a, b, dtype, architecture=architecture)
    x, y = decode(a, dtype).astype(np.float64), decode(b, dtype).astype(np.float64)
    limit = bounds.tensor_core_bound(k, known.instructions[dtype])
    assert (np.abs(product - x @ y) <= limit * (np.abs(x) @ np.abs(y))).all()
    # Cuts toward zero do not cancel: positive sums all come out too small.
    low = tensor_core_matmul(a, encode(np.abs(y), dtype), dtype, architecture=architecture)
    assert (low - x @ np.abs(y) < 0).mean() > 0.95
    assert sqrt(k) * 2.0**-24 < limit
