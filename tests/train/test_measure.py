"""Bytes are counted in the storages: each once, 2 bytes where a policy says 2 bytes."""

from __future__ import annotations

from typing import Any

import pytest

from tinymp.devices import get_rng_state
from tinymp.inspect import Ledger
from tinymp.train import measure, train_step

PARAMETERS = 64 * 16 + 16 + 16 * 10 + 10
BATCH = 128
# The inputs of both layers and of the ReLU between them, in the model's format ...
ACTIVATIONS = BATCH * (64 + 16)
# ... and the logits, with their logsumexp in float32 and the labels in int64.
LOGITS, LOSS_BYTES = BATCH * 10, BATCH * (4 + 8)


def after_a_step(runs: Any, policy: str) -> Ledger:
    training = runs.training(policy=policy)
    train_step(training, *next(training.loader.epoch(0)))
    return measure(training)


@pytest.mark.parametrize(("policy", "size"), [("fp32", 4), ("fp16", 2), ("bf16", 2)])
def test_every_kind_takes_what_its_format_says(runs: Any, policy: str, size: int) -> None:
    ledger = after_a_step(runs, policy)
    masters = 0 if policy == "fp32" else 4 * PARAMETERS
    expected = {
        "weights": size * PARAMETERS,
        "gradients": size * PARAMETERS,
        "master weights": masters,
        "master gradients": masters,
        "optimizer state": 2 * 4 * PARAMETERS,
        "saved activations": size * (ACTIVATIONS + LOGITS) + LOSS_BYTES,
    }
    for kind, count in expected.items():
        # An array decoded from bfloat16 lies in a buffer that is one word longer.
        spare = 2 * 4 if policy == "bf16" else 0
        assert count <= ledger.bytes(kind) <= count + spare, kind


def test_a_naive_policy_keeps_everything_in_two_bytes(runs: Any) -> None:
    ledger = after_a_step(runs, "bf16-naive")
    assert "master weights" not in ledger.entries
    assert ledger.bytes("optimizer state") == 2 * 2 * PARAMETERS


def test_before_the_first_step_there_is_no_optimizer_state(runs: Any) -> None:
    assert "optimizer state" not in measure(runs.training()).entries


@pytest.mark.parametrize(
    "settings",
    [
        {"policy": "fp16"},
        {"policy": "bf16-naive-stochastic"},
        {"policy": "fp16", "model": "convnet", "hidden": (4, 4), "batch_size": 480},
    ],
    ids=["fp16", "bf16-naive-stochastic", "convnet"],
)
def test_measuring_disturbs_nothing(runs: Any, settings: dict[str, Any]) -> None:
    """Steps give the same bits whether or not the bytes were counted between them."""
    results = []
    for measuring in (False, True):
        training = runs.training(**settings)
        for batch in training.loader.epoch(0):
            train_step(training, *batch)
            if measuring:
                measure(training)
        state = {name: t.storage.tobytes() for name, t in training.model.state_dict().items()}
        results.append((state, get_rng_state(), training.scaler.state_dict()))
    assert results[0] == results[1]


def test_what_training_saves_is_counted_in_either_mode(runs: Any) -> None:
    """Dropout keeps what it kept."""
    training = runs.training(data="spelling", dropout=0.1, batch_size=2)
    counted = measure(training).bytes("saved activations")
    training.model.eval()
    assert measure(training).bytes("saved activations") == counted
    assert not training.model.training
