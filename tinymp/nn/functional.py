"""What layers compute, as functions, under the names that PyTorch gives them."""

from __future__ import annotations

from tinymp.nn.dropout import dropout
from tinymp.nn.embedding import embedding
from tinymp.ops import (
    cross_entropy,
    gelu,
    layer_norm,
    linear,
    log_softmax,
    mse_loss,
    pad,
    relu,
    sigmoid,
    softmax,
    tanh,
)

__all__ = [
    "cross_entropy",
    "dropout",
    "embedding",
    "gelu",
    "layer_norm",
    "linear",
    "log_softmax",
    "mse_loss",
    "pad",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
]
