"""Text as numbers: one token for each character of a fixed alphabet, or for each byte."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from tinymp.data.dataset import Array


class Tokenizer(Protocol):
    """Turns text into token numbers, 0 to `len(self) - 1`, and back."""

    def __len__(self) -> int: ...

    def encode(self, text: str) -> Array:
        """Return the tokens of a text, int64."""

    def decode(self, tokens: ArrayLike) -> str:
        """Return the text of a sequence of tokens."""


class CharacterTokenizer:
    """Turns text into token numbers and back; token i is the i-th character of the alphabet.

    Raises:
        ValueError: for an alphabet in which a character occurs twice.
    """

    def __init__(self, alphabet: str) -> None:
        self.alphabet = alphabet
        self._tokens = {character: token for token, character in enumerate(alphabet)}
        if len(self._tokens) != len(alphabet):
            twice = sorted({c for c in alphabet if alphabet.count(c) > 1})
            raise ValueError(f"an alphabet names each character once, but {twice} occur more often")

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.alphabet)

    def encode(self, text: str) -> Array:
        """Return the tokens of a text, int64, one for each character.

        Raises:
            ValueError: for a character outside the alphabet; the message says which and where.
        """
        try:
            return np.array([self._tokens[character] for character in text], dtype=np.int64)
        except KeyError as error:
            unknown = error.args[0]
            raise ValueError(
                f"character {unknown!r} at position {text.index(unknown)} is not in the alphabet "
                f"{self.alphabet!r}"
            ) from None

    def decode(self, tokens: ArrayLike) -> str:
        """Return the text of a sequence of tokens.

        Raises:
            ValueError: for a token outside 0 to `len(self) - 1`.
        """
        return "".join(self.alphabet[token] for token in _sequence(tokens, len(self)))


class ByteTokenizer:
    """Turns text into the bytes of its UTF-8 form and back: 256 tokens serve for every text."""

    def __len__(self) -> int:
        """Return 256, the number of tokens."""
        return 256

    def encode(self, text: str) -> Array:
        """Return the bytes of a text, int64: one to four for each character."""
        return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64)

    def decode(self, tokens: ArrayLike) -> str:
        """Return the text of a sequence of bytes; what is no UTF-8 in it becomes U+FFFD.

        Raises:
            ValueError: for a token outside 0 to 255.
        """
        return _sequence(tokens, 256).astype(np.uint8).tobytes().decode("utf-8", "replace")


def _sequence(tokens: ArrayLike, count: int) -> Array:
    sequence = np.asarray(tokens, dtype=np.int64).reshape(-1)
    outside = sequence[(sequence < 0) | (sequence >= count)]
    if outside.size:
        raise ValueError(f"token {outside[0]} is outside 0 to {count - 1}")
    return sequence
