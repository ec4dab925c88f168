"""Digits are learned: FP16 with loss scaling and masters as well as FP32."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp.train import Configuration, Training, evaluate, make_task, train_epoch
from tinymp.train.digits_task import count_correct


def accuracy(**settings: Any) -> float:
    configuration = Configuration(**settings)
    training = Training(make_task(configuration), configuration)
    for _ in range(configuration.epochs):
        record = train_epoch(training, lambda step: None)
    return record.test_accuracy


@pytest.mark.slow
def test_fp16_ends_where_fp32_does_over_five_seeds() -> None:
    """The default run: at least 97 % each, and within one percentage point of FP32 on average."""
    means = {}
    for policy in ("fp32", "fp16"):
        reached = [accuracy(policy=policy, seed=seed) for seed in range(5)]
        assert min(reached) >= 0.97
        means[policy] = np.mean(reached)
    assert abs(means["fp16"] - means["fp32"]) <= 0.01


def test_a_short_fp16_run_learns() -> None:
    assert accuracy(policy="fp16", epochs=4) >= 0.93


def test_counts_what_is_largest_at_its_label_and_never_a_nan() -> None:
    logits = mp.tensor([[0.0, 2.0], [3.0, 1.0], [math.nan, 1.0], [1.0, math.nan], [5.0, 5.0]])
    assert count_correct(logits, mp.tensor([1, 1, 0, 1, 0])) == 2


def test_evaluation_leaves_no_graph_and_draws_nothing(runs: Any) -> None:
    from tinymp.devices import get_rng_state

    training = runs.training(policy="bf16")
    state = get_rng_state()
    first = evaluate(training)
    assert get_rng_state() == state
    assert evaluate(training) == first
    assert all(parameter.grad is None for parameter in training.model.parameters())


def test_the_mean_test_loss_weighs_each_example_the_same(runs: Any) -> None:
    """359 examples are a batch of 256 and one of 103."""
    training = runs.training(policy="fp32")
    test = training.task.test
    outputs = training.model(mp.tensor(test.inputs))
    whole = training.task.loss(outputs, mp.tensor(test.targets)).item()
    assert evaluate(training)[0] == pytest.approx(whole, rel=1e-6)


def test_a_configuration_comes_back_from_its_dictionary() -> None:
    configuration = Configuration(hidden=(3, 2), seed=2**64 - 1)
    assert Configuration.from_dict(configuration.as_dict()) == configuration
    with pytest.raises(ValueError, match="unknown setting 'learning_rate'; expected one of data,"):
        Configuration.from_dict({"learning_rate": 1})
