"""Data that come with the package, nothing downloaded, and how they are fed to a model."""

from __future__ import annotations

from tinymp.data.dataset import Dataset, check_finite
from tinymp.data.digits import load_digits
from tinymp.data.loader import DataLoader
from tinymp.data.number_names import spell
from tinymp.data.spelling import (
    ALPHABET,
    is_held_out,
    spelling_line,
    spelling_numbers,
    spelling_text,
)
from tinymp.data.text import read_text, split_text
from tinymp.data.tokenizer import ByteTokenizer, CharacterTokenizer, Tokenizer

__all__ = [
    "ALPHABET",
    "ByteTokenizer",
    "CharacterTokenizer",
    "DataLoader",
    "Dataset",
    "Tokenizer",
    "check_finite",
    "is_held_out",
    "load_digits",
    "read_text",
    "spell",
    "spelling_line",
    "spelling_numbers",
    "spelling_text",
    "split_text",
]
