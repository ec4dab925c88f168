"""Models that the lessons and the command line train."""

from __future__ import annotations

from tinymp.models.convnet import ConvNet
from tinymp.models.gpt import GPT
from tinymp.models.mlp import MLP

__all__ = ["GPT", "MLP", "ConvNet"]
