"""One packed operand or three of its own: the same numbers, forward and backward."""

from __future__ import annotations

import numpy as np
import pytest

import tinymp as mp
from tinymp.nn import functional as F


def apart(packed, **options):
    query, key, value = (packed[:, :, i].transpose(1, 2) for i in range(3))
    return F.scaled_dot_product_attention(query, key, value, **options).transpose(1, 2)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("shape", [(2, 5, 3, 2, 8), (1, 1, 3, 1, 8), (0, 4, 3, 2, 8)])
def test_it_is_attention_of_the_three_parts(shape, is_causal, dtype, device):
    rng = np.random.default_rng(0)
    values = rng.normal(size=shape).astype(np.float32)
    seed = mp.tensor(rng.normal(size=shape[:2] + shape[3:]).astype(np.float32), device=device)
    results = []
    for attention in (F.self_attention, apart):
        packed = mp.tensor(values, device=device).to(dtype).detach().requires_grad_()
        out = attention(packed, is_causal=is_causal)
        out.backward(seed.to(dtype))
        results.append((out.numpy(), packed.grad.numpy()))
        assert out.dtype is packed.grad.dtype is packed.dtype
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_dropout_and_scale_reach_it(device):
    packed = mp.randn(2, 4, 3, 2, 8, device=device)
    outs = []
    for attention in (F.self_attention, apart):
        mp.manual_seed(7)
        outs.append(attention(packed, dropout_p=0.5, scale=0.1).numpy())
    np.testing.assert_array_equal(*outs)
    assert not np.array_equal(outs[0], F.self_attention(packed, scale=0.1).numpy())


@pytest.mark.parametrize(
    ("packed", "options", "error", "complaint"),
    [
        (mp.zeros(2, 4, 3, 8), {}, ValueError, r"shape \(2, 4, 3, 8\).*\(b, t, 3, heads, feat"),
        (mp.zeros(2, 4, 2, 1, 8), {}, ValueError, "queries, keys and values along the third"),
        (mp.tensor([[1]]), {}, TypeError, "given int64; it takes floats"),
        (mp.zeros(2, 4, 3, 1, 8), {"dropout_p": 1.0}, ValueError, "dropout_p=1.0.*probability"),
    ],
)
def test_complaints(packed, options, error, complaint):
    with pytest.raises(error, match=complaint):
        F.self_attention(packed, **options)
