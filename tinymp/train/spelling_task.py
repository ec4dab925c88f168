"""Numbers and their English names, learned letter by letter by a GPT."""

from __future__ import annotations

from functools import partial

import numpy as np

from tinymp.autograd import Tensor
from tinymp.data import (
    ALPHABET,
    CharacterTokenizer,
    Dataset,
    spelling_line,
    spelling_numbers,
)
from tinymp.models import GPT
from tinymp.nn import Module
from tinymp.nn import functional as F
from tinymp.ops import tensor
from tinymp.train.configuration import Configuration
from tinymp.train.task import Sample, Task

UNANSWERED = -1  # stands among the targets where nothing is asked of the model
_LARGEST_NUMBER = 9_999
_LINES = {"train": 8000, "unseen": 500}
_SAMPLES = 8


def spelling(configuration: Configuration) -> Task:
    """Numbers and their English names, learned letter by letter by a GPT.

    An example is a line such as "70 = seventy". The loss is the mean over the letters of the name
    and its line end; a line counts as correct if all of them are. The test has unseen numbers.
    """
    lines = {split: _lines(split, count) for split, count in _LINES.items()}
    longest = max(len(line) for split in lines.values() for line in split)
    context = longest - 1  # nothing follows the last character
    train, test = (_dataset(split, lines[split], longest) for split in lines)
    c = configuration
    return Task(
        name="spelling",
        train=train,
        test=test,
        model=lambda: GPT(len(ALPHABET), context, c.width, c.layers, c.heads, c.dropout),
        loss=answered_cross_entropy,
        correct=count_correct_lines,
        samples=partial(spell_out, lines=list(dict.fromkeys(lines["unseen"]))[:_SAMPLES]),
    )


def _lines(split: str, count: int) -> list[str]:
    numbers = spelling_numbers(count, split, largest=_LARGEST_NUMBER)
    return [spelling_line(int(number)) for number in numbers]


def _dataset(split: str, lines: list[str], longest: int) -> Dataset:
    """Tokens (n, t), and as target of each the next one, where that belongs to the name."""
    tokenizer = CharacterTokenizer(ALPHABET)
    tokens = np.stack([tokenizer.encode(line.ljust(longest, "\n")) for line in lines])
    inputs, targets = tokens[:, :-1], tokens[:, 1:].copy()
    for target, line in zip(targets, lines, strict=True):
        target[: line.index("=") + 1] = UNANSWERED
        target[len(line) - 1 :] = UNANSWERED
    return Dataset(f"spelling ({split})", inputs, targets)


def answered_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits (n, t, classes) where the targets (n, t) are not UNANSWERED."""
    rows, labels = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1)
    return F.cross_entropy(rows, labels, ignore_index=UNANSWERED)


def count_correct_lines(logits: Tensor, targets: Tensor) -> int:
    """Rows of (n, t, classes) that are largest at every target (n, t) that is not UNANSWERED.

    Given the letters before, each next one is right: the model would write the line by itself. A
    row with a NaN never is correct.
    """
    values, wanted = logits.numpy(), targets.numpy()
    right = (values.argmax(axis=2) == wanted) & ~np.isnan(values).any(axis=2)
    return int((right | (wanted == UNANSWERED)).all(axis=1).sum())


def spell_out(model: Module, lines: list[str]) -> list[Sample]:
    """The names that a GPT writes for the numbers of some lines, beside those in the lines."""
    assert isinstance(model, GPT)
    tokenizer = CharacterTokenizer(ALPHABET)
    device = next(model.parameters()).device
    samples = []
    for line in lines:
        number, _, name = line.partition(" = ")
        prompt = f"{number} = "
        tokens = tensor(tokenizer.encode(prompt)[None], device=device)
        text = tokenizer.decode(
            model.generate(tokens, model.context + 1 - len(prompt), temperature=0).numpy()
        )
        written = text.removeprefix(prompt).partition("\n")[0]
        samples.append(Sample(prompt, written, name.removesuffix("\n")))
    return samples
