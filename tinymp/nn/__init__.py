"""Layers: modules that hold parameters, and the functions that they compute."""

from __future__ import annotations

from tinymp.nn import functional, init
from tinymp.nn.activations import (
    ELU,
    GELU,
    Flatten,
    Hardtanh,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from tinymp.nn.containers import ModuleList, Sequential
from tinymp.nn.dropout import Dropout
from tinymp.nn.embedding import Embedding
from tinymp.nn.linear import Identity, Linear
from tinymp.nn.losses import CrossEntropyLoss, MSELoss
from tinymp.nn.module import Module
from tinymp.nn.normalization import LayerNorm
from tinymp.nn.parameter import Parameter

__all__ = [
    "ELU",
    "GELU",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "Hardtanh",
    "Identity",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "Module",
    "ModuleList",
    "Parameter",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "functional",
    "init",
]
