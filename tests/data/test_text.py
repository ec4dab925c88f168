"""Any text: what is a token of it, where its windows lie, and which files are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymp.data import ByteTokenizer, CharacterTokenizer, read_text, split_text


@given(st.text())
def test_every_text_goes_through_bytes_and_back(text: str) -> None:
    tokenizer = ByteTokenizer()
    tokens = tokenizer.encode(text)
    assert tokens.dtype == np.int64
    assert bytes(tokens.tolist()) == text.encode("utf-8")
    assert tokenizer.decode(tokens) == text


def test_bytes_that_are_no_text_are_marked() -> None:
    tokenizer = ByteTokenizer()
    assert len(tokenizer) == 256
    assert tokenizer.decode([72, 105, 0xFF]) == "Hi\N{REPLACEMENT CHARACTER}"
    for token in (-1, 256):
        with pytest.raises(ValueError, match=f"token {token} is outside 0 to 255"):
            tokenizer.decode([token])


def test_the_alphabet_is_what_occurs(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_bytes("grüße\r\n".encode())
    tokenizer, tokens = read_text(file)
    assert isinstance(tokenizer, CharacterTokenizer)
    assert tokenizer.alphabet == "\n\regrßü"
    assert tokenizer.decode(tokens) == "grüße\r\n"
    tokenizer, tokens = read_text(file, "bytes")
    assert tokens.tolist() == list("grüße\r\n".encode())
    assert tokenizer.decode(tokens) == "grüße\r\n"


@given(
    length=st.integers(130, 12_000),
    context=st.integers(1, 12),
)
def test_windows_are_pieces_of_the_text_and_the_parts_do_not_meet(
    length: int, context: int
) -> None:
    tokens = np.arange(length)  # so that a token says where it stands
    train, test = split_text(tokens, context)
    for part in (train, test):
        assert part.inputs.shape == part.targets.shape == (len(part), context)
        np.testing.assert_array_equal(part.inputs, part.inputs[:, :1] + np.arange(context))
        np.testing.assert_array_equal(part.targets, part.inputs + 1)
    border = length - length // 10
    assert train.targets.max() < border <= test.inputs.min()
    # Nothing is left out but what does not fill a window.
    strides = [
        int(x[1, 0] - x[0, 0]) if len(x) > 1 else context for x in (train.inputs, test.inputs)
    ]
    assert strides[1] == context
    assert strides[0] in (1, context) or len(train) >= 3000 - context
    assert border - 1 - train.targets.max() < strides[0]
    assert length - 1 - test.targets.max() < strides[1]


def test_a_short_text_gives_closer_windows() -> None:
    lengths = {n: len(split_text(np.arange(n), 64)[0]) for n in (2_000, 20_000, 200_000, 2_000_000)}
    assert lengths == {2_000: 1736, 20_000: 2990, 200_000: 2999, 2_000_000: 28124}


def test_the_shortest_text() -> None:
    train, test = split_text(np.arange(50), 4)
    assert len(test) == 1
    assert len(train) == 41
    with pytest.raises(
        ValueError,
        match=r"poem has 49 tokens, but a context of 4 needs at least 50: .* smaller context",
    ):
        split_text(np.arange(49), 4, "poem")


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "text"
    with pytest.raises(FileNotFoundError, match=r"there is no file .*text; check its name"):
        read_text(file)
    with pytest.raises(IsADirectoryError, match="is a folder; name a file"):
        read_text(tmp_path)
    file.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty: there is nothing to learn from"):
        read_text(file)
    file.write_bytes("grüße".encode("latin-1"))
    with pytest.raises(
        ValueError, match=r"no UTF-8 text: byte 0xfc at position 2 .* the tokenizer bytes"
    ):
        read_text(file)
    assert read_text(file, "bytes")[1].tolist() == [0x67, 0x72, 0xFC, 0xDF, 0x65]
