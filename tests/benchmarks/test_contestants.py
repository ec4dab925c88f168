"""Contestants of a race do the same work: step for step they report the same loss."""

from __future__ import annotations

import numpy as np
import pytest

from tinymp.bench import convnet, gpt, mlp

STEPS = 4


def losses(step):
    return [step() for _ in range(STEPS)]


@pytest.mark.parametrize("library", mlp.PEERS)
def test_perceptrons_of_other_libraries_learn_alike(library):
    pytest.importorskip(library)
    work = mlp.work((8, 16, 12, 4), 32)
    _, make = mlp.PEERS[library]
    np.testing.assert_allclose(losses(make(work)), losses(mlp.by_hand(work)), rtol=1e-5)


# Two bytes: each loss is off by some unit roundoffs of the activations, more so as steps add up.
@pytest.mark.parametrize(
    ("policy", "rtol"),
    [
        ("FP32", 1e-5),
        ("BF16, truncated", 4 * 2.0**-7),
        ("BF16, to nearest", 4 * 2.0**-8),
        ("FP16, scaled", 4 * 2.0**-11),
    ],
)
def test_perceptrons_of_every_policy_learn_alike(policy, rtol):
    work = mlp.work((8, 16, 12, 4), 32)
    expected = losses(mlp.by_hand(work))
    assert expected[-1] < expected[0]
    ours = losses(mlp.tinymp(work, mlp.POLICIES[policy]))
    np.testing.assert_allclose(ours, expected, rtol=rtol)
    assert losses(mlp.tinymp(work, mlp.POLICIES[policy], captured=True)) == ours


def test_gpts_learn_alike():
    pytest.importorskip("torch")
    tokens, following = gpt.batch(2, 16)
    ours = losses(gpt.tinymp(gpt.our_model(16, 2, 16), tokens, following))
    assert losses(gpt.tinymp(gpt.our_model(16, 2, 16), tokens, following, captured=True)) == ours
    theirs = losses(gpt.pytorch(gpt.our_model(16, 2, 16), tokens, following))
    assert ours[-1] < ours[0]
    # Adam's first steps are the sign of the gradient: rounding decides some that are nearly zero.
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_convolutional_networks_learn_alike():
    pytest.importorskip("torch")
    images, labels = convnet.batch(8, 8)
    ours = losses(convnet.tinymp(convnet.our_model(8), images, labels))
    assert losses(convnet.tinymp(convnet.our_model(8), images, labels, captured=True)) == ours
    assert ours[-1] < ours[0]
    theirs = losses(convnet.pytorch(convnet.our_model(8), images, labels))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
