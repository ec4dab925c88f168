"""softmax and log_softmax on a GPU: the rules, within the error of exp2f and of another order."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from tinymp.devices.kernels import softmax as kernels
from tinymp.devices.kernels import softmax_gradient as gradients
from tinymp.devices.kernels.twin import Target
from tinymp.formats import bfloat16, float16, float32
from tinymp.ops.normalization import LOG_SOFTMAX, SOFTMAX

pytestmark = pytest.mark.gpu

U = 2.0**-24
FLOAT32 = Target(float32, "nearest_even")
NARROW = Target(float16, "nearest_even")
SHAPES = [(1, 1), (3, 5), (2, 3, 64), (7, 1000), (5, 1024), (4, 1023), (2, 4096), (1, 50304)]
CASES = [(shape, float16, NARROW) for shape in SHAPES] + [
    (shape, dtype, target)
    for shape in [(3, 5), (5, 1024)]
    for dtype in (float16, bfloat16, float32)
    for target in (NARROW, Target(bfloat16, "toward_zero"), FLOAT32)
]


def normal(shape, seed=0, scale=3.0):
    values = np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)
    return values * np.float32(scale)


def depth(n):
    """More than the additions that any term passes through: see softmax."""
    return min(n, -(-n // 32) + 21) if n <= 4096 else n // 512 + 32


def relative_bound(shifted, weights):
    """Relative error of the weights: that of each power, of their sum, and of the quotient."""
    each = (4 + 3 * np.abs(shifted)) * U
    total = (weights * each).sum(-1, keepdims=True) + depth(shifted.shape[-1]) * U
    return 1.01 * (each + total + 4 * U)


@pytest.mark.parametrize(("shape", "dtype", "target"), CASES)
def test_softmax_and_log_softmax(bench, shape, dtype, target):
    x = bench.packed(normal(shape), dtype)
    x64 = bench.exact(x)
    shifted = x64 - x64.max(-1, keepdims=True)
    weights = SOFTMAX.forward(bench.rules, x64, dim=-1)
    relative = relative_bound(shifted, weights)
    out = kernels.softmax(x, dim=len(shape) - 1, target=target)
    bench.check(bench.values(out, target.dtype), weights, relative * weights, *target)

    logs = LOG_SOFTMAX.forward(bench.rules, x64, dim=-1)
    total = np.log(np.exp(shifted).sum(-1, keepdims=True))
    bound = relative.max(-1, keepdims=True) + 2 * U * (np.abs(shifted) + 2 * total + np.abs(logs))
    out = kernels.log_softmax(x, dim=len(shape) - 1, target=target)
    bench.check(bench.values(out, target.dtype), logs, bound, *target)


@pytest.mark.parametrize(("shape", "dtype", "target"), [c for c in CASES if c[0][-1] < 8193])
def test_gradients(bench, shape, dtype, target):
    g, dim = bench.packed(normal(shape, 1, 1), dtype), len(shape) - 1
    g64 = bench.exact(g)
    exact = SOFTMAX.forward(bench.rules, bench.exact(bench.packed(normal(shape), dtype)), dim=dim)
    out = bench.packed(exact, dtype)
    y = bench.exact(out)
    (dx,) = gradients.softmax_gradient(g, targets=(target,), out=out, dim=dim)
    rule = SOFTMAX.gradients["x"].function(bench.rules, g64, y, dim)
    gamma = 1.01 * (depth(shape[-1]) + 1) * U
    total = np.abs(g64 * y).sum(-1, keepdims=True)
    bound = 1.01 * y * (gamma * total + 3 * U * (np.abs(g64) + total))
    bench.check(bench.values(dx, target.dtype), rule, bound, *target)

    logs = bench.packed(np.log(exact), dtype)
    l64 = bench.exact(logs)
    (dx,) = gradients.log_softmax_gradient(g, targets=(target,), out=logs, dim=dim)
    rule = LOG_SOFTMAX.gradients["x"].function(bench.rules, g64, l64, dim)
    total, absolute = g64.sum(-1, keepdims=True), np.abs(g64).sum(-1, keepdims=True)
    power = np.exp(l64)
    bound = power * (np.abs(total) * (6 + 3 * np.abs(l64)) * U + gamma * absolute)
    bound = 1.01 * (bound + 2 * U * (np.abs(g64) + power * np.abs(total)))
    bench.check(bench.values(dx, target.dtype), rule, bound, *target)


@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (64, 64), (1024, 1024), (3, 70), (70, 3)])
def test_causal_weights_and_their_gradient(bench, queries, keys):
    shape, scale = (2, queries, keys), 0.125
    scores = bench.packed(normal(shape, 0, 8), float16)
    s64 = bench.exact(scores) * scale
    s64 = np.where(np.tri(queries, keys, dtype=bool), s64, -inf)
    shifted = s64 - s64.max(-1, keepdims=True)
    weights = np.exp(shifted)
    weights /= weights.sum(-1, keepdims=True)
    out = kernels.causal_softmax(scores, scale=scale, target=NARROW)
    relative = relative_bound(np.where(np.isinf(shifted), 0, shifted), weights)
    bench.check(bench.values(out, float16), weights, relative * weights, *NARROW)
    assert not bench.numpy(out)[..., ~np.tri(queries, keys, dtype=bool)].any()

    g = bench.packed(normal(shape, 1, 1), float16)
    packed = bench.packed(bench.values(out, float16), float16)
    dx = gradients.causal_softmax_gradient(g, packed, scale=scale, target=FLOAT32)
    y, g64 = bench.exact(packed), bench.exact(g)
    rule = scale * y * (g64 - (g64 * y).sum(-1, keepdims=True))
    total = np.abs(g64 * y).sum(-1, keepdims=True)
    gamma = 1.01 * (depth(keys) + 1) * U
    bound = scale * y * (gamma * total + 4 * U * (np.abs(g64) + total))
    bench.check(bench.numpy(dx), rule, bound, *FLOAT32)


def test_infinities_and_nan(bench):
    values = normal((6, 40))
    values[1, 3], values[2, 5], values[3, 7], values[4, :] = inf, np.nan, -inf, -inf
    x = bench.packed(values, float16)
    for op, kernel in ((SOFTMAX, kernels.softmax), (LOG_SOFTMAX, kernels.log_softmax)):
        with np.errstate(all="ignore"):
            rule = op.forward(bench.rules, bench.exact(x).astype(np.float32), dim=-1)
        bench.same_kind(bench.numpy(kernel(x, dim=1, target=FLOAT32)), rule)


def test_what_is_not_served_is_left_to_the_rule(bench):
    x = bench.packed(normal((4, 8)), float32)
    assert kernels.softmax(x, dim=0, target=FLOAT32) is NotImplemented
    long = bench.packed(np.zeros((1, 70_000)), float16)
    assert kernels.softmax(long, dim=1, target=NARROW) is NotImplemented
