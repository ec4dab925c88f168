"""FP16 and FP32 on the spelling corpus: a tiny GPT, on the CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tinymp.bench.gpu.curves import batches, default_configuration, measure_curves, verdicts
from tinymp.bench.gpu.gpt2 import FP16, FP32

TINY = replace(
    default_configuration(),
    device="cpu", layers=1, width=16, heads=2, vocabulary=128, context=16, batch_size=4, epochs=40,
    lr=0.01,
)  # fmt: skip


def test_batches_are_the_corpus_from_its_beginning():
    found = batches(TINY)
    assert found.shape == (40, 4, 17)
    text = found.reshape(-1).astype(np.uint8).tobytes().decode()
    assert text.split("\n")[0].count(" = ") == 1
    assert len(set(text)) > 20


def test_both_policies_learn_alike():
    curves = measure_curves(TINY)
    assert len(curves[FP16]) == len(curves[FP32]) == 40
    fall, gap = verdicts(curves)
    assert fall.figure > 0.5
    # Windows of half of the steps, in which the loss of FP16 differs by some unit roundoffs.
    assert gap.figure < 0.02


def test_the_gap_is_the_largest_one():
    falling = np.linspace(10, 2, 100)
    other = falling + np.where(np.arange(100) < 50, 0.0, 0.5)
    fall, gap = verdicts({FP16: other, FP32: falling})
    assert gap.figure == pytest.approx(0.5)
    assert not gap.meets(gap.must)
    assert fall.meets(fall.must)
