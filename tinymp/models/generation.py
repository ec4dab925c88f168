"""Writing with a GPT: one token after the other, each chosen from the logits of the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymp.autograd import Tensor, no_grad
from tinymp.devices import Generator, default_generator, get_device
from tinymp.models.key_value_cache import KeyValueCache
from tinymp.nn import Module
from tinymp.ops import cat, tensor

if TYPE_CHECKING:
    from tinymp.models.gpt import GPT

Array = np.ndarray[Any, Any]


def generate(
    model: GPT,
    tokens: Tensor,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    use_cache: bool,
    seed: int | None,
) -> Tensor:
    """See `GPT.generate`."""
    _check(tokens, max_new_tokens, temperature, top_k)
    generator = default_generator() if seed is None else Generator(seed)
    caches = [KeyValueCache() for _ in model.blocks]
    with no_grad(), evaluating(model):
        for _ in range(max_new_tokens):
            if use_cache and tokens.shape[1] <= model.context:
                logits = model(tokens[:, len(caches[0]) :], caches)
            else:
                # The window moves on, so each token in it has another position than before: what
                # was computed of it no longer holds.
                logits = model(tokens[:, -model.context :])
            chosen = choose(logits[:, -1].numpy(), temperature, top_k, generator)
            tokens = cat([tokens, tensor(chosen[:, None], device=tokens.device)], 1)
    return tokens


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Evaluation mode in the block; then each module's own mode again."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def choose(logits: Array, temperature: float, top_k: int | None, generator: Generator) -> Array:
    """One token for each row of logits, (b, vocabulary): (b,), int64.

    It is drawn with probability softmax(logits / temperature) among the `top_k` largest (and what
    equals the smallest of them); at temperature 0 it is the first of the largest, and no random
    number is drawn. Computed in float64 on the CPU: the same logits give the same token everywhere.

    Raises:
        FloatingPointError: a logit that is NaN or +inf.
    """
    logits = logits.astype(np.float64)
    if not (logits < np.inf).all():
        raise FloatingPointError(
            "the model's logits are NaN or infinite, so no token can be chosen: its training "
            "diverged, or its weights or activations do not fit its format"
        )
    if temperature == 0:
        return np.asarray(logits.argmax(axis=1))
    if top_k is not None and top_k < logits.shape[1]:
        smallest = np.partition(logits, -top_k, axis=1)[:, [-top_k]]
        logits = np.where(logits < smallest, -np.inf, logits)
    likelihood = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    words = generator.words(get_device("cpu"), 2 * len(logits)).view(np.uint64)
    return invert(likelihood, (words >> np.uint64(11)) * 2.0**-53)


def invert(likelihood: Array, uniform: Array) -> Array:
    """Where each `uniform` number, (b,), falls in a row's cumulative likelihood, (b, vocabulary).

    The numbers are multiples of 2**-53 in [0, 1); a likelihood need not sum to 1. A token of
    likelihood 0 is never chosen. Source: Devroye, Non-Uniform Random Variate Generation (1986),
    section III.2.
    """
    cumulative = likelihood.cumsum(axis=1)
    # The product stays below the total: (1 - 2**-53)·x is rounded to the float64 before x.
    return np.asarray((cumulative > uniform[:, None] * cumulative[:, -1:]).argmax(axis=1))


def _check(tokens: Tensor, max_new_tokens: int, temperature: float, top_k: int | None) -> None:
    if tokens.ndim != 2 or tokens.shape[1] == 0:
        raise ValueError(
            f"generate was given tokens of shape {tokens.shape}; it takes (batch, time), with at "
            "least one token in each row to go on from"
        )
    if max_new_tokens < 0:
        raise ValueError(
            f"generate was given max_new_tokens={max_new_tokens}; it must be 0 or more"
        )
    if not 0 <= temperature < float("inf"):
        raise ValueError(
            f"generate was given temperature={temperature}; it must be a number from 0 (always the "
            "likeliest token) upwards; 1 follows the model's own probabilities"
        )
    if top_k is not None and top_k < 1:
        raise ValueError(
            f"generate was given top_k={top_k}; it is the number of likeliest tokens to choose "
            "from, at least 1, or None for all"
        )
