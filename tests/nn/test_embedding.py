"""The embedding: rows of a table, and the sum of their gradients."""

from __future__ import annotations

import numpy as np
import pytest

import tinymp as mp
from tinymp import nn
from tinymp.nn import functional as F


def test_each_token_becomes_its_row(device: str) -> None:
    layer = nn.Embedding(5, 3, device=device)
    tokens = mp.tensor([[4, 0], [0, 2]], device=device)
    out = layer(tokens)
    assert out.shape == (2, 2, 3)
    np.testing.assert_array_equal(out.numpy(), layer.weight.numpy()[tokens.numpy()])


@pytest.mark.parametrize("dtype", [mp.float32, mp.float16, mp.bfloat16])
def test_gradients_of_a_token_are_summed_before_they_are_rounded(dtype: mp.DType) -> None:
    """1 + 2^-11 + 2^-11 is 1 in float16 if each sum is rounded, 1 + 2^-10 if only the last is."""
    half = float(mp.finfo(dtype).eps) / 2
    weight = mp.zeros(4, 1, dtype=dtype, requires_grad=True)
    out = F.embedding(mp.tensor([2, 2, 2, 1]), weight)
    out.backward(mp.tensor([[1.0], [half], [half], [3.0]]).to(dtype))
    assert weight.grad is not None
    assert weight.grad.dtype is dtype
    np.testing.assert_array_equal(weight.grad.numpy().reshape(-1), [0, 3, 1 + 2 * half, 0])


def test_no_tokens_are_no_vectors() -> None:
    assert nn.Embedding(5, 3)(mp.zeros(0, 2, dtype=mp.int64)).shape == (0, 2, 3)


@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        ([[0, 5]], IndexError, "the token 5; with 5 rows tokens are 0 to 4"),
        ([-1], IndexError, "the token -1; with 5 rows"),
        ([0.0], TypeError, "float32 tokens; they are row numbers, an int64 tensor"),
    ],
)
def test_tokens_that_are_none(tokens: list[float], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        nn.Embedding(5, 3)(mp.tensor(tokens))


def test_a_weight_that_is_no_table() -> None:
    with pytest.raises(ValueError, match=r"a weight of shape \(5,\); it is a table"):
        F.embedding(mp.tensor([0]), mp.ones(5))


def test_repr() -> None:
    assert repr(nn.Embedding(5, 3)) == "Embedding(5, 3)"
