"""Attention against PyTorch, in all dtypes, and against its spelling in five operations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinymp as mp
from tinymp.nn import functional as F
from tinymp.testing import check_operation, pytorch_oracle, unit_roundoff

torch = pytest.importorskip("torch")
from tinymp.testing.draws import Draws  # noqa: E402

FLOATS = [mp.float64, mp.float32, mp.float16, mp.bfloat16]
a = np.abs


def attention(q: Any, k: Any, v: Any, mask: Any, causal: bool, scale: Any) -> Any:
    """PyTorch's, for shapes that broadcast (its own kernels do not take all of them)."""
    return torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=causal, scale=scale
    )


def bounds(dtype: Any, scale: float, masked: Any) -> Any:
    """To first order, how far off value and gradients may be.

    u is the unit roundoff of computing, w that of the operands that are rounded to 2 bytes: the
    weights P and the gradient dS of the scores. With softmax of scores s off by δ, P is off by
    2·P·δ; what each product adds are sums of absolute terms.
    """
    u = unit_roundoff(dtype) * (2 if dtype is mp.float64 else 1)
    w = dtype.unit_roundoff("nearest_even") if dtype.bits == 16 else u
    tiny = dtype.smallest_subnormal

    def errors(values: list[Any], out: Any, g: Any) -> list[Any]:
        q, k, v = values
        keys, features = k.shape[-2:]
        scores = (a(q) @ a(k).swapaxes(-1, -2)).max(initial=0) * abs(scale)
        off = 2 * ((features + 4) * scores + keys + 20) * u + w
        size = a(v).max(initial=0)
        value = (off + (keys + 2) * u) * size + keys * tiny * size
        # dS = P·(dP - ΣP·dP)·scale, where |dP| ≤ Σ|g|·|v|; P adds up to 1 over the keys.
        slope = a(g).sum(-1).max(initial=0) * size * abs(scale)
        lost = 2 * slope * (3 * off + w + (keys + v.shape[-1] + 8) * u) + tiny * (1 + size)
        rows = int(np.prod(g.shape[:-1]))
        of_q = lost * a(k).max(initial=0) * (keys + 2)
        of_k = lost * a(q).max(initial=0) * (rows + 2)
        of_v = (off + w + rows * u + tiny) * a(g).max(initial=0) * (rows + 2)
        # An input that was broadcast gets the sum over what stands in front.
        front = int(np.prod(g.shape[:-2])) or 1
        return [value, of_q * front, of_k, of_v]

    return errors


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@settings(max_examples=40)
@given(data=st.data())
def test_against_pytorch(dtype: Any, data: Any) -> None:
    length, keys = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    features, width = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    front = data.draw(st.sampled_from([(), (2,), (2, 3)]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    kind = data.draw(st.sampled_from(["none", "causal", "bool", "float"]))
    scale = data.draw(st.sampled_from([None, 0.75]))
    draws = Draws(data, dtype)  # for the layouts in memory
    q, k, v = (
        draws.laid_out(rng.standard_normal((*front, *shape)))
        for shape in ((length, features), (keys, features), (keys, width))
    )
    mask = None
    if kind == "bool":  # now and then a row is all false
        mask = mp.tensor(rng.random((length, keys)) > 0.3)
    elif kind == "float":
        mask = mp.tensor(rng.integers(-2, 3, (length, keys)) / 2, dtype)
    theirs_mask = None if mask is None else torch.tensor(mask.numpy())
    if kind == "float":
        theirs_mask = theirs_mask.double()
    theirs = pytorch_oracle(
        lambda q, k, v: attention(q, k, v, theirs_mask, kind == "causal", scale)
    )
    with mp.rounding("nearest_even"):
        check_operation(
            lambda q, k, v: F.scaled_dot_product_attention(
                q, k, v, mask, is_causal=kind == "causal", scale=scale
            ),
            theirs,
            [q, k, v],
            dtype,
            bounds(dtype, scale or features**-0.5, mask),
        )


def composed(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """The same in five operations."""
    scores = q @ k.mT * q.shape[-1] ** -0.5
    return mp.softmax(scores.masked_fill(~mask, -np.inf), -1) @ v


def test_it_agrees_with_its_spelling_in_five_operations() -> None:
    mask = mp.ones(5, 5, dtype=mp.bool).tril()
    inputs = [mp.randn(2, 5, 4, dtype=mp.float64).requires_grad_() for _ in range(3)]
    fused = F.scaled_dot_product_attention(*inputs, is_causal=True)
    spelt = composed(*inputs, mask)
    np.testing.assert_allclose(fused.numpy(), spelt.numpy(), rtol=0, atol=40 * 2.0**-53)
    for ours, theirs in zip(
        mp.grad(lambda *x: F.scaled_dot_product_attention(*x, is_causal=True).sum(), (0, 1, 2))(
            *inputs
        ),
        mp.grad(lambda *x: composed(*x, mask).sum(), (0, 1, 2))(*inputs),
        strict=True,
    ):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=0, atol=400 * 2.0**-53)


def test_a_query_that_may_look_nowhere_gets_zeros() -> None:
    q, k, v = (mp.randn(2, 3, requires_grad=True) for _ in range(3))
    mask = mp.tensor([[False, False], [True, True]])
    out = F.scaled_dot_product_attention(q, k, v, mask)
    out.sum().backward()
    assert out.tolist()[0] == [0, 0, 0]
    assert q.grad.tolist()[0] == [0, 0, 0]
    assert all(np.isfinite(x.grad.numpy()).all() for x in (q, k, v))


def test_what_stands_in_front_broadcasts() -> None:
    q, k = mp.randn(2, 3, 4, 5, requires_grad=True), mp.randn(3, 6, 5, requires_grad=True)
    v = mp.randn(1, 3, 6, 2, requires_grad=True)
    out = F.scaled_dot_product_attention(q, k, v)
    assert out.shape == (2, 3, 4, 2)
    out.sum().backward()
    assert [x.grad.shape for x in (q, k, v)] == [x.shape for x in (q, k, v)]
    assert F.scaled_dot_product_attention(q[:, :, :0], k, v).shape == (2, 3, 0, 2)
    nothing = F.scaled_dot_product_attention(q, k[:, :0], v[:, :, :0])
    assert not nothing.numpy().any()


def test_dropout_drops_a_share_of_the_weights_and_repeats_with_the_seed() -> None:
    q, k, v = mp.zeros(1000, 1), mp.zeros(100, 1), mp.ones(100, 1)
    mp.manual_seed(5)
    first = F.scaled_dot_product_attention(q, k, v, dropout_p=0.25).numpy()
    mp.manual_seed(5)
    again = F.scaled_dot_product_attention(q, k, v, dropout_p=0.25).numpy()
    np.testing.assert_array_equal(first, again)
    # Each is the mean of 100 weights of 4/3 or 0: standard deviation √(1/3)/10.
    assert abs(first.mean() - 1) < 5 * (1 / 3) ** 0.5 / 10 / 1000**0.5
    assert 0.5 < first.std() / ((1 / 3) ** 0.5 / 10) < 1.5


@pytest.mark.parametrize("dtype", [mp.float16, mp.bfloat16], ids=lambda dtype: dtype.name)
def test_weights_are_kept_in_2_bytes_and_autocast_casts_to_them(dtype: Any) -> None:
    x = mp.randn(2, 4, 8, requires_grad=True)
    with mp.amp.autocast(dtype):
        out = F.scaled_dot_product_attention(x, x, x, mp.zeros(4, 4))
    assert out.dtype is dtype
    weights = out.node.saved["weights"]
    assert weights.nbytes == 2 * 2 * 4 * 4
    out.sum().backward()
    assert x.grad.dtype is mp.float32
