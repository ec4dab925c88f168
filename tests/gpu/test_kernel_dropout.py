"""dropout in one pass on a GPU gives the bits of `uniform` and of the rule."""

from __future__ import annotations

import numpy as np
import pytest

from tinymp.devices import get_device
from tinymp.devices.kernels.dropout import dropout
from tinymp.devices.kernels.twin import Target
from tinymp.devices.random import Generator
from tinymp.formats import bfloat16, encode, float16, float32
from tinymp.ops.elementwise import DROPOUT

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("p", [0.1, 0.5, 1 / 3, 1.0, 2.0**-24])
@pytest.mark.parametrize("shape", [(1,), (7,), (8,), (3, 5), (64, 768), (4099,)])
def test_mask_and_values(bench, target, shape, p):
    x = bench.packed(np.random.default_rng(1).standard_normal(shape), float16)
    out, keep = dropout(x, p=p, seed=2**63 + 5, draw=3, target=target)
    uniform = Generator(2**63 + 5).uniform(get_device("cpu"), shape, draw=3)
    np.testing.assert_array_equal(bench.numpy(keep), uniform >= p)
    with np.errstate(all="ignore"):
        rule, _ = DROPOUT.forward(
            bench.rules, bench.values(x, float16), p=p, seed=2**63 + 5, draw=3
        )
    words = encode(rule, *target)
    np.testing.assert_array_equal(bench.numpy(out).view(target.dtype.words), words)


def test_infinities_nan_and_subnormals(bench):
    values = np.array([np.inf, -np.inf, np.nan, 2.0**-140, -0.0, 0.0] * 40, np.float32)
    x = bench.packed(values, float32)
    target = Target(float32, "nearest_even")
    out, keep = dropout(x, p=0.25, seed=1, draw=0, target=target)
    rule, kept = DROPOUT.forward(bench.rules, values, p=0.25, seed=1, draw=0)
    np.testing.assert_array_equal(bench.numpy(keep), kept)
    np.testing.assert_array_equal(bench.numpy(out), rule)


def test_a_nan_is_stored_as_the_formats_own_word(bench):
    for place in range(8):
        values = np.ones(64, np.float32)
        values[place::8] = np.nan
        x = bench.packed(values, float32)
        for dtype in (float16, bfloat16):
            out, keep = dropout(x, p=0.5, seed=1, draw=0, target=Target(dtype, "nearest_even"))
            words = bench.numpy(out).view(dtype.words) & (dtype.sign_mask - 1)
            expected = encode(values * 2, dtype, "nearest_even")
            np.testing.assert_array_equal(words, np.where(bench.numpy(keep), expected, 0))
