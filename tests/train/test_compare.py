"""Runs of a comparison: equal to unwatched ones, in one process or several, and truly measured."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from tinymp.devices import get_rng_state
from tinymp.train import Configuration, Run, train_step
from tinymp.train.compare import StepWatch, compare, run
from tinymp.train.comparison import REFERENCE, recoveries, summaries, verdict
from tinymp.train.comparison_settings import SETTINGS, configurations

SMALL = Configuration(epochs=6, hidden=(8,), batch_size=719)


def without_time(found: Run) -> Run:
    return replace(found, step_seconds=0.0)


@pytest.mark.parametrize("policy", ["fp16", "autocast-fp16", "bf16-naive-stochastic"])
def test_watching_a_step_changes_nothing(runs: Any, policy: str) -> None:
    results = []
    for watched in (False, True):
        training = runs.training(policy=policy)
        watch = StepWatch()
        for batch in training.loader.epoch(0):
            record = watch.train_step(training, *batch) if watched else train_step(training, *batch)
        weights = [p.storage.tobytes() for p in training.model.parameters()]
        results.append((weights, record, get_rng_state(), training.scaler.state_dict()))
    assert results[0] == results[1]
    assert watch.gradients.total() > 0
    assert len(watch.updates.steps) > 0


def test_underflow_and_lost_updates_are_those_of_the_policy() -> None:
    """A loss of weight 2^-20 and small steps: each policy loses what its formats cannot hold."""
    tiny = replace(SMALL, loss_weight=2.0**-20, lr=1e-5)
    found = {
        name: run(replace(tiny, policy=name))
        for name in ("fp32", "fp16", "fp16-unscaled", "bf16-naive", "bf16-naive-nearest")
    }
    assert found["fp16-unscaled"].underflow > 0.9
    assert found["fp16"].underflow < 0.1
    assert found["fp32"].underflow == found["bf16-naive"].underflow == 0
    assert found["bf16-naive-nearest"].lost > 0.9
    assert found["fp32"].lost < 0.1
    assert found["bf16-naive-nearest"].more_than_doubled == 0
    assert 0.3 < found["bf16-naive"].more_than_doubled < 0.7
    assert found["bf16-naive"].lost + found["bf16-naive"].amplified <= 1


def test_activations_and_gradients_take_half_the_bytes_of_float32() -> None:
    wide, narrow = (run(replace(SMALL, policy=name)).memory for name in ("fp32", "fp16"))
    assert narrow["gradients"] == {"float16": wide["gradients"]["float32"] // 2}
    kept, whole = narrow["saved activations"], wide["saved activations"]
    assert kept["int64"] == whole["int64"]
    assert 2 * kept["float16"] == whole["float32"] - kept["float32"]


def test_the_order_is_kept_and_each_run_is_heard_of() -> None:
    heard: list[Run] = []
    configured = configurations(replace(SMALL, epochs=2), ["bf16", "fp32"], 2)
    found = compare(configured, 1, heard.append)
    assert [(r.policy, r.seed) for r in found] == [(c.policy, c.seed) for c in configured]
    assert heard == found
    for r in found:
        assert r.steps == 4
        assert r.curve[-1] == (4, r.loss)
        assert 0 < r.step_seconds < 10 or math.isnan(r.step_seconds)


def test_processes_of_their_own_give_the_same_runs() -> None:
    configured = configurations(replace(SMALL, epochs=2), ["fp16", "fp32"], 1)
    apart = [without_time(r) for r in compare(configured, 2)]
    here = [without_time(r) for r in compare(configured, 1)]
    for one, other in zip(apart, here, strict=True):
        # How BLAS divides its work among threads is not part of the promise.
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert replace(one, loss=0, curve=[], accuracy=0, underflow=0, lost=0, amplified=0) == (
            replace(other, loss=0, curve=[], accuracy=0, underflow=0, lost=0, amplified=0)
        )


def test_a_run_that_cannot_go_on_is_divergent() -> None:
    found = run(replace(SMALL, policy="fp16", lr=1e30, epochs=200))
    assert found.stopped
    assert math.isnan(found.loss)
    assert found.steps < 400


@pytest.mark.slow
def test_the_ablation_shows_what_each_ingredient_does() -> None:
    """The default comparison on digits, over five seeds."""
    names = (
        "fp32", "fp16", "fp16-unscaled", "fp16-naive", "bf16", "bf16-naive", "bf16-naive-nearest",
        "bf16-naive-stochastic",
    )  # fmt: skip
    found = summaries(compare(configurations(SETTINGS["digits"].configuration, names, 5)))
    by_name = {summary.policy: summary for summary in found}
    verdicts = {name: verdict(summary, by_name[REFERENCE]) for name, summary in by_name.items()}
    for name in ("fp16", "bf16", "bf16-naive-stochastic"):
        assert verdicts[name] == "within noise"
    for name in ("fp16-unscaled", "fp16-naive", "bf16-naive", "bf16-naive-nearest"):
        assert verdicts[name] in ("worse", "divergent")
    shares = {plain: share for plain, by, share in recoveries(found) if plain != "fp16-naive"}
    assert shares.keys() == {"bf16-naive", "bf16-naive-nearest"}
    assert min(shares.values()) >= 0.8
