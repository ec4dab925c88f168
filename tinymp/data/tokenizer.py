"""Text as numbers: one token for each character of a fixed alphabet."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tinymp.data.dataset import Array


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
        sequence = np.asarray(tokens, dtype=np.int64).reshape(-1)
        outside = sequence[(sequence < 0) | (sequence >= len(self))]
        if outside.size:
            raise ValueError(f"token {outside[0]} is outside 0 to {len(self) - 1}")
        return "".join(self.alphabet[token] for token in sequence)
