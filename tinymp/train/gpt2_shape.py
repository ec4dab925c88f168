"""A GPT of GPT-2's shape on generated tokens: what a step of training costs, and nothing learned.

The tokens are random words of the run's seed, drawn where the model is: no data is read, and none
is carried over to a GPU.
"""

from __future__ import annotations

import numpy as np

from tinymp.autograd import Tensor
from tinymp.data import Dataset
from tinymp.devices import Device, Generator, get_device
from tinymp.models import GPT
from tinymp.ops import tensor
from tinymp.train.configuration import Configuration
from tinymp.train.task import Task
from tinymp.train.text_task import count_correct_tokens, token_cross_entropy

# Tokens draw from the third quarter of a seed's streams, apart from the parameters' initial values
# and dropout (from 0 on), and from the order of a data set (from 2**63 on).
_FIRST_TOKEN_DRAW = 2**62


def gpt2_shape(configuration: Configuration) -> Task:
    """A GPT learns tokens that follow no rule, so its loss stays near log(vocabulary).

    One batch is the whole data set: an epoch is a step.
    """
    c = configuration
    inputs, targets = token_batch(c, get_device("cpu"), 0)
    data = Dataset("generated tokens", inputs.numpy(), targets.numpy())
    return Task(
        name="gpt2-shape",
        train=data,
        test=data,
        model=lambda: GPT(c.vocabulary, c.context, c.width, c.layers, c.heads, c.dropout),
        loss=token_cross_entropy,
        correct=count_correct_tokens,
    )


def token_batch(configuration: Configuration, device: Device, step: int) -> tuple[Tensor, Tensor]:
    """Tokens of a step, int64 (batch_size, context), and those that follow them, on `device`.

    The same bits on every device.
    """
    c = configuration
    shape = (c.batch_size, c.context + 1)
    words = Generator(c.seed).words(device, shape[0] * shape[1], _FIRST_TOKEN_DRAW + step)
    tokens = (words % np.uint32(c.vocabulary)).astype(np.int64).reshape(shape)
    return tensor(tokens[:, :-1]), tensor(tokens[:, 1:])
