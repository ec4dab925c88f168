"""The spelling corpus: numbers and their English names, as many lines as one likes.

    1204 = one thousand two hundred four
    70 = seventy

A small language model learns it from nothing, and whether it learned the rule or only the lines
shows at once: the names of numbers that it never saw must be right, letter by letter.
"""

from __future__ import annotations

import numpy as np

from tinymp.data.dataset import Array
from tinymp.data.number_names import LARGEST, spell
from tinymp.devices import Generator, get_device

ALPHABET = "\n -=0123456789abcdefghijklmnopqrstuvwxyz"  # 40 characters: a multiple of 8 suits GPUs

_SPLITS = ("train", "unseen")
_FIRST_HELD_OUT = 100
_CHUNK = 1024


def is_held_out(numbers: Array) -> Array:
    """Say for each number (int64) whether it belongs to the "unseen" split: one in ten does.

    It depends on the number alone, so no corpus, of any size or seed, mixes the two. Numbers below
    100 are never held out, since some words ("zero") occur in no other number. The others are
    spread by Fibonacci hashing: the fractional part of number · 0.618… is below 1/10 (Knuth, The
    Art of Computer Programming, volume 3, section 6.4).
    """
    fraction = (numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    return (numbers >= _FIRST_HELD_OUT) & (fraction < 2**32 // 10)


def spelling_numbers(
    count: int, split: str = "train", *, largest: int = 999_999_999, seed: int = 0
) -> Array:
    """Return `count` random numbers of a split, int64, from 0 to `largest`.

    Each length in digits is equally likely, and so is each number of that length; numbers may
    repeat. A smaller count gives the beginning of a larger one.

    Args:
        count: how many.
        split: "train" or "unseen"; no number is in both.
        largest: the largest number that may occur, up to 999,999,999,999.
        seed: which random numbers; see `tinymp.devices.Generator`.

    Raises:
        ValueError: for another split, a `largest` that has no name, or one so small that no number
            up to it is held out.
    """
    if split not in _SPLITS:
        raise ValueError(f"no split is called {split!r}; expected one of {', '.join(_SPLITS)}")
    if not 0 <= largest <= LARGEST:
        raise ValueError(f"largest must be from 0 to {LARGEST:,}, but {largest:,} was given")
    if split == "unseen" and not is_held_out(np.arange(min(largest, 1000) + 1)).any():
        raise ValueError(f"no number up to {largest} is held out; choose a largest of 1000 or more")
    generator = Generator(seed)
    chosen = [np.empty(0, np.int64)]
    missing = count
    while missing > 0:
        numbers = _random_numbers(generator, largest)
        chosen.append(numbers[is_held_out(numbers) == (split == "unseen")])
        missing -= len(chosen[-1])
    return np.concatenate(chosen)[:count]


def _random_numbers(generator: Generator, largest: int) -> Array:
    """Return the generator's next chunk of numbers up to `largest`, each length equally likely."""
    words = generator.words(get_device("cpu"), 4 * _CHUNK).view(np.uint64)
    digits = 1 + words[:_CHUNK] % np.uint64(len(str(largest)))
    lowest: Array = np.where(digits == 1, 0, 10 ** (digits - 1).astype(np.int64))
    highest = np.minimum(10 ** digits.astype(np.int64) - 1, largest)
    # The remainder's bias is below 10**12 / 2**64, less than one in ten million.
    offset = words[_CHUNK:] % (highest - lowest + 1).astype(np.uint64)
    numbers: Array = lowest + offset.astype(np.int64)
    return numbers


def spelling_line(number: int) -> str:
    """Return the corpus line of a number, with its line end: "70 = seventy\\n"."""
    return f"{number} = {spell(number)}\n"


def spelling_text(
    count: int, split: str = "train", *, largest: int = 999_999_999, seed: int = 0
) -> str:
    """Return a corpus of `count` lines; the arguments are those of `spelling_numbers`."""
    numbers = spelling_numbers(count, split, largest=largest, seed=seed)
    return "".join(spelling_line(int(number)) for number in numbers)
