"""GPT-2's shape on generated tokens: a tiny one, on each device."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from tinymp.bench.step_cost import WARM_UP, step_cost
from tinymp.devices import get_device
from tinymp.train import Configuration, Training, make_task, recipe
from tinymp.train.gpt2_shape import token_batch

TINY = {
    "data": "gpt2-shape",
    "layers": 2,
    "width": 16,
    "heads": 2,
    "vocabulary": 50,
    "context": 8,
    "batch_size": 4,
    "epochs": 10,
}


def tiny(**settings: object) -> Configuration:
    return recipe({**TINY, **settings})


def test_without_settings_it_is_gpt_2_small() -> None:
    c = recipe({"data": "gpt2-shape"})
    assert (c.layers, c.width, c.heads, c.vocabulary) == (12, 768, 12, 50304)
    assert (c.batch_size, c.context) == (8, 1024)


def test_tokens_are_drawn_anew_in_each_step_and_the_targets_follow_them(device: str) -> None:
    place = get_device(device)
    c = tiny(seed=3)
    inputs, targets = token_batch(c, place, 0)
    assert inputs.device == place.name
    assert inputs.shape == targets.shape == (4, 8)
    np.testing.assert_array_equal(inputs.numpy()[:, 1:], targets.numpy()[:, :-1])
    assert 0 <= inputs.numpy().min() <= inputs.numpy().max() < 50
    others = [token_batch(c, place, 1), token_batch(tiny(seed=4), place, 0)]
    assert all((other.numpy() != inputs.numpy()).any() for other, _ in others)
    # The same bits on every device.
    here, _ = token_batch(c, get_device("cpu"), 0)
    np.testing.assert_array_equal(inputs.numpy(), here.numpy())


@pytest.mark.parametrize("policy", ["fp16", "fp32"])
def test_a_step_is_timed_and_its_memory_counted(device: str, policy: str) -> None:
    c = tiny(policy=policy, device=device)
    training = Training(make_task(c), c)
    cost = step_cost(training)
    assert training.schedule.last_epoch == 10  # so many steps, none of them skipped
    assert len(cost.seconds) == 2  # ten steps: three to warm up, groups of five and of two
    assert min(cost.seconds) > 0
    assert cost.tokens == 32
    size = 2 if policy == "fp16" else 4
    # Linear layers 12 w^2 + 9 w with their biases, two norms of 2 w; tables, a last norm.
    assert cost.parameters == 2 * (12 * 16**2 + 9 * 16 + 4 * 16) + (50 + 8) * 16 + 2 * 16
    assert cost.ledger.bytes("weights") == size * cost.parameters
    assert cost.ledger.bytes("optimizer state") >= 8 * cost.parameters
    assert cost.record.loss == pytest.approx(log(50), rel=0.1)
    assert (cost.peak is None) == (device == "cpu")
    if cost.peak is not None:
        assert 0 < cost.peak.arrays <= cost.peak.pool <= cost.peak.driver
    assert cost.as_json()["parameters"] == cost.parameters


def test_too_few_steps_are_refused() -> None:
    c = tiny(epochs=WARM_UP)
    training = Training(make_task(c), c)
    with pytest.raises(ValueError, match=r"3 steps were given, but the first 3 warm up .* give 4"):
        step_cost(training)
