"""Optimizer steps over all parameters at once: the rules' bits, and nothing in a skipped step."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from tinymp.amp.loss_scale import DynamicLossScale
from tinymp.devices.kernels.adam import AdamStep
from tinymp.devices.kernels.gradient_check import CLIP, FOUND, LARGEST, NORM, GradientCheck
from tinymp.devices.kernels.loss_scale import next_scale
from tinymp.devices.kernels.sgd import SgdStep
from tinymp.formats import bfloat16, encode, float16, float32
from tinymp.optim.adam import adam, adamw
from tinymp.optim.sgd import sgd

pytestmark = pytest.mark.gpu

SIZES = [1, 3, 4, 5, 1000, 4096, 4097, 16384, 20011, 0, 7]


def normal(sizes, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal(n) * scale).astype(np.float32) for n in sizes]


def packed(bench, arrays, dtype):
    return [bench.packed(a, dtype).storage for a in arrays]


def device(bench, value):
    return bench.put(np.array([value], np.float64))


@pytest.mark.parametrize("dtype", [float16, bfloat16, float32], ids=lambda d: d.name)
@pytest.mark.parametrize("scale", [1.0, 1024.0, 1000.0])
def test_the_check(bench, dtype, scale):
    gradients = packed(bench, normal(SIZES, 0, 100), dtype)
    check = GradientCheck(SIZES, [dtype] * len(SIZES))
    result = bench.numpy(check(gradients, device(bench, scale), max_norm=2.0))
    values = np.concatenate([bench.values(g, dtype) for g in gradients])
    unscaled = (values * np.float32(1 / scale)).astype(np.float64)
    norm = np.sqrt((unscaled**2).sum())
    assert result[LARGEST] == np.abs(values).max()
    assert result[FOUND] == 0
    np.testing.assert_allclose(result[NORM], norm, rtol=200 * 2.0**-53, atol=0)
    np.testing.assert_allclose(result[CLIP], min(1, 2 / (norm + 1e-6)), rtol=300 * 2.0**-53)


@pytest.mark.parametrize("bad", [inf, -inf, np.nan])
def test_the_check_finds_one_bad_element_anywhere(bench, bad):
    sizes = [5, 40_000, 7]
    check = GradientCheck(sizes, [float16] * 3)
    for tensor, place in ((0, 4), (1, 0), (1, 16383), (1, 16384), (1, 39_999), (2, 3)):
        arrays = normal(sizes, 1)
        arrays[tensor][place] = bad
        result = bench.numpy(check(packed(bench, arrays, float16)))
        assert result[FOUND] == 1
        assert not np.isfinite(result[LARGEST])
        assert np.isnan(result[LARGEST]) == np.isnan(bad)
    assert bench.numpy(check(packed(bench, normal(sizes, 1), float16)))[FOUND] == 0


def test_the_check_of_formats_mixed_and_of_very_many_tensors(bench):
    sizes = [(7 * i) % 50 for i in range(500)]
    dtypes = [(float16, float32, bfloat16)[i % 3] for i in range(500)]
    arrays = normal(sizes, 2)
    gradients = [packed(bench, [a], d)[0] for a, d in zip(arrays, dtypes, strict=True)]
    result = bench.numpy(GradientCheck(sizes, dtypes)(gradients))
    values = [bench.values(g, d).astype(np.float64) for g, d in zip(gradients, dtypes, strict=True)]
    norm = np.sqrt(sum((v**2).sum() for v in values))
    np.testing.assert_allclose(result[NORM], norm, rtol=100 * 2.0**-53)
    assert result[LARGEST] == max(np.abs(v).max(initial=0) for v in values)


def test_squares_beyond_float32_do_not_overflow(bench):
    gradients = packed(bench, [np.full(100, 3e38)], float32)
    result = bench.numpy(GradientCheck([100], [float32])(gradients))
    assert result[FOUND] == 0
    np.testing.assert_allclose(result[NORM], np.float64(np.float32(3e38)) * 10, rtol=1e-15)


ADAM = [
    {"decoupled": True, "weight_decay": 0.01},
    {"decoupled": True, "weight_decay": 0.0},
    {"decoupled": False, "weight_decay": 0.1},
]


@pytest.mark.parametrize("options", ADAM)
@pytest.mark.parametrize("dtype", [float16, bfloat16, float32], ids=lambda d: d.name)
@pytest.mark.parametrize("mode", ["nearest_even", "toward_zero"])
def test_adam(bench, options, dtype, mode):
    copied = dtype is not float32
    rules = {"lr": 3e-4, "betas": (0.9, 0.999), "eps": 1e-8}
    rule = adamw if options["decoupled"] else adam
    w, m, v = normal(SIZES, 3), normal(SIZES, 4, 0), normal(SIZES, 5, 0)
    on_gpu = [packed(bench, arrays, float32) for arrays in (w, m, v)]
    copies = packed(bench, w, dtype) if copied else None
    stepping = AdamStep(*on_gpu, copies, dtype if copied else None)
    step = rule(np, lambda x: x, weight_decay=options["weight_decay"], **rules)
    check, scale, clip = GradientCheck(SIZES, [dtype] * len(SIZES)), 512.0, 0.5
    for t in range(1, 6):
        gradients = packed(bench, normal(SIZES, 10 + t, 300), dtype)
        found = check(gradients, device(bench, scale), max_norm=clip)
        stepping(
            gradients, dtype, lr=device(bench, rules["lr"]), betas=rules["betas"],
            eps=rules["eps"], mode=mode, check=found, scale=device(bench, scale), **options,
        )  # fmt: skip
        factor = np.float32(bench.numpy(found)[CLIP])
        for k, gradient in enumerate(gradients):
            g = bench.values(gradient, dtype) * np.float32(1 / scale) * factor
            w[k] = w[k] + -step(t, w[k], g, m[k], v[k])
            np.testing.assert_array_equal(bench.numpy(on_gpu[0][k]), w[k])
            np.testing.assert_array_equal(bench.numpy(on_gpu[1][k]), m[k])
            np.testing.assert_array_equal(bench.numpy(on_gpu[2][k]), v[k])
            if copied:
                words = encode(w[k], dtype, mode)
                np.testing.assert_array_equal(bench.numpy(copies[k]).view(dtype.words), words)
    assert bench.numpy(stepping.steps) == 5


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_decay": 0.1},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.25, "weight_decay": 0.01},
        {"momentum": 0.9, "nesterov": True},
    ],
)
@pytest.mark.parametrize("dtype", [float16, float32], ids=lambda d: d.name)
def test_sgd(bench, options, dtype):
    complete = {"momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False}
    complete |= options
    w = normal(SIZES, 3)
    buffers = [np.full_like(a, np.nan) for a in w] if complete["momentum"] else [None] * len(w)
    weights, copies = packed(bench, w, float32), packed(bench, w, float16)
    on_gpu = packed(bench, buffers, float32) if complete["momentum"] else None
    stepping = SgdStep(weights, on_gpu, copies, float16)
    step = sgd(np, lambda x: x, lr=0.1, **complete)
    for t in range(1, 4):
        gradients = packed(bench, normal(SIZES, 10 + t), dtype)
        stepping(gradients, dtype, lr=device(bench, 0.1), **complete)
        for k, gradient in enumerate(gradients):
            g = bench.values(gradient, dtype)
            w[k] = w[k] + -step(t, w[k], g, buffers[k])
            np.testing.assert_array_equal(bench.numpy(weights[k]), w[k])
            if on_gpu:
                np.testing.assert_array_equal(bench.numpy(on_gpu[k]), buffers[k])
            words = encode(w[k], float16, "nearest_even")
            np.testing.assert_array_equal(bench.numpy(copies[k]).view(np.uint16), words)


def test_a_skipped_step_changes_nothing(bench):
    w = normal(SIZES, 0)
    lists = [packed(bench, w, float32) for _ in range(3)]
    copies = packed(bench, normal(SIZES, 1), float16)
    before = [bench.numpy(a).copy() for a in (*lists[0], *lists[1], *lists[2], *copies)]
    adam_step, sgd_step = AdamStep(*lists, copies, float16), SgdStep(lists[0], lists[1], copies)
    check = GradientCheck(SIZES, [float16] * len(SIZES))
    arrays = normal(SIZES, 2)
    arrays[4][17] = np.inf
    gradients = packed(bench, arrays, float16)
    given = {"lr": device(bench, 0.1), "check": check(gradients)}
    options = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1, "decoupled": True}
    adam_step(gradients, float16, **given, **options)
    sgd_step(gradients, float16, momentum=0.9, **given)
    after = [bench.numpy(a) for a in (*lists[0], *lists[1], *lists[2], *copies)]
    for first, second in zip(before, after, strict=True):
        np.testing.assert_array_equal(first, second)
    assert bench.numpy(adam_step.steps) == bench.numpy(sgd_step.steps) == 0


def test_more_tensors_than_a_launch_takes(bench):
    sizes = [1 + i % 9 for i in range(300)]
    w = normal(sizes, 0)
    weights = packed(bench, w, float32)
    gradients = packed(bench, normal(sizes, 1), float16)
    SgdStep(weights)(gradients, float16, lr=device(bench, 0.5))
    for k, gradient in enumerate(gradients):
        expected = w[k] - np.float32(0.5) * bench.values(gradient, float16)
        np.testing.assert_array_equal(bench.numpy(weights[k]), expected)


def test_tensors_that_begin_anywhere(bench):
    base, grads = (
        bench.packed(normal([60], 0)[0], float32),
        bench.packed(normal([60], 1)[0], float16),
    )
    w, g = bench.values(base, float32).copy(), bench.values(grads, float16)
    weights = [base.storage[1:18], base.storage[20:57]]
    gradients = [grads.storage[3:20], grads.storage[21:58]]
    SgdStep(weights)(gradients, float16, lr=device(bench, 0.5))
    np.testing.assert_array_equal(bench.numpy(weights[0]), w[1:18] - np.float32(0.5) * g[3:20])
    np.testing.assert_array_equal(bench.numpy(weights[1]), w[20:57] - np.float32(0.5) * g[21:58])
    np.testing.assert_array_equal(bench.numpy(base.storage)[18:20], w[18:20])


@pytest.mark.parametrize("settings", [(2.0, 0.5, 3), (1.5, 0.7, 2)])
def test_the_loss_scale_follows_the_policy(bench, settings):
    growth, backoff, interval = settings
    policy = DynamicLossScale(2.0**120, growth, backoff, interval)
    state = policy.start
    scale, clean = device(bench, state.scale), device(bench, 0)
    used, gradient = device(bench, 0), bench.put(np.zeros(1, np.float32))
    how = {"growth": growth, "backoff": backoff, "interval": interval}
    for found in [0, 0, 0, 1, 0, 1, 1] + [0] * 40:
        check = bench.put(np.array([1.0, found, 1.0, 1.0]))
        next_scale(check, scale, clean, used, gradient, **how)
        assert bench.numpy(used) == state.scale
        state = policy.next(state, bool(found))
        assert bench.numpy(scale) == bench.numpy(gradient) == state.scale
        assert bench.numpy(clean) == state.clean_steps
