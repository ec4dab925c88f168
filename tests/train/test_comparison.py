"""What a comparison says: means, spreads and verdicts, on runs whose figures are known."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tinymp.train import Configuration, Run
from tinymp.train.comparison import (
    Summary,
    as_json,
    distance,
    recoveries,
    summaries,
    verdict,
)
from tinymp.train.comparison_plot import plot_comparison
from tinymp.train.comparison_settings import SETTINGS, configurations, fast, get_setting

MEMORY = {"gradients": {"float16": 2}, "saved activations": {"float16": 4, "int64": 8}}


def made_up(policy: str, *losses: float) -> Summary:
    runs = [
        Run(
            policy=policy, seed=seed, curve=[(1, loss)], loss=loss, accuracy=0.5, steps=1,
            skipped_steps=0, underflow=0.0, lost=0.0, amplified=0.0, more_than_doubled=0.0,
            memory=MEMORY, step_seconds=0.001,
        )
        for seed, loss in enumerate(losses)
    ]  # fmt: skip
    return Summary(policy, tuple(runs))


REFERENCE = made_up("fp32", 0.9, 1.0, 1.1)  # mean 1, deviation 0.1


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        (0.0, "within noise"),
        (0.19, "within noise"),
        (-0.19, "within noise"),
        (0.21, "unclear"),
        (0.29, "unclear"),
        (0.31, "worse"),
        (-0.29, "unclear"),
        (-0.31, "better"),
        (math.nan, "divergent"),
        (math.inf, "divergent"),
    ],
)
def test_verdicts(shift: float, expected: str) -> None:
    """Both deviations are 0.1, and so is the pooled one."""
    found = made_up("bf16", 0.9 + shift, 1.0 + shift, 1.1 + shift)
    assert verdict(found, REFERENCE) == expected
    if math.isfinite(shift):
        assert distance(found, REFERENCE) == pytest.approx(10 * shift)


def test_the_deviation_is_pooled_over_both() -> None:
    """√((0.1² + 0.7²) / 2) = 0.5."""
    found = made_up("fp16", 1.3, 2.0, 2.7)
    assert distance(found, REFERENCE) == pytest.approx(1.0 / 0.5)


def test_a_single_seed_gets_no_verdict_unless_it_diverged() -> None:
    alone = made_up("fp32", 1.0)
    assert verdict(made_up("bf16", 9.0), alone) == ""
    assert verdict(made_up("bf16", math.nan), alone) == "divergent"
    assert alone.spread("loss") == 0


def test_runs_that_do_not_vary_at_all() -> None:
    same = made_up("fp32", 1.0, 1.0)
    assert distance(same, same) == 0
    assert verdict(made_up("bf16", 2.0, 2.0), same) == "worse"


def test_recovered_shares_of_the_gap() -> None:
    found = [
        REFERENCE,
        made_up("bf16-naive", 1.9, 2.0, 2.1),
        made_up("bf16-naive-nearest", 1.05, 1.0, 1.1),  # within noise: there is no gap
        made_up("bf16-naive-stochastic", 1.1, 1.2, 1.3),
        made_up("bf16-stochastic", 1.0, 1.0, 1.0),
        made_up("bf16-kahan", 3.0, 3.0, 3.0),
        made_up("fp16-naive-stochastic", 1.0, 1.0, 1.0),  # another format's remedy
    ]
    assert [(plain, by, round(share, 6)) for plain, by, share in recoveries(found)] == [
        ("bf16-naive", "bf16-naive-stochastic", 0.8),
        ("bf16-naive", "bf16-stochastic", 1.0),
        ("bf16-naive", "bf16-kahan", -1.0),
    ]
    assert recoveries(found[1:]) == []


def test_every_summary_names_its_rounding() -> None:
    words = {name: made_up(name, 1.0).rounding for name in SETTINGS["digits"].policies}
    assert words["fp32"] == "none"
    assert words["autocast-fp16"] == words["bf16"] == words["bf16-kahan"] == "nearest"
    assert words["bf16-naive"] == "truncated"
    assert words["bf16-stochastic"] == "nearest, updates stochastic"


def test_json_has_every_figure_and_no_nan() -> None:
    configured = configurations(Configuration(), ["fp32", "fp16-naive"], 2)
    diverged = made_up("fp16-naive", 1.0, math.nan)
    document = json.loads(
        as_json(configured, [*made_up("fp32", 1.0, 2.0).runs, *diverged.runs]),
        parse_constant=lambda name: pytest.fail(f"{name} is no JSON"),
    )
    assert document["settings"]["lr"] == 0.005
    first, second = document["policies"]
    assert (first["loss"], second["verdict"], second["diverged"]) == (1.5, "divergent", 1)
    assert [run["loss"] for run in document["runs"]] == [1.0, 2.0, 1.0, None]


def test_runs_are_ordered_policy_by_policy() -> None:
    pairs = [(c.policy, c.seed) for c in configurations(Configuration(), ["bf16", "fp32"], 2)]
    assert pairs == [("bf16", 0), ("bf16", 1), ("fp32", 0), ("fp32", 1)]
    a, b = made_up("bf16", 1.0).runs[0], made_up("fp32", 1.0).runs[0]
    assert [s.policy for s in summaries([a, b, replace(a, seed=1)])] == ["bf16", "fp32"]


def test_every_setting_has_a_shorter_form() -> None:
    for name, setting in SETTINGS.items():
        short = fast(setting)
        steps = [s.configuration.epochs / s.configuration.batch_size for s in (short, setting)]
        assert steps[0] < steps[1]
        assert set(short.policies) <= set(setting.policies)
        assert short.configuration.data == name
    with pytest.raises(ValueError, match="unknown data 'mnist'; expected one of digits, spelling"):
        get_setting("mnist")


def test_draws_whatever_was_found(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    naive = [made_up("fp16-naive", math.nan, 2.0, 3.0), made_up("bf16-naive", 2.0, 2.1, 2.2)]
    for name, found in {"a": [REFERENCE, *naive], "b": naive, "c": [REFERENCE, *naive]}.items():
        plot_comparison(found, tmp_path / f"{name}.png", "a comparison")
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a.startswith(b"\x89PNG")
    assert a == c != b
