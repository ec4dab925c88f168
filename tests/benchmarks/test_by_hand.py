"""The yardstick: it is correct, and it stays what it was."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np

import tinymp.bench.by_hand
from tinymp.bench.by_hand import MLP


def test_the_file_is_frozen() -> None:
    source = Path(tinymp.bench.by_hand.__file__).read_text(encoding="utf-8")
    # Ratios of different versions compare only if they are ratios to the same thing. Whoever
    # changes the file says so beside every figure that was measured with it.
    assert (
        sha256(source.encode()).hexdigest()
        == "02e3d5d556e3b28be2c9e9e3d26fd0fd518a5ffede15d62f91cbf0ae2faefd72"
    )


def test_the_step_descends_along_the_gradient():
    """Against float64 differences of a loss that is written another way."""
    random = np.random.default_rng(0)
    shapes = [(5, 4), (6, 5), (3, 6)]
    weights = [random.standard_normal(s) for s in shapes]
    biases = [random.standard_normal(s[0]) for s in shapes]
    x, labels = random.standard_normal((7, 4)), random.integers(0, 3, 7)

    def loss() -> float:
        out = x
        for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
            out = out @ w.T + b
            out = np.where(out > 0, out, 0) if i < 2 else out
        p = np.exp(out) / np.exp(out).sum(1, keepdims=True)
        return float(-np.log(p[np.arange(7), labels]).mean())

    model = MLP(
        [w.astype(np.float32) for w in weights], [b.astype(np.float32) for b in biases], lr=1.0
    )
    before = [array.copy() for array in model.weights + model.biases]
    assert np.isclose(model.step(x.astype(np.float32), labels), loss(), rtol=1e-5)
    for array, old, new in zip(weights + biases, before, model.weights + model.biases, strict=True):
        for index in np.ndindex(array.shape):
            kept, array[index] = array[index], array[index] + 1e-6
            above = loss()
            array[index] = kept - 1e-6
            slope = (above - loss()) / 2e-6
            array[index] = kept
            assert abs((old - new)[index] - slope) < 1e-5  # a few float32 roundings of numbers ~ 1
