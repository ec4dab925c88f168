"""The key/value cache: what attention need not compute again for each new token."""

from __future__ import annotations

from tinymp.autograd import Tensor
from tinymp.ops import cat


class KeyValueCache:
    """Keys and values of the positions that one attention layer has seen.

    A position's key and value depend on it and on those before it, so they stay what they are when
    a token is added: only its own must be computed. Without a cache each new token costs as much
    as all tokens before it together.
    """

    def __init__(self) -> None:
        self._key: Tensor | None = None
        self._value: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of positions seen."""
        return 0 if self._key is None else self._key.shape[2]

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add those of new positions, (b, heads, t, features) each; return those of all."""
        if self._key is not None and self._value is not None:
            key, value = cat([self._key, key], 2), cat([self._value, value], 2)
        self._key, self._value = key, value
        return key, value
