"""sum and mean on a GPU: within the error of float32 sums in any order, the same bits each time."""

from __future__ import annotations

import numpy as np
import pytest

from tinymp.devices.kernels import sums
from tinymp.devices.kernels.twin import Target
from tinymp.formats import bfloat16, float16, float32

pytestmark = pytest.mark.gpu

U = 2.0**-24
FLOAT32 = Target(float32, "nearest_even")
CASES = [
    ((1, 1), (0,)), ((64, 10), (0,)), ((64, 128), (0,)), ((300, 17), (0,)), ((8192, 96), (0,)),
    ((5000, 33), (0,)), ((4, 50, 768), (0, 1)), ((2, 5000), (0,)), ((100, 50257), (0,)),
    ((1, 1), (1,)), ((7, 9), (1,)), ((5, 768), (1,)), ((3, 5, 4099), (2,)), ((3, 20000), (1,)),
    ((4, 6, 5), (1, 2)), ((9, 1), (1,)), ((1,), (0,)), ((1000,), (0,)), ((40_000,), (0,)),
    ((123, 457), (0, 1)), ((3, 1000, 77), (0, 1, 2)),
]  # fmt: skip


def check(bench, x, dim, target, keepdim=False):
    x64 = bench.exact(x)
    count = np.prod([x64.shape[i] for i in dim])
    bound = 1.01 * count * U * np.abs(x64).sum(dim, keepdims=keepdim)
    for kernel, divisor in ((sums.sum, 1), (sums.mean, count)):
        out = kernel(x, dim=dim, keepdim=keepdim, target=target)
        exact = x64.sum(dim, keepdims=keepdim) / divisor
        of_quotient = 0 if divisor == 1 else U * np.abs(exact)
        values = bench.values(out, target.dtype)
        bench.check(values, exact, bound / divisor + of_quotient, *target)


@pytest.mark.parametrize(("shape", "dim"), CASES)
def test_every_shape(bench, shape, dim):
    values = np.random.default_rng([*shape]).standard_normal(shape) + 0.25
    for keepdim in (False, True):
        check(bench, bench.packed(values, float16), dim, FLOAT32, keepdim)


@pytest.mark.parametrize("dtype", [float16, bfloat16, float32], ids=lambda d: d.name)
@pytest.mark.parametrize("case", [((64, 128), (0,)), ((5000, 33), (0,)), ((5, 768), (1,))])
def test_every_format(bench, dtype, target, case):
    shape, dim = case
    values = np.random.default_rng([*shape]).standard_normal(shape) + 0.25
    check(bench, bench.packed(values, dtype), dim, target)


def test_the_error_is_that_of_short_chains(bench):
    """A chain of n float32 additions of one sign would be off by about n·U/4; none is so long."""
    x = bench.packed(np.full((65536, 8), 1 / 3), float32)
    exact = bench.exact(x).sum(0)
    relative = np.abs(bench.numpy(sums.column_sums(x, FLOAT32)) - exact) / exact
    assert (relative <= 1000 * U).all()


def test_a_view_that_begins_anywhere(bench):
    x = bench.packed(np.random.default_rng(0).standard_normal(1000), float16)
    for start in range(9):
        x.storage = x.storage[1:] if start else x.storage
        check(bench, x, (0,), FLOAT32)


def test_infinities_and_nan(bench):
    values = np.ones((500, 24), np.float32)
    values[7, 3], values[9, 5], values[11, 7], values[400, 7] = np.inf, np.nan, np.inf, -np.inf
    x = bench.packed(values, float16)
    for dim in ((0,), (1,), (0, 1)):
        with np.errstate(invalid="ignore"):
            expected = values.sum(dim)
        ours = bench.numpy(sums.sum(x, dim=dim, keepdim=False, target=FLOAT32))
        bench.same_kind(ours, np.asarray(expected))


def test_subnormals_count(bench):
    x = bench.packed(np.full((40, 16), 2.0**-149), float32)
    out = bench.numpy(sums.column_sums(x, FLOAT32))
    np.testing.assert_array_equal(out, np.float32(40 * 2.0**-149))


def test_the_same_bits_each_time(bench):
    x = bench.packed(np.random.default_rng(0).standard_normal((8192, 768)), float16)
    first = bench.numpy(sums.column_sums(x, FLOAT32))
    for _ in range(3):
        np.testing.assert_array_equal(bench.numpy(sums.column_sums(x, FLOAT32)), first)


def test_what_is_not_served_is_left_to_the_rule(bench):
    x = bench.packed(np.ones((3, 4, 5)), float16)
    for dim in ((1,), (0, 2), ()):
        assert sums.sum(x, dim=dim, keepdim=False, target=FLOAT32) is NotImplemented
