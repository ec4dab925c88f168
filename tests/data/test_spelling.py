from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinymp.data import (
    ALPHABET,
    CharacterTokenizer,
    is_held_out,
    spell,
    spelling_line,
    spelling_numbers,
    spelling_text,
)

LARGEST = 999_999_999_999

VALUES = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14,
    "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20,
    "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}


def parse(name):
    """Read a name from left to right: words add, "hundred" and the scales multiply."""
    total = group = 0
    for word in name.split(" "):
        if word in SCALES:
            total, group = total + group * SCALES[word], 0
        elif word == "hundred":
            group *= 100
        else:
            group += sum(VALUES[part] for part in word.split("-"))
    return total + group


UP_TO_99 = (
    r"(?:(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)"
    r"(?:-(?:one|two|three|four|five|six|seven|eight|nine))?"
    r"|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
    r"|one|two|three|four|five|six|seven|eight|nine)"
)
UP_TO_999 = (
    rf"(?:(?:one|two|three|four|five|six|seven|eight|nine) hundred(?: {UP_TO_99})?|{UP_TO_99})"
)
NAME = re.compile(
    rf"zero|(?! )(?: ?{UP_TO_999} billion)?(?: ?{UP_TO_999} million)?(?: ?{UP_TO_999} thousand)?"
    rf"(?: ?{UP_TO_999})?"
)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (85, "eighty-five"),
        (100, "one hundred"),
        (1204, "one thousand two hundred four"),
        (10_000, "ten thousand"),
        (1_000_001, "one million one"),
        (700_019_000, "seven hundred million nineteen thousand"),
        (
            LARGEST,
            " ".join(
                f"nine hundred ninety-nine{s}" for s in (" billion", " million", " thousand", "")
            ),
        ),
    ],
)
def test_names_as_people_write_them(number, name):
    assert spell(number) == name


@given(st.integers(0, LARGEST))
@example(999_999_999)
@example(1_000_000)
def test_a_name_reads_back_as_its_number(number):
    name = spell(number)
    assert parse(name) == number
    assert NAME.fullmatch(name), "grammatical, with single spaces"


def test_all_numbers_below_ten_thousand_read_back():
    names = [spell(n) for n in range(10_000)]
    assert [parse(name) for name in names] == list(range(10_000))
    assert len(set(names)) == 10_000


@pytest.mark.parametrize("number", [-1, LARGEST + 1])
def test_numbers_without_a_name_are_refused(number):
    with pytest.raises(ValueError, match=f"0 to 999,999,999,999 have names here, not {number:,}"):
        spell(number)


def test_a_line_is_the_number_and_its_name():
    assert spelling_line(70) == "70 = seventy\n"
    lines = spelling_text(200, seed=3).splitlines()
    assert len(lines) == 200
    for line, number in zip(lines, spelling_numbers(200, seed=3), strict=True):
        digits, name = line.split(" = ")
        assert digits == str(number)
        assert parse(name) == number


@given(
    seed=st.integers(0, 2**32),
    other=st.integers(0, 2**32),
    largest=st.integers(1000, LARGEST),
    count=st.integers(0, 300),
)
def test_no_number_is_both_trained_on_and_unseen(seed, other, largest, count):
    train = spelling_numbers(count, "train", largest=largest, seed=seed)
    unseen = spelling_numbers(count, "unseen", largest=LARGEST, seed=other)
    assert len(train) == len(unseen) == count
    assert not set(train.tolist()) & set(unseen.tolist())
    assert ((train >= 0) & (train <= largest)).all()


def test_one_number_in_ten_is_held_out_and_none_below_100():
    assert not is_held_out(np.arange(100)).any()
    assert abs(is_held_out(np.arange(100, 100_100)).mean() - 0.1) < 1e-3
    assert abs(is_held_out(np.arange(10**9 - 10**5, 10**9)).mean() - 0.1) < 1e-3


def test_every_word_is_learnable_from_the_training_split():
    words = set(re.findall("[a-z]+", spelling_text(5000)))
    assert words == (set(VALUES) | {"hundred", "thousand", "million"})


def test_a_smaller_corpus_begins_a_larger_one_and_the_seed_decides():
    long = spelling_numbers(5000, seed=1)
    np.testing.assert_array_equal(spelling_numbers(100, seed=1), long[:100])
    assert (spelling_numbers(100, seed=2) != long[:100]).mean() > 0.9
    assert long.dtype == np.int64


def test_every_length_is_equally_likely():
    numbers = spelling_numbers(20_000, "unseen")
    lengths = np.bincount([len(str(n)) for n in numbers], minlength=10)
    assert (lengths[:3] == 0).all(), "below 100 nothing is held out"
    # 7 lengths; five standard deviations of a binomial count.
    assert (abs(lengths[3:] - 20_000 / 7) < 5 * (20_000 * 6 / 49) ** 0.5).all()


def test_bad_arguments_say_what_is_valid():
    with pytest.raises(
        ValueError, match="no split is called 'test'; expected one of train, unseen"
    ):
        spelling_numbers(1, "test")
    with pytest.raises(ValueError, match="largest must be from 0 to 999,999,999,999, but -1"):
        spelling_numbers(1, largest=-1)
    with pytest.raises(ValueError, match=r"no number up to 99 is held out; choose .* 1000 or more"):
        spelling_numbers(1, "unseen", largest=99)
    assert spelling_numbers(3, largest=0).tolist() == [0, 0, 0]


def test_text_goes_through_the_tokenizer_and_back():
    tokenizer = CharacterTokenizer(ALPHABET)
    text = spelling_text(100, largest=LARGEST)
    tokens = tokenizer.encode(text)
    assert tokens.dtype == np.int64
    assert (tokens.min(), tokens.max() < len(tokenizer)) == (0, True)
    assert tokenizer.decode(tokens) == text
    assert tokenizer.decode(tokenizer.encode("")) == ""
    assert tokenizer.decode(range(len(tokenizer))) == ALPHABET


def test_what_the_tokenizer_does_not_know_is_named():
    tokenizer = CharacterTokenizer("abc")
    with pytest.raises(
        ValueError, match="character 'x' at position 2 is not in the alphabet 'abc'"
    ):
        tokenizer.encode("abxx")
    for token in (-1, 3):
        with pytest.raises(ValueError, match=f"token {token} is outside 0 to 2"):
            tokenizer.decode([0, token])
    with pytest.raises(ValueError, match=r"once, but \['a'\] occur"):
        CharacterTokenizer("aba")
