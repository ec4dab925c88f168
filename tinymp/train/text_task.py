"""Any text, learned by a GPT: what comes next?"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import numpy as np

from tinymp.autograd import Tensor
from tinymp.data import Dataset, Tokenizer, read_text, split_text
from tinymp.models import GPT
from tinymp.nn import Module
from tinymp.nn import functional as F
from tinymp.ops import tensor
from tinymp.train.configuration import Configuration
from tinymp.train.task import Sample, Task

_SAMPLES, _PROMPT, _WRITTEN, _TEMPERATURE = 3, 16, 200, 0.8


def text(configuration: Configuration) -> Task:
    """The text of a file, learned token by token in windows; its last tenth is the test.

    The loss is the mean over all tokens, in nats; what counts as correct is the share of tokens
    that the model takes for the likeliest.

    Raises:
        OSError, ValueError: a file that is missing, empty, too short, no UTF-8, or not the one that
            the run began with.
    """
    c = configuration
    if not c.text:
        raise ValueError("no text was named; name a file to learn from, with --text FILE")
    path = Path(c.text)
    tokenizer, tokens = read_text(path, c.tokenizer)
    if c.text_sha256 and fingerprint(path) != c.text_sha256:
        raise ValueError(
            f"{path} is not the text that this run began with: its SHA-256 is no longer "
            f"{c.text_sha256}; put the old text back, or begin a new run"
        )
    train, test = split_text(tokens, c.context, path.name)
    return Task(
        name=path.name,
        train=train,
        test=test,
        model=lambda: GPT(len(tokenizer), c.context, c.width, c.layers, c.heads, c.dropout),
        loss=token_cross_entropy,
        correct=count_correct_tokens,
        samples=partial(continue_text, test=test, tokenizer=tokenizer, seed=c.seed),
    )


def fingerprint(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def token_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits (n, t, vocabulary) at the targets (n, t)."""
    return F.cross_entropy(logits.reshape(-1, logits.shape[2]), targets.reshape(-1))


def count_correct_tokens(logits: Tensor, targets: Tensor) -> float:
    """The right share of each window, summed over the windows.

    A token is right where logits (n, t, vocabulary) are largest at the target (n, t); in a position
    with a NaN none is.
    """
    values = logits.numpy()
    right = (values.argmax(axis=2) == targets.numpy()) & ~np.isnan(values).any(axis=2)
    return float(right.mean(axis=1).sum())


def continue_text(model: Module, test: Dataset, tokenizer: Tokenizer, seed: int) -> list[Sample]:
    """What a GPT writes after some beginnings, spread over the test."""
    assert isinstance(model, GPT)
    chosen = np.linspace(0, len(test) - 1, min(_SAMPLES, len(test))).astype(np.int64)
    prompts = test.inputs[chosen, :_PROMPT]
    device = next(model.parameters()).device
    tokens = tensor(prompts.copy(), device=device)
    rows = model.generate(tokens, _WRITTEN, _TEMPERATURE, seed=seed).numpy()
    length = prompts.shape[1]
    return [Sample(tokenizer.decode(row[:length]), tokenizer.decode(row[length:])) for row in rows]
