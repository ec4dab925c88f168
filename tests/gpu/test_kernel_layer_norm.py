"""layer_norm and rms_norm on a GPU: the rules, within the error of sums in another order."""

from __future__ import annotations

import numpy as np
import pytest

from tinymp.devices.kernels.layer_norm import layer_norm, rms_norm
from tinymp.devices.kernels.layer_norm_gradient import layer_norm_gradient, rms_norm_gradient
from tinymp.devices.kernels.twin import Target
from tinymp.formats import bfloat16, float16, float32, float64
from tinymp.ops.normalization import LAYER_NORM, RMS_NORM

pytestmark = pytest.mark.gpu

U = 2.0**-24
FLOAT32 = Target(float32, "nearest_even")
EPS = 1e-5
SHAPES = [
    (1, 1), (3, 1), (5, 7), (32, 16), (9, 24), (9, 64), (4, 100), (2, 3, 768), (37, 768), (5, 769),
    (3, 1024), (3, 3072), (2, 1600), (300, 96), (2, 8192), (1, 20000),
]  # fmt: skip
NARROW = Target(float16, "nearest_even")
ROUNDINGS = [
    NARROW, Target(float16, "toward_zero"), Target(bfloat16, "nearest_even"),
    Target(bfloat16, "toward_zero"), FLOAT32,
]  # fmt: skip
# Every shape once, and every pair of formats on a few shapes.
CASES = [(shape, float16, NARROW) for shape in SHAPES] + [
    (shape, dtype, target)
    for shape in [(5, 7), (37, 768), (3, 1024)]
    for dtype in (float16, bfloat16, float32)
    for target in ROUNDINGS
]


def normal(shape, seed=0, shift=0.5):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32) + shift


def depth(n):
    """More than the additions that any term passes through: see layer_norm."""
    return min(n, -(-n // 32) + 21) if n <= 4096 else n // 512 + 32


def statistics_bound(x, mean, eps):
    """Bounds on the errors of the mean, of deviations, and, relative, of rstd."""
    n = x.shape[-1]
    gamma = 1.01 * (depth(n) + 2) * U
    of_mean = gamma * np.abs(x).mean(-1, keepdims=True)
    deviation = np.abs(x - mean)
    of_deviation = of_mean + 1.01 * U * (deviation + of_mean)
    square = (deviation + of_deviation) ** 2
    variance = (deviation**2).mean(-1, keepdims=True)
    of_variance = (2 * deviation * of_deviation + of_deviation**2).mean(-1, keepdims=True)
    of_variance = of_variance + gamma * square.mean(-1, keepdims=True)
    relative = of_variance / (variance + eps)
    assert relative.max() < 0.1  # so that second-order terms are below the 10 % added here
    return of_mean, of_deviation, 1.1 * (relative / 2 + 3 * U)


@pytest.mark.parametrize(("shape", "dtype", "target"), CASES)
def test_forward(bench, shape, dtype, target):
    n = shape[-1]
    x = bench.packed(normal(shape), dtype)
    weight, bias = bench.packed(normal((n,), 1), float32), bench.packed(normal((n,), 2), dtype)
    out, mean, rstd = layer_norm(x, weight, bias, eps=EPS, target=target)
    assert out.dtype == target.dtype.storage

    x64, w64, b64 = bench.exact(x), bench.exact(weight), bench.exact(bias)
    y, m, r = LAYER_NORM.forward(bench.rules, x64, w64, b64, eps=np.float64(np.float32(EPS)))
    of_mean, of_deviation, of_rstd = statistics_bound(x64, m, EPS)
    bench.check(bench.numpy(mean), m, of_mean, float32, "nearest_even")
    bench.check(bench.numpy(rstd), r, of_rstd * r, float32, "nearest_even")
    scaled = np.abs(x64 - m) * r * np.abs(w64)
    bound = of_deviation * r * np.abs(w64) * 1.1 + scaled * (of_rstd + 3 * U)
    bound = bound + 1.1 * U * (np.abs(y) + bound)
    bench.check(bench.values(out, target.dtype), y, bound, *target)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_without_weight_or_bias(bench, weighted, biased):
    x = bench.packed(normal((6, 48)), float32)
    weight = bench.packed(normal((48,), 1), float32) if weighted else None
    bias = bench.packed(normal((48,), 2), float32) if biased else None
    out, *_ = layer_norm(x, weight, bias, eps=EPS, target=FLOAT32)
    rule, *_ = LAYER_NORM.forward(
        bench.rules, *(bench.exact(p) for p in (x, weight, bias)), eps=EPS
    )
    np.testing.assert_allclose(bench.numpy(out), rule, rtol=0, atol=200 * U)


def gradient_bounds(g, x, w, mean, rstd, centered=True):
    """Bounds for dx and dweight; mean and rstd are taken as exact, as the kernel is given them."""
    n, rows = x.shape[-1], x.size // x.shape[-1]
    y, d = np.abs(x - mean) * rstd, np.abs(g * w)
    gamma = 1.01 * (depth(n) + 5) * U
    shift, of_shift = d.mean(-1, keepdims=True), gamma * d.mean(-1, keepdims=True)
    scale, of_scale = (d * y).mean(-1, keepdims=True), gamma * (d * y).mean(-1, keepdims=True)
    if not centered:
        shift, of_shift = 0, 0
    inner = 3 * U * d + of_shift + y * of_scale + 4 * U * y * scale + 3 * U * (d + shift)
    axes = tuple(range(x.ndim - 1))
    return 1.1 * rstd * (inner + U * (d + shift + y * scale)), 1.01 * (rows + 4) * U * (
        np.abs(g) * y
    ).sum(axes)


@pytest.mark.parametrize(("shape", "dtype", "target"), CASES)
def test_gradients(bench, shape, dtype, target):
    n = shape[-1]
    x, g = bench.packed(normal(shape), dtype), bench.packed(normal(shape, 3, 0), dtype)
    weight = bench.packed(normal((n,), 1), float32)
    x64, g64, w64 = bench.exact(x), bench.exact(g), bench.exact(weight)
    mean = x64.mean(-1, keepdims=True).astype(np.float32)
    rstd = (1 / np.sqrt(x64.var(-1, keepdims=True) + EPS)).astype(np.float32)
    result = layer_norm_gradient(
        g,
        targets=(target, FLOAT32, target),
        x=x,
        weight=weight,
        mean=bench.put(mean),
        rstd=bench.put(rstd),
    )
    if result is NotImplemented:
        pytest.skip("rows too long for registers")
    dx, dweight, dbias = result
    m64, r64 = mean.astype(np.float64), rstd.astype(np.float64)
    together = LAYER_NORM.gradients["x"].function
    exact, each, *_ = together(bench.rules, g64, x64, w64, m64, r64)
    of_x, of_weight = gradient_bounds(g64, x64, w64, m64, r64)
    bench.check(bench.values(dx, target.dtype), exact, of_x, *target)
    axes = tuple(range(x64.ndim - 1))
    bench.check(bench.numpy(dweight), each.sum(axes), of_weight, *FLOAT32)
    bound = 1.01 * (g64.size // n) * U * np.abs(g64).sum(axes)
    bench.check(bench.values(dbias, target.dtype), g64.sum(axes), bound, *target)


@pytest.mark.parametrize("shape", [(600, 768), (200, 3072), (2000, 130)])
def test_gradients_of_many_rows(bench, monkeypatch, shape):
    two = "tinymp.devices.kernels.layer_norm_gradient.multiprocessors"
    monkeypatch.setattr(two, lambda: 2)  # they have so many rows each that two are under way
    test_gradients(bench, shape, float16, NARROW)


@pytest.mark.parametrize("shape", [(5, 7), (37, 768), (3, 3072)])
def test_rms_norm_and_its_gradients(bench, target, shape):
    n = shape[-1]
    x, g = bench.packed(normal(shape), float16), bench.packed(normal(shape, 3, 0), float16)
    weight = bench.packed(normal((n,), 1), float16)
    x64, g64, w64 = bench.exact(x), bench.exact(g), bench.exact(weight)
    out, rrms = rms_norm(x, weight, eps=EPS, target=target)
    y, r = RMS_NORM.forward(bench.rules, x64, w64, eps=EPS)
    relative = 1.01 * (depth(n) + 8) * U
    bench.check(bench.numpy(rrms), r, relative * r, float32, "nearest_even")
    bench.check(bench.values(out, target.dtype), y, relative * np.abs(y), *target)

    r32 = r.astype(np.float32)
    dx, dweight = rms_norm_gradient(
        g, targets=(target, FLOAT32), x=x, weight=weight, rrms=bench.put(r32)
    )
    r64 = r32.astype(np.float64)
    of_x, of_weight = gradient_bounds(g64, x64, w64, 0, r64, centered=False)
    exact = RMS_NORM.gradients["x"].function(bench.rules, g64, x64, w64, r64)
    bench.check(bench.values(dx, target.dtype), exact, of_x, *target)
    exact = RMS_NORM.gradients["weight"].function(bench.rules, g64, x64, r64).sum(0)
    bench.check(bench.numpy(dweight), exact, of_weight, *FLOAT32)


def test_infinities_and_nan_stay_in_their_rows(bench):
    values = normal((6, 40))
    values[1, 3], values[2, 5], values[4, 39] = np.inf, np.nan, -np.inf
    x = bench.packed(values, float16)
    out, mean, rstd = (bench.numpy(a) for a in layer_norm(x, eps=EPS, target=FLOAT32))
    with np.errstate(all="ignore"):
        rule = LAYER_NORM.forward(bench.rules, bench.exact(x).astype(np.float32), eps=EPS)
    for ours, theirs in zip((out, mean, rstd), rule, strict=True):
        bench.same_kind(ours, theirs)


def test_constant_rows_of_subnormals(bench):
    x = bench.packed(np.full((3, 64), 2.0**-130), float32)
    out, mean, rstd = layer_norm(x, eps=EPS, target=FLOAT32)
    np.testing.assert_array_equal(bench.numpy(mean), np.float32(2.0**-130))
    np.testing.assert_array_equal(bench.numpy(out), 0)
    assert np.ptp(bench.numpy(rstd)) == 0


def test_the_same_gradients_give_the_same_bits(bench):
    x, g = bench.packed(normal((500, 768)), float16), bench.packed(normal((500, 768), 1), float16)
    _, mean, rstd = layer_norm(x, eps=EPS, target=FLOAT32)

    def run():
        given = {"x": x, "mean": mean, "rstd": rstd, "weight": None}
        return layer_norm_gradient(g, targets=(FLOAT32, FLOAT32, FLOAT32), **given)

    for first, second in zip(run(), run(), strict=True):
        np.testing.assert_array_equal(bench.numpy(first), bench.numpy(second))


def test_what_is_not_served_is_left_to_the_rule(bench):
    x = bench.packed(normal((4, 8)), float32)
    stochastic = Target(float16, "stochastic")
    assert layer_norm(x, eps=EPS, target=stochastic) is NotImplemented
    x.storage = x.storage.T
    assert layer_norm(x, eps=EPS, target=FLOAT32) is NotImplemented
    x = bench.packed(normal((4, 8)), float32)
    x.dtype, x.storage = float64, x.storage.astype(np.float64)
    assert layer_norm(x, eps=EPS, target=FLOAT32) is NotImplemented
