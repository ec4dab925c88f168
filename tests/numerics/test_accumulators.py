"""Accumulators against exact sums, within bounds that follow from their order and format."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinymp as mp
from tinymp.devices import get_device, manual_seed
from tinymp.formats import bfloat16, decode, encode, float8_e5m2, float16, float32, rounding
from tinymp.numerics import accumulator, bounds, tensor_core_matmul
from tinymp.numerics.packed import Packed
from tinymp.numerics.summation import sum_to_odd

NAMES = [
    "float32", "float64", "float16", "bfloat16", "sequential", "chunked", "pairwise", "kahan",
    "stochastic",
]  # fmt: skip


def in_python(values, dtype, mode="nearest_even"):
    """Sequential sum, one exact addition and one exact rounding at a time."""
    total = Fraction(0)
    for x in values:
        total = rounded_fraction(total + Fraction(float(x)), dtype, mode)
    return float(total)


def rounded_fraction(x, dtype, mode):
    """A fraction within the format's range rounded once."""
    if x == 0:
        return x
    exponent = dtype.emin
    while abs(x) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    unit = Fraction(2) ** (exponent - dtype.significand_bits)
    if mode == "toward_zero":
        return (abs(x) // unit) * unit * (1 if x > 0 else -1)
    return round(x / unit) * unit  # Python rounds fractions half to even


@pytest.mark.parametrize("dtype", [float16, bfloat16, float8_e5m2, float32], ids=str)
@pytest.mark.parametrize("mode", ["nearest_even", "toward_zero"])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_every_partial_sum_is_rounded_once(dtype, mode, seed):
    rng = np.random.default_rng(seed)
    # Long and short terms, so that float64 cannot hold every sum before it is rounded.
    x = (rng.standard_normal(30) * np.exp2(rng.integers(-30, 8, 30))).astype(np.float32)
    ours = accumulator("sequential", dtype=dtype, rounding=mode).sum(x)
    assert float(ours) == in_python(x, dtype, mode)


def test_a_sum_through_float64_would_be_rounded_twice():
    """1 + 2^-11 + 2^-60 lies above a tie of float16 that float64 would see as one."""
    x, y = np.array([1 + 2.0**-11]), np.array([2.0**-60])
    assert encode(x + y, float16, "nearest_even") == encode(1.0, float16)
    above = encode(sum_to_odd(x, y), float16, "nearest_even")
    assert decode(above, float16) == 1 + 2.0**-10
    huge = np.array([3e38], np.float32)
    with np.errstate(all="ignore"):
        total = sum_to_odd(huge, huge)
    assert decode(encode(total, bfloat16, "toward_zero"), bfloat16) == bfloat16.max
    assert np.isinf(decode(encode(total, bfloat16, "nearest_even"), bfloat16))
    below = encode(sum_to_odd(-x, -y), float16, "toward_zero")
    assert decode(below, float16) == -1


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_an_odd_sum_is_on_the_right_side_of_the_exact_one(x, y):
    with np.errstate(all="ignore"):
        ours = sum_to_odd(np.array([x]), np.array([y]))[0]
        plain = np.float64(x) + np.float64(y)
    if not (np.isfinite(x) and np.isfinite(y)):
        np.testing.assert_equal(ours, plain)
    elif np.isinf(plain):
        assert ours == np.copysign(np.finfo(np.float64).max, plain)
    elif abs(plain) < 1e300:  # TwoSum's own differences must not overflow
        exact = Fraction(x) + Fraction(y)
        if Fraction(float(plain)) == exact:
            assert ours == plain
        else:
            assert ours.view(np.int64) % 2 == 1
            one_side = (np.nextafter(ours, -np.inf), np.nextafter(ours, np.inf))
            assert Fraction(float(one_side[0])) < exact < Fraction(float(one_side[1]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2), (2, 0), (0, 1, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_shapes_and_types_are_numpys(name, axis, keepdims):
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    ours = accumulator(name).sum(x, axis, keepdims)
    theirs = x.sum(axis=axis, keepdims=keepdims)
    assert np.shape(ours) == theirs.shape
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=2.0**-5)
    assert accumulator(name).sum(x.astype(np.float64), axis).dtype == np.float64
    assert accumulator(name).sum(np.ones((2, 3), bool)) == 6
    assert accumulator(name).sum(np.ones((0, 3), np.float32), 0).tolist() == [0, 0, 0]
    assert accumulator(name).sum(np.float32(3).reshape(())) == 3


@pytest.mark.parametrize("name", NAMES)
def test_products_of_stacks(name):
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (2, 1, 5, 6)).astype(np.float32)
    y = rng.integers(-3, 4, (3, 6, 4)).astype(np.float32)
    product = accumulator(name).matmul(x, y)  # small integers: exact in every format
    np.testing.assert_array_equal(product, x @ y)
    assert product.dtype == np.float32
    assert accumulator(name).matmul(x[..., :0], y[:, :0]).shape == (2, 3, 5, 4)


@pytest.mark.parametrize("name", NAMES[2:])
def test_every_device_gives_the_same_bits(name, device):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((3, 6, 9)).astype(np.float32)
    y = rng.standard_normal((9, 4)).astype(np.float32)
    here, there = get_device("cpu"), get_device(device)
    results = []
    for on in (here, there):
        manual_seed(1)
        total = accumulator(name).sum(on.asarray(x), (0, 2))
        product = accumulator(name).matmul(on.asarray(x), on.asarray(y))
        results.append((on.to_numpy(total), on.to_numpy(product)))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", [*NAMES, "reproducible"])
def test_running_sums_are_sums_of_the_first(name, device):
    on = get_device(device)
    x = np.random.default_rng(0).integers(-5, 6, (4, 9)).astype(np.float32)  # exact everywhere
    how = accumulator(name)
    for axis in (0, 1, -1):
        found = how.cumsum(on.asarray(x), axis)
        np.testing.assert_array_equal(on.to_numpy(found), x.cumsum(axis))
        assert found.dtype == np.float32
    whole = np.array([[2**53, 1, 1]])
    assert on.to_numpy(how.cumsum(on.asarray(whole), 1)).tolist() == [[2**53, 2**53 + 1, 2**53 + 2]]
    assert how.cumsum(on.asarray(x[:0]), 0).shape == (0, 9)


def test_every_running_sum_is_rounded():
    ones = np.ones(2100, np.float32)
    found = accumulator("float16", rounding="nearest_even").cumsum(ones, 0)
    assert found.tolist() == [min(n, 2048) for n in range(1, 2101)]
    assert accumulator("float64").cumsum(np.array([2.0**30, 1, -(2.0**30)], np.float32), 0)[2] == 1
    # A scan adds one after the other whatever the order of sums is.
    x = np.random.default_rng(1).random(50).astype(np.float32)
    for name in ("pairwise", "chunked", "kahan", "reproducible"):
        np.testing.assert_array_equal(
            accumulator(name).cumsum(x, 0), accumulator("sequential").cumsum(x, 0)
        )


@pytest.mark.parametrize("name", [*NAMES, "reproducible"])
def test_sums_of_runs_are_sums(name, device):
    on = get_device(device)
    rng = np.random.default_rng(2)
    x = rng.integers(-5, 6, (40, 3)).astype(np.float32)
    first = np.array([0, 1, 2, 7, 8, 20])
    found = accumulator(name).segment_sums(on.asarray(x), on.asarray(first))
    np.testing.assert_array_equal(on.to_numpy(found), np.add.reduceat(x, first))
    flat = accumulator(name).segment_sums(on.asarray(x[:, 0]), on.asarray(first))
    np.testing.assert_array_equal(on.to_numpy(flat), np.add.reduceat(x[:, 0], first))


def test_sums_of_runs_round_as_the_accumulator_does():
    ones = np.ones((2100 + 300, 1), np.float32)
    first = np.array([0, 2100])
    how = accumulator("float16", rounding="nearest_even")
    assert how.segment_sums(ones, first).tolist() == [[2048], [300]]
    assert accumulator("kahan", dtype="float16").segment_sums(ones, first)[0] == 2100


def test_the_engine_scans_and_scatters_by_the_accumulator():
    x = mp.ones(2100).requires_grad_()
    with mp.accumulation("float16"):
        assert x.cumsum(0).numpy().max() == 2048
        taken = x[mp.zeros(2100, dtype=mp.int64)]
        scattered = mp.scatter_add(mp.zeros(2), 0, mp.zeros(2100, dtype=mp.int64), x.detach())
        rows = mp.embedding(mp.zeros(2100, dtype=mp.int64), mp.ones(2, 1).requires_grad_())
    taken.sum().backward()
    assert x.grad.numpy()[0] == 2048  # a gradient that 2,100 places send
    assert scattered.numpy().tolist() == [2048, 0]
    assert rows.shape == (2100, 1)
    x.grad = None
    x[mp.zeros(2100, dtype=mp.int64)].sum().backward()
    assert x.grad.numpy()[0] == 2100


def test_what_ones_add_up_to():
    """The classical table: where adding 1 stops to change the sum."""
    ones = np.ones(2304, np.float32)
    expected = {
        "float32": 2304, "float64": 2304, "sequential": 2304, "float16": 2048, "bfloat16": 256,
        "pairwise": 2304, "kahan": 2304, "chunked": 2304,
    }  # fmt: skip
    with rounding("nearest_even"):
        for name, total in expected.items():
            assert accumulator(name).sum(ones) == total, name
        for name in ("pairwise", "kahan", "chunked"):
            assert accumulator(name, dtype="float16").sum(ones) == 2304, name
        assert accumulator("chunked", size=1, dtype="float16").sum(ones) == 2048
    totals = accumulator("stochastic").sum(np.ones((2304, 20), np.float32), 0)
    assert len(set(totals.tolist())) > 1
    # Above 2048 each 1 becomes 2 or 0: errors of variance 1; there are 256.
    assert abs(totals.mean() - 2304) < 5 * np.sqrt(256 / 20)


ORDERS = [
    ("sequential", {}, lambda n: n),
    ("chunked", {"size": 16}, lambda n: 16 + ceil(n / 16)),
    ("pairwise", {}, lambda n: ceil(log2(n)) + 1),
]


@pytest.mark.parametrize(("name", "options", "roundings"), ORDERS, ids=lambda x: str(x)[:10])
@pytest.mark.parametrize("dtype", [float16, bfloat16, float32], ids=str)
@pytest.mark.parametrize("mode", ["nearest_even", "toward_zero", "stochastic"])
def test_errors_stay_within_gamma(name, options, roundings, dtype, mode):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((100, 50)).astype(np.float16).astype(np.float32)
    y = rng.standard_normal((50, 80)).astype(np.float16).astype(np.float32)
    how = accumulator(name, dtype=dtype, rounding=mode, **options)
    u = dtype.unit_roundoff(mode)
    exact = x.astype(np.float64) @ y  # of 22-bit products: the error is far below the bound
    limit = bounds.gamma(roundings(50), u) * (np.abs(x).astype(np.float64) @ np.abs(y))
    assert (np.abs(how.matmul(x, y) - exact) <= limit).all()
    exact, magnitude = x.sum(1, dtype=np.float64), np.abs(x).sum(1, dtype=np.float64)
    assert (np.abs(how.sum(x, 1) - exact) <= bounds.gamma(roundings(50), u) * magnitude).all()


def test_kahans_error_does_not_grow():
    rng = np.random.default_rng(2)
    x = rng.random(20_000).astype(np.float32)
    exact = x.sum(dtype=np.float64)
    u = float32.unit_roundoff()
    assert abs(accumulator("kahan").sum(x) - exact) <= 3 * u * exact
    assert abs(accumulator("sequential").sum(x) - exact) > 3 * u * exact


def test_kahans_sum_of_too_much_is_infinite():
    huge = np.full(4, 60_000, np.float32)
    assert accumulator("kahan", dtype="float16").sum(huge) == np.inf


def test_stochastic_sums_keep_the_probabilistic_bound_that_truncation_breaks():
    n, confidence = 4000, 4.0
    x = np.random.default_rng(3).random((n, 50)).astype(np.float16).astype(np.float32)
    exact = x.sum(0, dtype=np.float64)
    u = float16.unit_roundoff("stochastic")
    limit = bounds.probabilistic_gamma(n, u, confidence) * exact
    assert 50 * (1 - bounds.probability(u, confidence)) < 0.04
    assert limit.max() < bounds.gamma(n, u) * exact.max()
    manual_seed(0)
    stochastic = accumulator("stochastic").sum(x, 0)
    assert (np.abs(stochastic - exact) <= limit).all()
    cut = accumulator("float16", rounding="toward_zero").sum(x, 0)
    assert (np.abs(cut - exact) > limit).all()


def test_tensor_cores_multiply_words_of_two_bytes_only():
    rng = np.random.default_rng(4)
    a, b = (encode(rng.standard_normal((20, 20)), float16) for _ in range(2))
    x, y = Packed(a.view(np.float16), float16), Packed(b.view(np.float16), float16)
    how = accumulator("tensor_core", architecture="ampere")
    expected = tensor_core_matmul(a, b.T, float16, architecture="ampere")
    np.testing.assert_array_equal(how.packed_matmul(get_device("cpu"), x, y.mT), expected)
    ones = np.ones(3, np.float32)
    assert how.sum(ones) == 3
    z = Packed(b, bfloat16)
    with pytest.raises(TypeError, match=r"product of float16 and bfloat16; it applies to two"):
        how.packed_matmul(get_device("cpu"), x, z)
    with pytest.raises(TypeError, match=r"tensor cores multiply words"):
        how.matmul(np.ones((2, 2), np.float32), np.ones((2, 2), np.float32))


def test_an_accumulator_is_one_object_and_names_its_rounding():
    assert accumulator("float32") is accumulator("float32")
    assert accumulator("chunked", size=4) is accumulator("chunked", size=4)
    assert accumulator("bfloat16").rounding == "toward_zero"
    with rounding("nearest_even"):
        assert accumulator("bfloat16").rounding == "nearest_even"
    assert "size=4" in repr(accumulator("chunked", size=4))


def test_what_is_not_an_accumulator():
    with pytest.raises(ValueError, match=r"unknown accumulator 'float12'; expected one of float32"):
        accumulator("float12")
    with pytest.raises(TypeError, match=r"'pairwise' has no option 'size'; its options are dtype"):
        accumulator("pairwise", size=3)
    with pytest.raises(TypeError, match=r"'float64' has no option 'dtype'; its options are none"):
        accumulator("float64", dtype="float16")
    with pytest.raises(ValueError, match=r"size must be a number of terms, 1 or more, but 0"):
        accumulator("chunked", size=0)
    with pytest.raises(ValueError, match=r"unknown rounding mode 'up'"):
        accumulator("float16", rounding="up")
    with pytest.raises(ValueError, match=r"held in a floating-point format, and int64 is none"):
        accumulator("kahan", dtype="int64")
    with pytest.raises(ValueError, match=r"unknown architecture 'turing'"):
        accumulator("tensor_core", architecture="turing")
