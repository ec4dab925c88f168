"""Handwritten digits, read by a perceptron or by a convolutional network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinymp.autograd import Tensor
from tinymp.data import load_digits
from tinymp.models import MLP, ConvNet
from tinymp.nn import functional as F
from tinymp.train.configuration import Configuration
from tinymp.train.task import Task


def digits(configuration: Configuration) -> Task:
    """Handwritten digits of 8 × 8 pixels: in a row for an mlp, as an image for a convnet."""
    train, test = load_digits("train"), load_digits("test")
    mlp = Task(
        name="digits",
        train=train,
        test=test,
        model=lambda: MLP(64, configuration.hidden, 10),
        loss=F.cross_entropy,
        correct=count_correct,
    )
    if configuration.model == "mlp":
        return mlp
    return replace(
        mlp,
        train=replace(train, inputs=train.inputs.reshape(-1, 1, 8, 8)),
        test=replace(test, inputs=test.inputs.reshape(-1, 1, 8, 8)),
        model=lambda: ConvNet(1, 10, configuration.hidden),
    )


def count_correct(logits: Tensor, labels: Tensor) -> int:
    """How many rows of `logits`, (n, classes), are largest at their label, (n,).

    A row with a NaN never is.
    """
    values = logits.numpy()
    right = (values.argmax(axis=1) == labels.numpy()) & ~np.isnan(values).any(axis=1)
    return int(right.sum())
