"""A training step written by hand in NumPy: what an engine's step is measured against.

This file is frozen: a test holds its bytes. A yardstick that is mended is another yardstick.

It is what a careful person writes for one network: float32 throughout, results written into arrays
that exist where that is natural, no product that nobody needs, nothing general.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class MLP:
    """A multilayer perceptron with ReLU, cross entropy and SGD.

    Attributes:
        weights, biases: float32, of shapes (out, in) and (out,), one of each a layer. A step
            changes them in place.
        lr: learning rate.
    """

    def __init__(self, weights: list[Array], biases: list[Array], lr: float) -> None:
        self.weights = weights
        self.biases = biases
        self.lr = np.float32(lr)

    def step(self, x: Array, labels: Array) -> float:
        """Learn from a batch, x (n, in) float32 and labels (n,) int64; the mean loss before."""
        weights, biases = self.weights, self.biases
        n, last = len(x), len(weights) - 1
        rows = np.arange(n)

        # Forward. `inputs[i]` is what layer i saw.
        inputs = []
        for i in range(last + 1):
            inputs.append(x)
            x = x @ weights[i].T
            x += biases[i]
            if i < last:
                np.maximum(x, 0, out=x)

        # Cross entropy: the logarithm of the sum of e^x, less the score of the label.
        x -= x.max(axis=1, keepdims=True)
        chosen = x[rows, labels]
        np.exp(x, out=x)
        total = x.sum(axis=1, keepdims=True)
        loss = (np.log(total).sum() - chosen.sum()) / n

        # Backward. The gradient with respect to the scores is softmax less one-hot, over n.
        x /= total
        x[rows, labels] -= 1
        x /= n
        for i in range(last, -1, -1):
            gradient_of_weight = x.T @ inputs[i]
            gradient_of_bias = x.sum(axis=0)
            if i > 0:
                x = x @ weights[i]
                x *= inputs[i] > 0  # where ReLU let something through

            # SGD. The weight has served in both directions.
            gradient_of_weight *= self.lr
            weights[i] -= gradient_of_weight
            gradient_of_bias *= self.lr
            biases[i] -= gradient_of_bias
        return float(loss)
