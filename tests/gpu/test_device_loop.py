"""Training on a GPU that waits for no step: the same bits as the loop that waits for each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp.amp.device_step import DeviceStep, refusal
from tinymp.devices import get_device
from tinymp.train import Configuration, Training, make_task, train_step
from tinymp.train.device_loop import DeviceLoop

gpu = pytest.mark.gpu


@pytest.fixture
def cuda() -> str:
    try:
        return get_device("cuda").name
    except RuntimeError as missing:
        pytest.skip(str(missing))


def training(**settings: Any) -> Training:
    configuration = Configuration(**{"hidden": (32,), "epochs": 2, **settings})
    return Training(make_task(configuration), configuration)


def parameters(of: Training) -> list[np.ndarray]:
    return [p.numpy() for p in (*of.model.parameters(), *of.masters.parameters())]


@gpu
@pytest.mark.parametrize("policy", ["fp16", "bf16", "fp32", "autocast-fp16", "fp16-unscaled"])
@pytest.mark.parametrize("microbatches", [1, 2])
def test_its_steps_are_those_of_train_step(cuda: str, policy: str, microbatches: int) -> None:
    settings = {"policy": policy, "device": cuda, "microbatches": microbatches, "lr": 0.02}
    ahead, plain = training(**settings), training(**settings)
    loop = ahead.device_loop
    assert loop is not None, DeviceLoop.serves(ahead)
    expected = []
    for batch in ahead.loader.epoch(0):
        loop.step(*batch)
        expected.append(train_step(plain, *batch))
    records = loop.finish()
    assert [(r.scale, r.skipped) for r in records] == [(e.scale, e.skipped) for e in expected]
    np.testing.assert_allclose([r.loss for r in records], [e.loss for e in expected], rtol=1e-6)
    for one, other in zip(parameters(ahead), parameters(plain), strict=True):
        np.testing.assert_array_equal(one, other)
    assert ahead.schedule.last_epoch == plain.schedule.last_epoch
    assert ahead.scaler.state_dict() == plain.scaler.state_dict()


@gpu
def test_an_overflow_skips_the_step_and_halves_the_scale_on_the_device(cuda: str) -> None:
    run = training(policy="fp16", device=cuda, loss_weight=2.0**6)
    loop = run.device_loop
    assert loop is not None
    before = parameters(run)
    batches = list(run.loader.epoch(0))
    loop.step(*batches[0])
    (record,) = loop.finish()
    assert record.skipped
    assert run.scaler.get_scale() == record.scale / 2
    assert run.schedule.last_epoch == 0
    for one, other in zip(parameters(run), before, strict=True):
        np.testing.assert_array_equal(one, other)
    for batch in batches[1:20]:
        loop.step(*batch)
    assert not loop.finish()[-1].skipped


@gpu
def test_a_captured_step_is_the_same_step(cuda: str) -> None:
    settings = {"policy": "fp16", "device": cuda, "batch_size": 64}
    captured, plain = training(capture=True, **settings), training(**settings)
    for run in (captured, plain):
        loop = run.device_loop
        assert loop is not None
        for epoch in range(2):
            for batch in run.loader.epoch(epoch):  # the last one is smaller, and runs as it is
                loop.step(*batch)
        loop.finish()
    assert captured.device_loop is not None
    assert captured.device_loop._graph is not None
    for one, other in zip(parameters(captured), parameters(plain), strict=True):
        np.testing.assert_array_equal(one, other)


@gpu
def test_a_step_that_draws_random_numbers_is_not_captured(
    cuda: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training(data="spelling", policy="fp16", device=cuda, capture=True, width=16)
    monkeypatch.setattr(run.model.blocks[0].dropout, "p", 0.1)
    loop = run.device_loop
    assert loop is not None
    first, second, third, *_ = run.loader.epoch(0)
    loop.step(*first)
    loop.step(*second)
    with pytest.raises(RuntimeError, match=r"random numbers.*without --capture"):
        loop.step(*third)


@gpu
def test_wrong_labels_and_tokens_are_named_when_results_are_fetched(cuda: str) -> None:
    logits = mp.randn(2, 3, device=cuda)
    loss = mp.cross_entropy(logits, mp.tensor([0, 7], device=cuda))
    with pytest.raises(ValueError, match=r"given the label 7; with 3 classes.*results of the GPU"):
        loss.item()
    loss.item()  # said once
    table = mp.randn(4, 2, device=cuda)
    rows = mp.embedding(mp.tensor([-1, 2], device=cuda), table)
    with pytest.raises(IndexError, match=r"given the token -1; with 4 rows"):
        rows.numpy()
    ignored = mp.cross_entropy(logits, mp.tensor([-100, 1], device=cuda))
    assert np.isfinite(ignored.item())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "not on a GPU"),
        ({"optimizer": "sgd"}, "not on a GPU"),
    ],
)
def test_what_it_does_not_serve_says_why(settings: dict[str, Any], reason: str) -> None:
    run = training(**settings)
    assert reason in str(DeviceLoop.serves(run))
    assert run.device_loop is None
    with pytest.raises(ValueError, match=f"DeviceStep cannot be made: .*{reason}"):
        DeviceStep(run.masters, run.optimizer, run.scaler, lambda step: 0.1, 1)


@gpu
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"policy": "fp16-naive"}, None),
        ({"policy": "bf16-kahan"}, "compensates"),
        ({"policy": "bf16-naive-stochastic"}, "in a way of its own|stochastic|float32 parameters"),
        ({"optimizer": "sgd"}, "Adam and AdamW"),
    ],
)
def test_other_trainings_run_step_by_step(
    cuda: str, settings: dict[str, Any], reason: str | None
) -> None:
    run = training(device=cuda, **settings)
    assert run.device_loop is None
    said = str(refusal(run.masters, run.optimizer, run.scaler))
    if reason is not None:
        assert any(part in said for part in reason.split("|"))
