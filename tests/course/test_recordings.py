"""The recordings of lesson 3 are part of those that the tensor-core model is tested with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinymp.course.recordings import recorded_tiles
from tinymp.numerics import tensor_core_matmul


def test_the_model_returns_the_recorded_bits() -> None:
    tiles = recorded_tiles()
    assert {name: x.shape for name, x in tiles.items()} == {
        "a": (8, 16, 16), "b": (8, 16, 8), "c": (8, 16, 8), "d": (8, 16, 8),
    }  # fmt: skip
    a, b = tiles["a"].view(np.uint16), tiles["b"].view(np.uint16)
    product = tensor_core_matmul(a, b, "float16", tiles["c"])
    np.testing.assert_array_equal(product.view(np.uint32), tiles["d"].view(np.uint32))


def test_they_are_among_the_recordings_of_the_test_suite() -> None:
    folder = Path(__file__).parents[1] / "numerics" / "data"
    with np.load(folder / "h200_mma_open.npz") as everything:
        known = {tile.tobytes() for tile in everything["f16_d"]}
    assert {tile.tobytes() for tile in recorded_tiles()["d"]} <= known
