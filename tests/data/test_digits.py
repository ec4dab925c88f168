from __future__ import annotations

import hashlib
from importlib.resources import files

import numpy as np
import pytest

from tinymp.data import load_digits


def test_the_split_is_fixed_and_stratified():
    train, test, everything = (load_digits(split) for split in ("train", "test", "all"))
    assert (len(train), len(test), len(everything)) == (1438, 359, 1797)
    np.testing.assert_array_equal(
        np.bincount(everything.targets), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    )
    share = np.bincount(test.targets) / np.bincount(everything.targets)
    assert (abs(share - 0.2) < 1 / 174).all(), "a fifth of each digit, to within one image"
    together = {row.tobytes() for row in train.inputs} | {row.tobytes() for row in test.inputs}
    assert together == {row.tobytes() for row in everything.inputs}
    # The split is part of every published figure: a change must be noticed.
    digest = hashlib.sha256(test.inputs.tobytes() + test.targets.tobytes()).hexdigest()
    assert digest == "c53c44ac47f786cf3a62efffa17514e8c39b5c62a4b774433ea7aba9a15bd11c"


def test_images_are_rows_of_pixels_from_zero_to_one():
    digits = load_digits("all")
    assert (digits.inputs.dtype, digits.inputs.shape) == (np.float32, (1797, 64))
    assert (digits.targets.dtype, digits.targets.shape) == (np.int64, (1797,))
    assert (digits.inputs.min(), digits.inputs.max()) == (0, 1)
    assert set(np.unique(digits.inputs * 16)) == set(range(17)), "sixteenths: exact in float16"
    zero = digits.inputs[0].reshape(8, 8)
    assert digits.targets[0] == 0
    assert zero[3:5, 3:5].max() < 0.2 < 0.5 < zero[3, 2], "a zero is a ring around nothing"


def test_an_unknown_split_lists_the_valid_ones():
    with pytest.raises(ValueError, match="no split is called 'valid'; expected one of train, test"):
        load_digits("valid")


def test_the_attribution_lies_beside_the_data():
    text = files("tinymp.data").joinpath("digits.txt").read_text(encoding="utf-8")
    for needed in ("Alpaydin", "Kaynak", "1998", "CC BY 4.0", "10.24432/C50P49", "Changes"):
        assert needed in text
