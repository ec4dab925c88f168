"""Asking a product in which order it adds: the answers of products whose order is known."""

from __future__ import annotations

import numpy as np
import pytest

from tinymp.formats import bfloat16, encode, float16
from tinymp.numerics import tensor_core_matmul
from tinymp.numerics.order import parts_of
from tinymp.numerics.tensor_core import parts

two_bytes = pytest.mark.parametrize("dtype", [float16, bfloat16], ids=str)


def in_parts(dtype, length):
    return lambda a, b: tensor_core_matmul(a, b, dtype, part=length)


@two_bytes
@pytest.mark.parametrize(
    ("m", "n", "k", "length"),
    [
        (8, 8, 512, 512), (8, 4, 1000, 384), (3, 9, 1437, 480), (1, 5, 300, 192), (4, 4, 20, 20),
        (4, 4, 7, 7), (10, 3, 1440, 96), (10, 4, 100, 32), (4, 4, 80, 32),
    ],
)  # fmt: skip
def test_parts_are_found(dtype, m, n, k, length):
    assert parts_of(in_parts(dtype, length), m, n, k, dtype) == parts(k, length)


def test_parts_have_one_length_but_for_the_last():
    """As asking cuBLAS 13.1 on an H200 showed them."""
    assert [part.stop for part in parts(4096, 1408)] == [1408, 2816, 4096]
    assert [part.stop for part in parts(8192, 2752)] == [2752, 5504, 8192]
    assert parts(16384, 1408)[-1] == slice(15488, 16384)
    assert parts(2048, 2048) == [slice(0, 2048)]
    assert parts(0, 5) == [slice(0, 0)]
    with pytest.raises(ValueError, match="at least 1 term, but 0 was given"):
        parts(8, 0)


@two_bytes
def test_parts_are_added_in_order_in_float32(dtype):
    rng = np.random.default_rng(0)
    a, b = (encode(rng.standard_normal(s), dtype, "nearest_even") for s in ((5, 400), (400, 6)))
    first, second, third = (
        tensor_core_matmul(a[:, part], b[part], dtype) for part in parts(400, 150)
    )
    found = tensor_core_matmul(a, b, dtype, part=150)
    np.testing.assert_array_equal(found, (first + second) + third)
    assert (found != tensor_core_matmul(a, b, dtype)).any()
    stacked = tensor_core_matmul(np.stack([a, a]), b, dtype, part=150)
    np.testing.assert_array_equal(stacked[1], found)
    with pytest.raises(ValueError, match=r"accumulator c and part=150; .* never recorded"):
        tensor_core_matmul(a, b, dtype, np.zeros((5, 6), np.float32), part=150)


def test_another_order_is_refused():
    def pairs(a, b):  # halves of halves
        quarters = [tensor_core_matmul(a[:, i::4], b[i::4], float16) for i in range(4)]
        return (quarters[0] + quarters[1]) + (quarters[2] + quarters[3])

    with pytest.raises(ValueError, match=r"4×4×256 adds its terms in an order that is no sequence"):
        parts_of(pairs, 4, 4, 256, float16)

    def nested(a, b):  # the second part is no chain
        first = tensor_core_matmul(a[:, :64], b[:64], float16)
        second = [tensor_core_matmul(a[:, i : i + 96], b[i : i + 96], float16) for i in (64, 160)]
        return first + (second[0] + second[1])

    with pytest.raises(ValueError, match=r"has a part from 64 to 256 that is no chain"):
        parts_of(nested, 4, 4, 256, float16)
