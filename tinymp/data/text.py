"""Any text as a data set: windows of tokens, and the token that follows each of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinymp.data.dataset import Array, Dataset
from tinymp.data.tokenizer import ByteTokenizer, CharacterTokenizer, Tokenizer

_TEST_SHARE = 10  # a tenth
_WINDOWS = 3000


def read_text(path: Path, tokenizer: str = "characters") -> tuple[Tokenizer, Array]:
    """The tokens of a file, (n,), int64, and what turns them into text again.

    Args:
        path: the file.
        tokenizer: "characters" of a UTF-8 text, whose alphabet are those that occur in it; or
            "bytes", of any file.

    Raises:
        FileNotFoundError, IsADirectoryError: no such file.
        ValueError: a file that is empty, or whose characters are asked for and that is not UTF-8.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}; check its name")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file with a text in it")
    content = path.read_bytes()
    if not content:
        raise ValueError(f"{path} is empty: there is nothing to learn from")
    if tokenizer == "bytes":
        return ByteTokenizer(), np.frombuffer(content, np.uint8).astype(np.int64)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is no UTF-8 text: byte 0x{content[error.start]:02x} at position {error.start} "
            "does not fit; save it as UTF-8, or learn its bytes with the tokenizer bytes"
        ) from None
    by_character = CharacterTokenizer("".join(sorted(set(text))))
    return by_character, by_character.encode(text)


def split_text(tokens: Array, context: int, name: str = "text") -> tuple[Dataset, Dataset]:
    """Windows to learn from, and windows to test with, which come from the last tenth of the text.

    The windows of the test begin `context` tokens apart, and so do those of training in a long
    text. In a short one they begin closer together, so that there are some 3,000 of them and an
    epoch takes as long as elsewhere.

    Args:
        tokens: the text, (n,), int64.
        context: length of a window.
        name: what messages call the text.

    Returns:
        Two data sets with inputs (m, context), and as targets (m, context) each next token.

    Raises:
        ValueError: a text that is too short for one window in each part.
    """
    shortest = _TEST_SHARE * (context + 1)
    if len(tokens) < shortest:
        raise ValueError(
            f"{name} has {len(tokens):,} tokens, but a context of {context} needs at least "
            f"{shortest:,}: a tenth of the text is kept for the test, and must hold {context} "
            "tokens and the one that follows; take a longer text or a smaller context"
        )
    border = len(tokens) - len(tokens) // _TEST_SHARE
    stride = min(context, max(1, border // _WINDOWS))
    return (
        _windows(tokens[:border], context, stride, f"{name} (train)"),
        _windows(tokens[border:], context, context, f"{name} (test)"),
    )


def _windows(tokens: Array, context: int, stride: int, name: str) -> Dataset:
    windows = np.lib.stride_tricks.sliding_window_view(tokens, context + 1)[::stride]
    return Dataset(name, windows[:, :-1], windows[:, 1:])
