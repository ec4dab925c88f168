"""What the experiments find is what theory says, and the same figures come out again."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import tinymp as mp
from tinymp import lab
from tinymp.devices import get_rng_state
from tinymp.formats import encode, float16
from tinymp.inspect import histogram
from tinymp.lab.result import powers_of_two
from tinymp.lab.scale import _flushed, _overflow

SMALL = {
    "sums": {"longest": 1024, "repeats": 4},
    "dots": {"longest": 128, "repeats": 8},
    "matmul": {"longest": 64, "size": 8},
    "updates": {"count": 400},
    "scale": {"steps": 20, "hidden": 16},
}


@pytest.fixture(scope="module")
def results():
    return {name: lab.get_experiment(name).run(**given) for name, given in SMALL.items()}


def row(result, name):
    return next(row for row in result.rows if row[0] == name)


def curve(result, panel, label):
    found = next(p for p in result.panels if p.title.startswith(panel))
    return next(c for c in found.curves if c.label == label)


def test_every_experiment_is_listed_and_has_a_quick_form():
    assert list(lab.EXPERIMENTS) == list(SMALL)
    for name, experiment in lab.EXPERIMENTS.items():
        assert getattr(lab, name) is experiment.run
        assert experiment.quick
    with pytest.raises(ValueError, match=r"unknown experiment 'sum'; expected one of sums, dots"):
        lab.get_experiment("sum")


@pytest.mark.parametrize("name", SMALL)
def test_the_same_figures_come_out_again_and_no_other_randomness_is_touched(name, results):
    mp.manual_seed(123)
    assert lab.get_experiment(name).run(**SMALL[name]) == results[name]
    assert get_rng_state() == (123, 0)
    assert results[name].settings.items() >= SMALL[name].items()


@pytest.mark.parametrize("name", SMALL)
def test_the_curves_of_a_panel_can_be_told_apart(name, results):
    for panel in results[name].panels:
        drawn = [(c.style, c.dashed) for c in panel.curves if c.kind == "measured"]
        assert len(set(drawn)) == len(drawn) <= 8, panel.title
        assert all(len(c.x) == len(c.y) > 1 for c in panel.curves)
        assert panel.x_label
        assert panel.y_label


def test_ones_stop_where_the_next_number_is_two_away(results):
    found = results["sums"]
    assert row(found, "bfloat16, to nearest")[1:3] == ("256", "256")
    assert row(found, "bfloat16, truncated")[1:3] == ("256", "256")
    for right in ("float32", "float16, to nearest", "bfloat16, pairwise", "bfloat16, Kahan"):
        assert row(found, right)[1:3] == ("1,024", "-")
    assert "stop at 256 = 2^8" in found.findings[0]
    ones = curve(found, "ones", "bfloat16, to nearest")
    assert ones.y == tuple(min(1.0, 256 / n) for n in ones.x)


@pytest.mark.slow
def test_float16_ones_stop_in_the_quick_form_too():
    found = lab.sums(**lab.EXPERIMENTS["sums"].quick)
    assert row(found, "float16, to nearest")[1:3] == ("2,048", "2,048")
    assert row(found, "float16, pairwise")[1:3] == ("4,096", "-")
    assert "stop at 2,048 = 2^11" in found.findings[0]


def test_truncation_drifts_and_stochastic_rounding_follows(results):
    cut = curve(results["sums"], "uniform", "float16, truncated").y
    assert all(a > b for a, b in pairwise(cut))
    assert cut[-1] < 0.9
    followed = curve(results["sums"], "uniform", "float16, stochastic").y
    # Errors of mean zero: 5 standard deviations of about √n u / √repeats, u = 2^-10.
    assert all(abs(y - 1) < 5 * np.sqrt(1024) * 2.0**-10 / 2 for y in followed)


def test_dot_products_keep_within_gamma(results):
    found = results["dots"]
    for panel in found.panels:
        gamma = next(c for c in panel.curves if c.label.startswith("γ_n"))
        for c in panel.curves:
            if c.kind == "measured":
                pairs = zip(c.y, gamma.y, strict=True)
                assert all(limit is None or y <= limit for y, limit in pairs)
    assert "γ_n holds for" in found.findings[0]
    drifting = curve(found, "float16, positive", "truncated").y
    root = curve(found, "float16, positive", "√n u, u = 2^-10").y
    assert drifting[-1] > root[-1]


def test_products_have_hoppers_bits_where_they_are_hoppers(results):
    found = results["matmul"]
    assert row(found, "tensor core, hopper")[2] == "100.0%"
    share = curve(found, "bits of", "float32, in order").y
    assert 0 < share[-1] < share[0] < 100
    for name in ("hopper", "ampere", "volta"):  # what is cut is lost
        drift = curve(found, "positive", f"tensor core, {name}").y
        assert all(y < 0 for y in drift)
    worst = {r[0]: float(r[1]) for r in found.rows}
    assert worst["float64"] < worst["float32, in order"] < worst["float16"] < worst["bfloat16"]


def test_updates_are_lost_below_half_a_unit(results):
    found = results["updates"]
    for name, p in (("bfloat16", 8), ("float16", 11)):
        lost = curve(found, "to nearest: what happens", f"{name}: lost").y
        # Half a unit of a weight from 1 to 2 is 2^-p: updates from there to 2^-p·2 arrive, smaller
        # ones do not, but for ties, and for a weight of 1, below which units are half as large.
        assert all(share == 100 for share in lost[p + 2 :])
        assert lost[p + 1] > 95
        assert lost[p] < 5
        assert all(share == 0 for share in lost[: p - 1])
        enlarging = curve(found, "truncated: what arrives", f"{name}: enlarging").y
        shrinking = curve(found, "truncated: what arrives", f"{name}: shrinking").y
        assert enlarging[p + 2] == 0
        assert shrinking[p + 2] > 4
    for c in found.panels[2].curves:  # stochastic: each is lost, exact, amplified, or falls short
        assert all(0 <= y <= 100 for y in c.y)


def test_a_scale_flushes_what_a_histogram_counts(results):
    found = results["scale"]
    flushed = curve(found, "flushed to zero, step", "float16").y
    assert all(a >= b for a, b in pairwise(flushed))
    assert curve(found, "flushed to zero, step", "bfloat16").y == (0,) * 25
    g = np.exp2(np.random.default_rng(0).uniform(-40, 10, 3000)).astype(np.float32)
    g[:4] = 2.0**-25, np.nextafter(np.float32(2.0**-25), np.float32(1)), 65520, 65519
    sizes = np.sort(g.astype(np.float64))
    for e in (0, 3, 20):
        counted = histogram(g, float16, scale=2.0**e)
        assert _flushed(sizes, float16, range(e, e + 1))[0] == counted.share("underflow")
        assert _overflow(sizes, float16, range(e, e + 1))[0] == pytest.approx(
            counted.share("overflow"), abs=1e-15
        )
        zeros = encode(g * np.float64(2.0**e), float16, "nearest_even") == 0
        assert _flushed(sizes, float16, range(e, e + 1))[0] == zeros.mean()


def test_what_they_do_not_take():
    with pytest.raises(ValueError, match="powers of two, and 100 is none"):
        lab.sums(longest=100)
    with pytest.raises(ValueError, match="longest=16 and repeats=8; it takes 32 terms or more"):
        lab.sums(longest=16, repeats=8)
    with pytest.raises(ValueError, match="at least 16, but 8 was given"):
        powers_of_two(16, 8)
    with pytest.raises(ValueError, match="repeats must be at least 1, but 0"):
        lab.dots(repeats=0)
    with pytest.raises(ValueError, match="size must be at least 1, but 0"):
        lab.matmul(size=0)
    with pytest.raises(ValueError, match=r"count=0, formats=\['float16'\]; it takes a count of 1"):
        lab.updates(count=0, formats=["float16"])
    with pytest.raises(ValueError, match="steps=3 and largest=24; it needs 4 steps or more"):
        lab.scale(steps=3)
