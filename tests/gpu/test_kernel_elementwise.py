"""Elementwise kernels on a GPU: bits that are drawn, and functions in a form of their own."""

from __future__ import annotations

from math import erfc, pi, sqrt

import numpy as np
import pytest

from tinymp.autograd.op import OPS
from tinymp.devices import get_device
from tinymp.devices.kernels.activations import gelu_tanh
from tinymp.devices.kernels.serving import elementwise
from tinymp.devices.kernels.twin import Target
from tinymp.devices.random import Generator, get_rng_state, set_rng_state
from tinymp.formats import bfloat16, decode, encode, float8_e5m2, float16, float32

pytestmark = pytest.mark.gpu

U = 2.0**-24
ADD = OPS["add"].forward


@pytest.mark.parametrize("dtype", [float16, bfloat16, float8_e5m2], ids=lambda d: d.name)
@pytest.mark.parametrize("shape", [(1,), (7, 5), (8,), (64, 768), (3, 4104)])
def test_stochastic_results_are_rounded_by_the_generators_words(bench, dtype, shape):
    rng = np.random.default_rng(1)
    x, y = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    operands = [bench.packed(values, float32) for values in (x, y)]
    before = get_rng_state()
    try:
        set_rng_state((2**63 + 9, 7))
        out = elementwise("add", ADD, operands, {}, Target(dtype, "stochastic"))
        assert get_rng_state() == (2**63 + 9, 8)
    finally:
        set_rng_state(before)
    words = Generator(2**63 + 9).words(get_device("cpu"), x.size, draw=7).reshape(shape)
    expected = encode(x + y, dtype, "stochastic", random_words=words)
    np.testing.assert_array_equal(bench.numpy(out).view(dtype.words), expected)


@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=lambda d: d.name)
def test_gelu_of_every_word_by_the_tanh_formula(bench, target, dtype):
    values = decode(np.arange(1 << 16).astype(np.uint16), dtype)
    out = gelu_tanh(bench.packed(values, dtype), target=target)
    with np.errstate(all="ignore"):  # signalling NaNs are among the words
        x = values.astype(np.float64)
        power = -2 * sqrt(2 / pi) * (x + 0.044715 * x**3)
        exact = x / (1 + np.exp(power))
        # The exponent to 4 roundings, exp2 and the quotient to 2 ulps, a sum and a product. A
        # quotient below 2^-126 may become 0; that is so from about x = -10 on.
        bound = np.abs(exact) * U * (4 * np.abs(power) + 12) + 16 * 2.0**-126
        special = ~np.isfinite(exact) | (np.abs(exact) >= target.dtype.max)
    result = bench.values(out, target.dtype)
    number = ~special
    bench.check(result[number], exact[number], bound[number], *target)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(exact))
    assert np.signbit(result[values == 0]).tolist() == np.signbit(values[values == 0]).tolist()


def test_contraction_keeps_gelu_within_a_few_ulps(bench):
    x = np.linspace(-12, 12, 20001).astype(np.float32)
    target = Target(float32, "nearest_even")
    out = elementwise("gelu", OPS["gelu"].forward, [bench.packed(x, float32)], {}, target)
    exact = np.array([v * erfc(-v / sqrt(2)) / 2 for v in x.astype(np.float64)])
    # The rule's 10 ulps, 2 more of the exponential, and 2 of the quotient, which count threefold.
    allowed = 18 * np.spacing(np.maximum(np.abs(exact), 2.0**-126).astype(np.float32))
    assert (np.abs(bench.numpy(out) - exact) <= allowed).all()


def test_a_nan_among_numbers_is_stored_as_the_formats_own_word(bench, target):
    if target.dtype is float32:
        return  # not rounded: it has the bits that the sum gave it
    for place in range(8):
        values = np.ones(64, np.float32)
        values[place::8] = np.nan
        x = bench.packed(values, float32)
        out = elementwise("add", ADD, [x, x], {}, target)
        expected = encode(values + values, *target)
        words = bench.numpy(out).view(target.dtype.words)
        np.testing.assert_array_equal(words[1:], expected[1:])


def test_bits_are_kept_where_every_operation_is_exactly_rounded(bench):
    rng = np.random.default_rng(2)
    x, y, z = (bench.packed(rng.standard_normal(4096), float32) for _ in range(3))
    target = Target(float32, "nearest_even")
    out = elementwise("f", lambda xp, x, y, z: xp.sqrt(abs(x * y + z)) / x, [x, y, z], {}, target)
    a, b, c = (bench.numpy(v.storage) for v in (x, y, z))
    np.testing.assert_array_equal(bench.numpy(out), np.sqrt(np.abs(a * b + c)) / a)
