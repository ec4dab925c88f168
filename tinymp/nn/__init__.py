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
from tinymp.nn.channel_normalization import BatchNorm1d, BatchNorm2d, GroupNorm
from tinymp.nn.containers import ModuleList, Sequential
from tinymp.nn.dropout import Dropout
from tinymp.nn.embedding import Embedding
from tinymp.nn.linear import Identity, Linear
from tinymp.nn.losses import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from tinymp.nn.module import Module
from tinymp.nn.normalization import LayerNorm, RMSNorm
from tinymp.nn.parameter import Parameter

__all__ = [
    "ELU",
    "GELU",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "GroupNorm",
    "Hardtanh",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "Module",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "Tanh",
    "functional",
    "init",
]
