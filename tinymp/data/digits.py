"""Handwritten digits, 8 x 8 pixels, that come with the package. digits.txt says whose they are."""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from tinymp.data.dataset import Dataset

_BRIGHTEST = 16
_SPLITS = ("train", "test", "all")


def load_digits(split: str = "train") -> Dataset:
    """Return the 8 x 8 handwritten digits of the UCI repository (Alpaydin and Kaynak, 1998).

    The split is fixed, so that results compare whatever the seed: of each digit's images, in file
    order, every fifth (the third, the eighth, ...) belongs to the test set. That makes 1,438 images
    to train on and 359 to test with, a fifth of each digit. The same 13 people wrote both, so
    accuracy here means known handwriting.

    Args:
        split: "train", "test", or "all" (both, in file order).

    Returns:
        A data set of float32 inputs, (n, 64), in [0, 1], row after row of each image, and int64
        targets, (n,), 0 to 9.

    Raises:
        ValueError: for any other split.
    """
    if split not in _SPLITS:
        raise ValueError(f"no split is called {split!r}; expected one of {', '.join(_SPLITS)}")
    with files("tinymp.data").joinpath("digits.npz").open("rb") as file:
        stored = np.load(file, allow_pickle=False)
        images, labels = stored["images"], stored["labels"]
    in_test = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        in_test[np.flatnonzero(labels == digit)[2::5]] = True
    kept = {"train": ~in_test, "test": in_test, "all": np.ones_like(in_test)}[split]
    # Dividing by a power of two is exact, in every format that has five bits.
    inputs = images[kept].reshape(-1, 64).astype(np.float32) / _BRIGHTEST
    return Dataset(f"digits ({split})", inputs, labels[kept].astype(np.int64))
