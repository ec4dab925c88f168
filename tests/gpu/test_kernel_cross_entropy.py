"""cross_entropy on a GPU: the rule, within the error of its online sum, and labels of all kinds."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from tinymp.devices.kernels.cross_entropy import cross_entropy, group_threads
from tinymp.devices.kernels.cross_entropy_gradient import cross_entropy_gradient
from tinymp.devices.kernels.twin import Target
from tinymp.formats import bfloat16, float16, float32
from tinymp.ops.classification import CROSS_ENTROPY

pytestmark = pytest.mark.gpu

U = 2.0**-24
FLOAT32 = Target(float32, "nearest_even")
NARROW = Target(float16, "nearest_even")
SHAPES = [(1, 1), (5, 2), (64, 10), (9, 100), (33, 256), (4, 5000), (3, 50257), (2, 50304)]
CASES = [(shape, float16, "mean") for shape in SHAPES] + [
    (shape, dtype, reduction)
    for shape in [(64, 10), (7, 1003)]
    for dtype in (float16, bfloat16, float32)
    for reduction in ("mean", "sum", "none")
]
OPTIONS = {"ignore_index": -100, "smoothing": 0.0}


def logits(bench, shape, dtype, scale=3.0):
    rng = np.random.default_rng([*shape])
    labels = rng.integers(0, shape[1], shape[0])
    if shape[0] > 4:
        labels[3] = -100
    return bench.packed(rng.standard_normal(shape) * scale, dtype), labels


def logsumexp_bound(x64, lse, itemsize):
    """The error that cross_entropy states: E is softmax's mean distance from the maximum."""
    classes = x64.shape[1]
    highest = x64.max(1)
    distance = (np.exp(x64 - lse[:, None]) * (highest[:, None] - x64)).sum(1)
    threads, count = group_threads(classes * itemsize), 16 // itemsize
    scalings = classes // (count * threads) + 4
    additions = count * scalings + 16
    in_sum = (4 + 3 * distance + additions + 5 * scalings) * U
    return 1.01 * (in_sum + 2 * U * np.abs(lse - highest) + U * np.abs(lse)), in_sum


@pytest.mark.parametrize(("shape", "dtype", "reduction"), CASES)
def test_forward_and_gradient(bench, shape, dtype, reduction):
    x, labels = logits(bench, shape, dtype)
    on_gpu, x64 = bench.integers(labels), bench.exact(x)
    options = {**OPTIONS, "reduction": reduction}
    loss, lse, counted = cross_entropy(x, on_gpu, target=FLOAT32, **options)
    exact, exact_lse = CROSS_ENTROPY.forward(bench.rules, x64, labels, None, **options)
    of_lse, _ = logsumexp_bound(x64, exact_lse, dtype.itemsize)
    bench.check(bench.numpy(lse), exact_lse, of_lse, *FLOAT32)

    counts = labels != -100
    chosen = x64[np.arange(len(labels)), np.where(counts, labels, 0)]
    losses = np.where(counts, exact_lse - chosen, 0)
    each = np.where(counts, of_lse + 1.01 * U * np.abs(losses), 0)
    if reduction == "none":
        bound = each
    else:
        bound = (each.sum() + 1.01 * (len(labels) + 2) * U * np.abs(losses).sum()) / (
            counts.sum() if reduction == "mean" else 1
        )
    bench.check(bench.numpy(loss), exact, bound, *FLOAT32)

    g = np.float32(1024.0) if reduction != "none" else np.linspace(-3, 3, len(labels))
    g = bench.packed(g, float32)
    lse32 = exact_lse.astype(np.float32)
    target = Target(dtype, "nearest_even")
    (dx,) = cross_entropy_gradient(
        g, targets=(target,), x=x, labels=on_gpu, weight=None, logsumexp=bench.put(lse32),
        counted=counted, **options,
    )  # fmt: skip
    rule = CROSS_ENTROPY.gradients["x"].function
    lse64 = lse32.astype(np.float64)
    with np.errstate(all="ignore"):
        exact = rule(bench.rules, bench.exact(g), x64, labels, None, lse64, -100, reduction, 0.0)
    distance = np.abs(x64 - lse64[:, None])
    power = np.exp(x64 - lse64[:, None])
    share = np.abs(bench.exact(g)) / (counts.sum() if reduction == "mean" else 1)
    share = share[:, None] if reduction == "none" else share
    bound = share * power * (4 + 3 * distance) * U + 3 * U * np.abs(exact)
    bench.check(bench.values(dx, dtype), exact, 1.01 * bound, *target)


@pytest.mark.parametrize("mode", ["nearest_even", "toward_zero"])
def test_the_loss_is_rounded_where_it_is_stored_narrow(bench, mode):
    x, labels = logits(bench, (64, 10), float16)
    wide, *_ = cross_entropy(x, bench.integers(labels), target=FLOAT32, reduction="mean", **OPTIONS)
    target = Target(bfloat16, mode)
    narrow, *_ = cross_entropy(
        x, bench.integers(labels), target=target, reduction="mean", **OPTIONS
    )
    from tinymp.formats import encode

    assert bench.numpy(narrow) == encode(bench.numpy(wide), bfloat16, mode)


def test_every_alignment_of_a_row(bench):
    for classes in range(1, 40):
        x, labels = logits(bench, (9, classes), float16)
        _, lse, _ = cross_entropy(
            x, bench.integers(labels), target=FLOAT32, reduction="sum", **OPTIONS
        )
        exact = np.log(np.exp(bench.exact(x)).sum(1))
        np.testing.assert_allclose(bench.numpy(lse), exact, rtol=1e-5, atol=1e-5)


def test_a_label_outside_the_classes_makes_loss_and_gradient_nan_in_its_row_alone(bench):
    x, labels = logits(bench, (8, 100), float16)
    for wrong in (-1, 100, 2**40):
        labels[5] = wrong
        options = {**OPTIONS, "reduction": "none"}
        given = bench.integers(labels)
        losses, lse, counted = cross_entropy(x, given, target=FLOAT32, **options)
        np.testing.assert_array_equal(np.isnan(bench.numpy(losses)), np.arange(8) == 5)
        g = bench.packed(np.ones(8), float32)
        (dx,) = cross_entropy_gradient(
            g, targets=(NARROW,), x=x, labels=given, weight=None, logsumexp=lse,
            counted=counted, **options,
        )  # fmt: skip
        nan = np.isnan(bench.values(dx, float16))
        np.testing.assert_array_equal(nan, np.broadcast_to(np.arange(8)[:, None] == 5, (8, 100)))


def test_ignored_rows_take_no_gradient_even_from_an_infinite_one(bench):
    x, labels = logits(bench, (6, 40), float16)
    labels[:] = -100
    options = {**OPTIONS, "reduction": "mean"}
    loss, lse, counted = cross_entropy(x, bench.integers(labels), target=FLOAT32, **options)
    assert np.isnan(bench.numpy(loss))  # 0 / 0, as in the rule
    g = bench.packed(np.float32(1), float32)
    (dx,) = cross_entropy_gradient(
        g, targets=(NARROW,), x=x, labels=bench.integers(labels), weight=None, logsumexp=lse,
        counted=counted, **options,
    )  # fmt: skip
    assert not bench.numpy(dx).any()


def test_where_no_label_is_ignored_all_count(bench):
    x, labels = logits(bench, (4, 10), float16)
    options = {"reduction": "mean", "smoothing": 0.0}
    labels[2] = 0  # what stands for no ignore_index must not be a label
    given = bench.integers(labels)
    loss, lse, counted = cross_entropy(x, given, target=FLOAT32, ignore_index=None, **options)
    again, *_ = cross_entropy(x, given, target=FLOAT32, ignore_index=-100, **options)
    assert bench.numpy(counted) == 4
    assert bench.numpy(loss) == bench.numpy(again)
    g = bench.packed(np.float32(1), float32)
    kept = {"labels": given, "weight": None, "logsumexp": lse, "counted": counted}
    (dx,) = cross_entropy_gradient(g, x, **kept, ignore_index=None, targets=(NARROW,), **options)
    assert bench.numpy(dx).astype(bool).any(1).all()


def test_infinities_and_nan(bench):
    values = np.random.default_rng(0).standard_normal((8, 300)).astype(np.float32)
    values[1, 3], values[2, 250], values[3, 7], values[4, :] = inf, np.nan, -inf, -inf
    values[5, :299] = -inf
    x, labels = bench.packed(values, float16), np.full(8, 7)
    options = {**OPTIONS, "reduction": "none"}
    ours = cross_entropy(x, bench.integers(labels), target=FLOAT32, **options)
    with np.errstate(all="ignore"):
        rule = CROSS_ENTROPY.forward(
            bench.rules, bench.exact(x).astype(np.float32), labels, None, **options
        )
    for result, expected in zip(ours[:2], rule, strict=True):
        bench.same_kind(bench.numpy(result), expected)


def test_what_is_not_served_is_left_to_the_rule(bench):
    x, labels = logits(bench, (8, 10), float16)
    given = bench.integers(labels)
    options = {"ignore_index": -100, "reduction": "mean"}
    assert cross_entropy(x, given, target=FLOAT32, smoothing=0.1, **options) is NotImplemented
    weight = bench.packed(np.ones(10), float32)
    result = cross_entropy(x, given, weight, target=FLOAT32, smoothing=0.0, **options)
    assert result is NotImplemented
