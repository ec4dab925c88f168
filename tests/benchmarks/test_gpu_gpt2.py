"""GPT-2's shape by PyTorch learns what ours learns: a tiny one, on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

from tinymp.bench.gpu import gpt2
from tinymp.bench.gpu.gpt2 import (
    CAPTURED,
    FP16,
    FP32,
    TF32,
    StepsOf,
    configuration,
    initial_model,
    our_training,
    verdicts,
)
from tinymp.bench.gpu.memory import Peak
from tinymp.bench.gpu.pytorch import shared
from tinymp.bench.gpu.pytorch_gpt import Manner, pytorch_step
from tinymp.devices import get_device
from tinymp.train import train_step
from tinymp.train.gpt2_shape import token_batch

# So many epochs that the learning rate stays what it is in the steps that are looked at.
TINY = configuration(
    layers=2, width=16, heads=2, vocabulary=50, context=8, batch_size=4, device="cpu",
    epochs=1_000_000,
)  # fmt: skip
STEPS = 6


def our_losses(name):
    training = our_training(name, initial_model(TINY), TINY)
    training.schedule = type(training.schedule)(training.optimizer, lambda step: 1.0)
    batch = token_batch(TINY, get_device("cpu"), 0)
    return [train_step(training, *batch).loss for _ in range(STEPS)]


def pytorchs_losses(manner):
    tokens, following = (shared(x) for x in token_batch(TINY, get_device("cpu"), 0))
    step = pytorch_step(initial_model(TINY), tokens, following, manner, TINY.lr, TINY.clip)
    return [step().item() for _ in range(STEPS)]


@pytest.mark.parametrize("fused", [False, True])
def test_the_losses_are_pytorchs(fused):
    pytest.importorskip("torch")
    theirs = pytorchs_losses(Manner("FP32", fused))
    assert theirs[-1] < theirs[0]
    # Adam's first steps are the sign of the gradient: rounding decides some that are nearly zero.
    np.testing.assert_allclose(our_losses(FP32), theirs, rtol=1e-4)
    # A loss is a mean over 32 tokens of float16 logits below 1, of a unit roundoff of 2^-11.
    np.testing.assert_allclose(our_losses(FP16), theirs, rtol=4 * 2.0**-11)


def test_automatic_mixed_precision_learns_alike():
    pytest.importorskip("torch")
    amp = pytorchs_losses(Manner("FP16 AMP", fused=False))
    np.testing.assert_allclose(amp, pytorchs_losses(Manner("FP32", fused=False)), rtol=4 * 2.0**-11)


def steps(name, milliseconds, gib, saved=None):
    size = int(gib * 2**30)
    return StepsOf(name, [milliseconds / 1e3], [1e-3], Peak(size, size, size), saved, (10.8, 9.0))


def test_figures_are_held_against_what_they_must_be():
    of = {
        found.name: found
        for found in (
            steps(FP16, 30.0, 5.0, 3 * 2**30),
            steps(CAPTURED, 20.0, 5.0, 3 * 2**30),
            steps(FP32, 180.0, 12.0, 6 * 2**30),
            steps(TF32, 70.0, 12.0, 6 * 2**30),
            steps("PyTorch FP32, attention by products", 190.0, 15.1),
            steps("PyTorch TF32, attention by products", 72.0, 15.1),
            steps("PyTorch FP16 AMP, attention by products", 56.6, 15.6),
            steps("PyTorch FP16 AMP, fused attention", 27.1, 8.9),
        )
    }
    found = {verdict.what: verdict for verdict in verdicts(of, 124_000_000)}
    amp = found["step of tinymp FP16 / PyTorch FP16 AMP, attention by products"]
    assert amp.figure == pytest.approx(30 / 56.6)
    assert amp.as_json()["met"]
    assert found["step of tinymp FP16, captured / PyTorch FP16 AMP, fused attention"].meets(1.0)
    assert not found["step of tinymp FP16 / PyTorch FP16 AMP, fused attention"].meets(1.0)
    assert found["speed of tinymp FP16, captured over tinymp FP32"].figure == pytest.approx(9.0)
    assert found["saved by tinymp FP16 / by tinymp FP32"].figure == 0.5
    peak = found["peak of tinymp FP16 / PyTorch FP16 AMP, fused attention"]
    assert peak.figure == pytest.approx(5 / 8.9)
    assert peak.aim == pytest.approx(5.1 / 8.9)
    assert all(verdict.meets(verdict.must) for verdict in found.values())
    slow = {**of, CAPTURED: steps(CAPTURED, 60.0, 9.0, 3 * 2**30)}
    missed = {v.what for v in verdicts(slow, 124_000_000) if not v.meets(v.must)}
    allowed = "(16 bytes a parameter + half of what tinymp FP32 saves)"
    assert missed == {
        "step of tinymp FP16, captured / PyTorch FP16 AMP, attention by products",
        "step of tinymp FP16, captured / PyTorch FP16 AMP, fused attention",
        "peak of tinymp FP16, captured / PyTorch FP16 AMP, fused attention",
        f"peak of tinymp FP16, captured / {allowed}",
        "speed of tinymp FP16, captured over tinymp FP32",
        "speed of tinymp FP16, captured over tinymp TF32",
    }


def test_without_pytorch_ours_are_held_against_each_other():
    of = {name: steps(name, 20.0, 5.0, 2**30) for name in (FP16, CAPTURED, FP32, TF32)}
    assert len(found := list(verdicts(of, 1))) == 6
    assert all("PyTorch" not in verdict.what for verdict in found)


def test_who_failed_is_left_out():
    assert list(verdicts({}, 1)) == []
    assert list(verdicts({FP16: steps(FP16, 20.0, 5.0, 2**30)}, 1)) == []


def test_contestants_are_measured_one_after_another(monkeypatch):
    monkeypatch.setattr(gpt2, "installed", lambda library: True)
    monkeypatch.setattr(gpt2, "initial_model", lambda c: None)
    monkeypatch.setattr(gpt2, "measure_ours", lambda name, *_: name)
    monkeypatch.setattr(gpt2, "measure_pytorchs", lambda manner, *_: manner.name)
    found = {name: measure() for name, measure in gpt2.contestants(TINY, 3, compiled=True)}
    assert all(name == measured for name, measured in found.items())
    assert list(found)[:4] == [FP16, CAPTURED, FP32, TF32]
    assert list(found)[-1] == "PyTorch FP16 AMP, fused attention, compiled"
    assert len(found) == 9
    assert len(list(gpt2.contestants(TINY, 3, compiled=False))) == 8
