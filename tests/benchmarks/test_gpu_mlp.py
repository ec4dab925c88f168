"""The small step on a GPU: its contestants learn alike, tried on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

from tinymp.bench.gpu.mlp import configuration, our_steps, pytorch_step

C = configuration(device="cpu")


@pytest.mark.parametrize("amp", [False, True])
def test_contestants_learn_alike(amp):
    pytest.importorskip("torch")
    ours, step = our_steps(configuration(device="cpu", policy="fp32"))
    step()
    theirs = pytorch_step(C, amp)
    # Our learning rate begins small, PyTorch's does not: the first loss is of the same weights.
    assert ours.finish()[0].loss == pytest.approx(float(theirs()), rel=4 * 2.0**-11)
    losses = [float(theirs()) for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]


def test_ours_learns():
    steps, step = our_steps(configuration(device="cpu", policy="fp16"))
    for _ in range(60):
        step()
    losses = [record.loss for record in steps.finish()]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert steps.finish() == []
