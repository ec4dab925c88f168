"""Lost and amplified updates, counted exactly."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinymp as mp
from tinymp.formats import decode, encode
from tinymp.inspect import UpdateReport, UpdateWatch, intended_updates, update_report

Array = np.ndarray[Any, Any]

# Small enough to vanish in BF16, and large enough for the float32 sum of an optimizer to feel it.
TINY = 2.0**-20
# Weights, updates and what becomes of them in BF16, whose ulp is 2^-7 above 1 and 2^-8 below.
CASES = [
    ("toward_zero", 1.0, TINY, "lost"),
    ("toward_zero", 1.0, -TINY, "more_than_doubled"),
    ("toward_zero", -1.0, TINY, "more_than_doubled"),
    ("toward_zero", 1.0, 2.0**-7, "exact"),
    ("toward_zero", 1.0, -(2.0**-8), "exact"),
    ("toward_zero", 1.0, -0.75 * 2.0**-8, "amplified"),
    ("toward_zero", 1.0, 1.5 * 2.0**-7, "shortened"),
    ("nearest_even", 1.0, TINY, "lost"),
    ("nearest_even", 1.0, -TINY, "lost"),
    ("nearest_even", 1.0, 2.0**-8, "lost"),
    ("nearest_even", 1.0, 1.5 * 2.0**-8, "amplified"),
    ("nearest_even", 1.0, -(2.0**-9) * 1.001, "amplified"),
    ("nearest_even", 1.0, 0.0, "none"),
]


@pytest.mark.parametrize(("mode", "w", "u", "kind"), CASES)
def test_single_updates(mode: str, w: float, u: float, kind: str) -> None:
    after = decode(encode(np.array([w + u]), mp.bfloat16, mode), mp.bfloat16)
    report = update_report(np.array([w]), after, np.array([u]))
    assert report.total == 1
    assert report.intended == int(kind != "none")
    assert report.lost == int(kind == "lost")
    assert report.amplified == int(kind in ("amplified", "more_than_doubled"))
    assert report.more_than_doubled == int(kind == "more_than_doubled")


@pytest.mark.parametrize("mode", ["nearest_even", "toward_zero"])
@pytest.mark.parametrize("dtype", [mp.float8_e4m3fn, mp.float8_e5m2], ids=lambda d: d.name)
def test_all_updates_of_all_weights_of_8_bits(dtype: mp.DType, mode: str) -> None:
    """Every finite weight with every finite update, against exact rational arithmetic."""
    words = np.arange(256).astype(np.uint8)
    numbers = decode(words, dtype).astype(np.float64)
    numbers = numbers[np.isfinite(numbers)]
    w, u = (x.ravel() for x in np.meshgrid(numbers, numbers * 2.0**-3))
    after = decode(encode(w + u, dtype, mode), dtype).astype(np.float64)
    lost = amplified = doubled = 0
    for a, b, step in zip(w, after, u, strict=True):
        if step != 0 and np.isfinite(b):
            applied = abs(Fraction(b) - Fraction(a))
            lost += applied == 0
            amplified += applied > abs(Fraction(step))
            doubled += applied > 2 * abs(Fraction(step))
    report = update_report(w, after, u)
    assert (report.lost, report.amplified, report.more_than_doubled) == (lost, amplified, doubled)
    assert report.intended == int((u != 0).sum())
    # To nearest, w itself is at distance |u| from w + u, so nothing moves further than 2|u|.
    assert (doubled == 0) == (mode == "nearest_even")


def test_the_comparison_is_exact_where_float64_is_not() -> None:
    """2^100 + 2^-100 moved, 2^100 meant: the excess is far below a float64 ulp."""
    report = update_report(np.array([-(2.0**-100)]), np.array([2.0**100]), np.array([2.0**100]))
    assert report.amplified == 1
    report = update_report(np.array([2.0**-100]), np.array([2.0**100]), np.array([2.0**100]))
    assert report.amplified == 0
    report = update_report(np.array([2.0**-100]), np.array([-(2.0**100)]), np.array([-(2.0**100)]))
    assert report.amplified == 1


FLOATS = st.floats(-(2.0**20), 2.0**20, width=32)


@given(
    st.lists(st.tuples(FLOATS, FLOATS), max_size=30),
    st.sampled_from([mp.float16, mp.bfloat16]),
    st.sampled_from(["nearest_even", "toward_zero", "stochastic"]),
)
def test_laws(pairs: list[tuple[float, float]], dtype: mp.DType, mode: str) -> None:
    given_w = np.array([w for w, _ in pairs], np.float32)
    u = np.array([u for _, u in pairs], np.float32)
    w = decode(encode(given_w, dtype, "toward_zero"), dtype)
    after = decode(encode(w.astype(np.float64) + u, dtype, mode), dtype)
    report = update_report(w, after, u)
    assert report.lost + report.amplified <= report.intended <= report.total == len(pairs)
    assert report.more_than_doubled <= report.amplified
    if mode == "nearest_even":
        assert report.more_than_doubled == 0
    same = update_report(w, w, u)
    assert (same.lost, same.intended) == (int((u != 0).sum()), int((u != 0).sum()))
    half = len(pairs) // 2
    parts = (
        update_report(w[:half], after[:half], u[:half]),
        update_report(w[half:], after[half:], u[half:]),
    )
    together = parts[0] + parts[1]
    assert (together.lost, together.amplified) == (report.lost, report.amplified)


def test_updates_that_are_not_finite_are_neither() -> None:
    report = update_report([1.0, 1.0, 1.0], [np.inf, 1.0, np.nan], [1e9, np.nan, 1.0])
    assert (report.total, report.intended, report.lost, report.amplified) == (3, 3, 0, 0)
    assert report.sum_intended == 0


@pytest.mark.parametrize("mode", ["nearest_even", "toward_zero"])
def test_a_watched_optimizer(mode: str, device: str) -> None:
    weight = mp.nn.Parameter(mp.ones(4, dtype=mp.bfloat16, device=device))
    model = mp.nn.Module()
    model.weight = weight
    optimizer = mp.optim.SGD([weight], lr=1.0)
    watch = UpdateWatch()
    for _ in range(2):
        # Up, down, none, and down by exactly one ulp of what lies below 1.
        weight.grad = mp.tensor([-TINY, TINY, 0.0, 2.0**-8], mp.bfloat16, device)
        with mp.rounding(mode), watch.step(optimizer, model):
            optimizer.step()
    assert list(watch.by_parameter) == ["weight"]
    assert len(watch.steps) == 2
    assert watch.total == watch.by_parameter["weight"] == watch.steps[0] + watch.steps[1]
    truncates = mode == "toward_zero"
    assert watch.total.intended == 6
    assert watch.total.lost == (2 if truncates else 4)
    assert watch.total.more_than_doubled == (2 if truncates else 0)
    assert watch.steps[0].lost_share == (1 / 3 if truncates else 2 / 3)


OPTIMIZERS = [
    lambda p: mp.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    lambda p: mp.optim.Adam(p, lr=0.01, weight_decay=0.1),
    lambda p: mp.optim.AdamW(p, lr=0.01),
]


@pytest.mark.parametrize("make", OPTIMIZERS, ids=["sgd", "adam", "adamw"])
def test_the_intended_update_is_what_a_float64_step_applies(make: Any) -> None:
    w = mp.nn.Parameter(mp.randn(5).to(mp.float64))
    optimizer = make([w])
    for _ in range(3):
        w.grad = mp.randn(5).to(mp.float64)
        before = w.numpy()
        ((parameter, u),) = intended_updates(optimizer)
        assert parameter is w
        np.testing.assert_array_equal(w.numpy(), before)
        optimizer.step()
        np.testing.assert_array_equal(w.numpy(), before + u)


def test_a_skipped_step_and_missing_gradients_count_nothing() -> None:
    w, frozen = mp.nn.Parameter(mp.ones(2)), mp.nn.Parameter(mp.ones(3))
    optimizer = mp.optim.SGD([w, frozen], lr=1.0)
    w.grad = mp.ones(2)
    watch = UpdateWatch()
    with watch.step(optimizer):
        pass
    assert watch.total == UpdateReport()
    with watch.step(optimizer):
        optimizer.step()
    assert watch.total.total == 2
    assert list(watch.by_parameter) == ["parameter 0"]


def test_text_and_bad_shapes() -> None:
    report = update_report(np.ones(3), [1.0, 0.5, 1.0], [2.0**-30, -(2.0**-30), 0.0])
    assert str(report).splitlines()[0] == "2 updates of 3 weights"
    assert "lost                      1  50.00 %" in str(report)
    assert (report.lost_share, report.amplified_share) == (0.5, 0.5)
    assert str(UpdateWatch()).splitlines()[-1].split() == "all 0 0 % 0 % 0 %".split()
    with pytest.raises(ValueError, match=r"shape \(3,\) before, \(3,\) after and .* \(2,\)"):
        update_report(np.ones(3), np.ones(3), np.ones(2))
