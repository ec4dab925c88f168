"""The order of a mixed-precision step, and what a skipped one leaves alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp.amp.policy import POLICIES
from tinymp.train import Configuration, Training, train_step
from tinymp.train.training import warmup_then_cosine


def first_batch(training: Training) -> tuple[mp.Tensor, mp.Tensor]:
    return next(training.loader.epoch(0))


def snapshot(training: Training) -> dict[str, Any]:
    """Copies of all that a skipped step must leave alone."""
    state = training.state()
    del state["scaler"]

    def copied(value: Any) -> Any:
        if isinstance(value, mp.Tensor):
            return value.dtype.name, value.storage.tobytes()
        if isinstance(value, dict):
            return {key: copied(x) for key, x in value.items()}
        return value

    copy: dict[str, Any] = copied(state)
    return copy


def test_the_calls_come_in_the_one_right_order(runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    training = runs.training(policy="fp16", microbatches=2)
    calls: list[str] = []

    def spy(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def noting(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            return function(*arguments, **options)

        monkeypatch.setattr(owner, name, noting)

    spy(training.optimizer, "zero_grad")
    for name in ("scale", "unscale_", "update"):
        spy(training.scaler, name)
    monkeypatch.setattr(
        training.scaler, "step", lambda optimizer: (calls.append("step"), optimizer.step())
    )
    spy(training.masters, "copy_gradients")
    spy(training.masters, "copy_weights")
    spy(training.schedule, "step")
    import tinymp.train.loop as loop

    spy(loop, "clip_grad_norm_")
    calls.clear()
    try:
        train_step(training, *first_batch(training))
    finally:
        monkeypatch.undo()
    assert calls == [
        "zero_grad",
        *("scale", "copy_gradients") * 2,
        "unscale_",
        "clip_grad_norm_",
        "step",
        "update",
        "copy_weights",
        "step",
    ]


def test_a_skipped_step_changes_nothing_but_the_scale(runs: Any) -> None:
    training = runs.training(policy="fp16")
    train_step(training, *first_batch(training))
    training.scaler.update(2.0**40)  # 2^40 overflows float16 gradients for certain
    before = snapshot(training)
    record = train_step(training, *first_batch(training))
    assert record.skipped
    assert record.scale == 2.0**40
    assert training.scaler.get_scale() == 2.0**39
    assert snapshot(training) == before


def test_a_step_that_is_not_skipped_changes_weights_masters_and_learning_rate(runs: Any) -> None:
    training = runs.training(policy="fp16")
    before = snapshot(training)
    assert not train_step(training, *first_batch(training)).skipped
    after = snapshot(training)
    for part in ("model", "masters", "optimizer", "schedule"):
        assert after[part] != before[part]


def test_the_model_holds_the_masters_rounded_once(runs: Any) -> None:
    training = runs.training(policy="fp16")
    for batch in training.loader.epoch(0):
        train_step(training, *batch)
    for weight, master in zip(
        training.model.parameters(), training.masters.parameters(), strict=True
    ):
        assert weight.dtype is mp.float16
        np.testing.assert_array_equal(weight.storage, master.numpy().astype(np.float16))


def test_gradients_are_clipped_at_their_true_size(runs: Any) -> None:
    """Clipped while still scaled by 2^16, they would come out 2^16 times too short."""
    training = runs.training(policy="fp16", clip=1e-3)
    train_step(training, *first_batch(training))
    squares = sum(float((p.grad.numpy() ** 2).sum()) for p in training.masters.parameters())
    # The norm is 1e-3 up to clip_grad_norm_'s 1e-6 in the divisor and float32 rounding.
    assert math.sqrt(squares) == pytest.approx(1e-3, rel=1e-4)


def test_loss_scaling_by_a_power_of_two_changes_no_bit_in_float32(runs: Any) -> None:
    """The autocast scaler around float32 arithmetic alone: scaled and unscaled steps agree."""
    plain, scaled = runs.training(policy="fp32"), runs.training(policy="fp32")
    scaled.scaler = mp.amp.GradScaler(init_scale=2.0**10)
    for batch in plain.loader.epoch(0):
        train_step(plain, *batch)
        train_step(scaled, *batch)
    assert snapshot(plain) == snapshot(scaled)


@pytest.mark.parametrize("policy", ["fp32", "fp16", "bf16"])
def test_microbatches_add_up_to_the_batch(runs: Any, policy: str) -> None:
    """Their gradients agree with the whole batch's up to the rounding of 2-byte gradients."""
    gradients = []
    for microbatches in (1, 3):
        training = runs.training(policy=policy, microbatches=microbatches, clip=1e9)
        inputs, targets = first_batch(training)
        record = train_step(training, inputs, targets)
        gradients.append([p.grad.numpy() for p in training.masters.parameters()])
    dtype = POLICIES[policy].param
    for whole, parts in zip(*gradients, strict=True):
        # Each gradient passed a few roundings: outputs, activations and itself.
        bound = 16 * dtype.unit_roundoff("nearest_even") * np.abs(whole).max()
        np.testing.assert_allclose(parts, whole, rtol=0, atol=bound)
    assert math.isfinite(record.loss)


def test_more_parts_than_examples_in_the_last_batch(runs: Any) -> None:
    training = runs.training(policy="fp32", microbatches=128)
    inputs, targets = first_batch(training)
    record = train_step(training, inputs[:5], targets[:5])
    assert math.isfinite(record.loss)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_takes_steps(runs: Any, policy: str) -> None:
    training = runs.training(policy=policy)
    before = snapshot(training)["model"]
    train_step(training, *first_batch(training))
    assert snapshot(training)["model"] != before
    assert {p.dtype for p in training.model.parameters()} == {POLICIES[policy].param}


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    factor = warmup_then_cosine(100)
    rates = [factor(step) for step in range(101)]
    assert rates[0] == pytest.approx(1 / 6)
    assert rates[5] == 1
    assert rates[100] == pytest.approx(0, abs=1e-15)
    assert rates[:6] == sorted(rates[:6])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert warmup_then_cosine(1)(0) == 1  # a run of one step has no time to warm up


@pytest.mark.parametrize("policy", ["fp32", "fp16", "bf16", "autocast-fp16"])
@pytest.mark.parametrize("data", ["digits", "spelling"])
def test_captured_steps_are_the_same_steps(runs: Any, data: str, policy: str) -> None:
    settings = {"data": data, "policy": policy, "microbatches": 2, "width": 16, "layers": 1}
    plain, captured = runs.training(**settings), runs.training(**settings, capture=True)
    for training in (plain, captured):
        batches = training.loader.epoch(0)
        training.records = [train_step(training, *batch) for batch, _ in zip(batches, range(5))]
    assert captured.captured.source.startswith("def forward(inputs, targets, ")
    assert captured.records == plain.records
    assert snapshot(captured) == snapshot(plain)


def test_steps_with_dropout_are_not_captured() -> None:
    with pytest.raises(ValueError, match=r"dropout of 0\.1 draws other .* cannot be captured"):
        Configuration(data="spelling", dropout=0.1, capture=True)
