"""Fused attention against the rule in float64, within bounds from unit roundoffs alone."""

from __future__ import annotations

import numpy as np
import pytest

import tinymp as mp
from tinymp.devices import get_device
from tinymp.devices.kernels import attention
from tinymp.devices.kernels.attention import attention_backward, attention_forward
from tinymp.devices.kernels.twin import Target
from tinymp.formats import bfloat16, encode, float16, float32
from tinymp.formats.packing import unpack
from tinymp.numerics.kit import Packed

pytestmark = pytest.mark.gpu

U32 = 2.0**-24


@pytest.fixture(scope="module")
def gpu():
    try:
        gpu = get_device("cuda")
    except RuntimeError as missing:
        pytest.skip(str(missing))
    if attention.capability(0) < 80:
        pytest.skip("these kernels need compute capability 8.0")
    return gpu


@pytest.fixture(params=["mma.sync", "wgmma"], autouse=True)
def instructions(request, gpu, monkeypatch):
    """Both ways to multiply, on a GPU that has both."""
    found = attention.capability(0)
    if request.param == "mma.sync":
        monkeypatch.setattr(attention, "capability", lambda device: 80)
    elif found != 90:
        pytest.skip("wgmma is an instruction of compute capability 9.0")


@pytest.fixture(params=["nearest_even", "toward_zero"])
def mode(request):
    return request.param


@pytest.fixture(params=[float16, bfloat16], ids=lambda dtype: dtype.name)
def dtype(request):
    return request.param


def packed(gpu, values, dtype):
    """(B, L, H, E) values as a (B, H, L, E) operand."""
    words = encode(np.asarray(values, np.float32), dtype, "nearest_even").view(dtype.storage)
    return Packed(gpu.asarray(words).swapaxes(1, 2), dtype)


def normal(gpu, dtype, batch, heads, queries, keys, head, seed=0, spread=1.0):
    """Query, key, value and the gradient of the result."""
    rng = np.random.default_rng([seed, queries, keys, head])
    return [
        packed(gpu, spread * rng.standard_normal((batch, rows, heads, head)), dtype)
        for rows in (queries, keys, keys, queries)
    ]


def values(gpu, storage, dtype):
    return unpack(gpu.to_numpy(storage), dtype, np.float64)


def run(gpu, operands, causal, scale, mode):
    """What the kernels give, as float64: out, dQ, dK, dV."""
    query, key, value, g = operands
    target = Target(query.dtype, mode)
    how = {"causal": causal, "scale": scale}
    out, logsumexp = attention_forward(query, key, value, **how, target=target)
    gradients = attention_backward(
        g, query, key, value, out, logsumexp, **how, targets=(target,) * 3
    )
    assert logsumexp.dtype == np.float32
    return [values(gpu, x, query.dtype) for x in (out, *gradients)], gpu.to_numpy(logsumexp)


def rule(gpu, operands, causal, scale):
    """The NumPy rule in float64: out, dQ, dK, dV."""
    exact = [values(gpu, x.storage, x.dtype) for x in operands]
    tensors = [mp.tensor(x, requires_grad=True) for x in exact[:3]]
    out = mp.nn.functional.scaled_dot_product_attention(*tensors, is_causal=causal, scale=scale)
    out.backward(mp.tensor(exact[3]))
    return [x.numpy() for x in (out, *(t.grad for t in tensors))]


def bounds(gpu, operands, causal, scale, mode):
    """Bounds on |out|, |dQ|, |dK|, |dV| minus the exact ones, and on the log-sum-exp; first order.

    A product of k terms on a tensor core costs (2k + 2) 2**-23 of the products' absolute values
    (see `test_gemm`); everything else is float32, or one rounding to the 2-byte format.
    """
    q, k, v, g = (values(gpu, x.storage, x.dtype) for x in operands)
    dtype = operands[0].dtype
    u, tiny = dtype.unit_roundoff(mode), dtype.smallest_subnormal
    core = lambda terms: (2 * terms + 2) * 2 * U32  # noqa: E731
    queries, keys, head = q.shape[-2], k.shape[-2], q.shape[-1]

    turned = lambda x: x.swapaxes(-1, -2)  # noqa: E731
    scores = q @ turned(k) * scale
    seen = np.tri(queries, keys, dtype=bool) if causal else np.ones((queries, keys), bool)
    scores = np.where(seen, scores, -np.inf)
    high = scores.max(-1, keepdims=True)
    w = np.exp(scores - high)
    total = w.sum(-1, keepdims=True)
    w /= total
    logsumexp = (high + np.log(total))[..., 0]
    out = w @ v
    # Scores in the exponent: the product, the scale (a float32) and its product with log2(e), and
    # shift and difference, which are of the scores' size. Then exp2 to 2 ulp; sums of positive
    # terms, in float32, and at most one scaling of them a step of 16 keys.
    largest = np.where(seen, np.abs(scores), 0).max(-1, keepdims=True)
    score = core(head) * (np.abs(q) @ turned(np.abs(k))) * scale + 8 * U32 * largest
    score = np.where(seen, score, 0).max(-1, keepdims=True)
    relative = 2 * score + (8 + 2 * keys) * U32
    lse = score[..., 0] + (8 + keys) * U32 + 4 * U32 * np.abs(logsumexp)

    # The format's smallest number: what P may lose below its normal ones, P being 1 somewhere.
    lost = tiny * (seen @ np.abs(v))
    error_out = w @ np.abs(v) * (u + relative + core(keys)) + lost + u * np.abs(out) + tiny

    d = (g * out).sum(-1, keepdims=True)
    error_d = (np.abs(g) * (error_out + head * U32 * np.abs(out))).sum(-1, keepdims=True)
    slope = g @ turned(v) - d
    error_slope = core(head) * (np.abs(g) @ turned(np.abs(v)) + np.abs(d)) + error_d
    relative = relative + 2 * lse[..., None]
    ds = w * slope * scale
    error_ds = w * (error_slope + (relative + 4 * U32) * np.abs(slope)) * scale
    error_ds = error_ds + np.where(seen, u * np.abs(ds) + tiny, 0)
    error_w = w * (u + relative) + np.where(seen, tiny, 0)
    # For the keys it is made of the rounded weights.
    error_of_keys = (
        error_ds + np.where(seen, u * w + tiny, 0) * (np.abs(slope) + error_slope) * scale
    )

    def product(left, error, right):
        terms = core(left.shape[-1]) * (np.abs(left) @ np.abs(right))
        return error @ np.abs(right) + terms + u * np.abs(left @ right) + tiny

    errors = [
        error_out,
        product(ds, error_ds, k),
        product(turned(ds), turned(error_of_keys), q),
        product(turned(w), turned(error_w), g),
    ]
    return [1.03 * e for e in errors], 1.03 * lse, logsumexp  # 3 %: u squared and what follows


def check(gpu, operands, causal, mode, scale=None):
    scale = operands[0].storage.shape[-1] ** -0.5 if scale is None else scale
    ours, logsumexp = run(gpu, operands, causal, scale, mode)
    allowed, allowed_lse, exact_lse = bounds(gpu, operands, causal, scale, mode)
    assert (np.abs(logsumexp - exact_lse) <= allowed_lse).all()
    for name, x, y, error in zip(
        ("out", "query", "key", "value"), ours, rule(gpu, operands, causal, scale), allowed,
        strict=True,
    ):  # fmt: skip
        worst = np.max(np.abs(x - y) / error)
        assert worst <= 1, f"{name}: {worst:.2f} times the bound"


SIZES = [
    (1, 1, 1, 1, 64),
    (1, 2, 64, 64, 64),
    (2, 3, 200, 200, 64),
    (1, 2, 77, 300, 64),
    (1, 2, 300, 77, 64),
    (1, 1, 257, 257, 32),
    (2, 1, 129, 190, 128),
    (1, 1, 1, 500, 128),
    (1, 2, 333, 333, 40),
    (1, 1, 100, 100, 8),
    (1, 1, 130, 130, 96),
]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("batch", "heads", "queries", "keys", "head"), SIZES)
def test_sizes_even_and_odd(gpu, dtype, mode, batch, heads, queries, keys, head, causal):
    check(gpu, normal(gpu, dtype, batch, heads, queries, keys, head), causal, mode)


@pytest.mark.parametrize("spread", [2.0**-10, 0.1, 3.0])
def test_small_and_large_scores(gpu, dtype, mode, spread):
    check(gpu, normal(gpu, dtype, 1, 2, 150, 150, 64, spread=spread), True, mode)


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1.0])
def test_any_scale(gpu, dtype, mode, scale):
    check(gpu, normal(gpu, dtype, 1, 2, 90, 150, 64, spread=0.5), False, mode, scale)


@pytest.mark.parametrize("growth", [-30.0, 30.0])
def test_the_reference_follows_scores_that_grow_and_stays_when_they_fall(gpu, dtype, mode, growth):
    _, _, value, g = normal(gpu, dtype, 1, 1, 300, 300, 64)
    ramp = np.ones((1, 300, 1, 64)) * np.linspace(0, growth / 8, 300)[None, :, None, None]
    check(gpu, [packed(gpu, np.ones((1, 300, 1, 64)), dtype), packed(gpu, ramp, dtype), value, g],
          False, mode)  # fmt: skip


def test_it_is_what_the_rule_computes_on_the_cpu(gpu, dtype, mode):
    operands = normal(gpu, dtype, 2, 2, 100, 100, 64)
    ours, _ = run(gpu, operands, True, 0.125, mode)
    allowed, _, _ = bounds(gpu, operands, True, 0.125, mode)
    exact = [values(gpu, x.storage, x.dtype) for x in operands]
    tensors = [mp.tensor(x.astype(np.float32)).to(dtype).detach() for x in exact]
    for tensor in tensors[:3]:
        tensor.requires_grad = True
    with mp.rounding(mode):
        out = mp.nn.functional.scaled_dot_product_attention(*tensors[:3], is_causal=True)
    out.backward(tensors[3])
    for x, y, error in zip(ours, (out, *(t.grad for t in tensors[:3])), allowed, strict=True):
        assert (np.abs(x - y.numpy()) <= 3 * error).all()  # the rule rounds the weights themselves


def test_views_of_one_projection_are_read_in_place(gpu, dtype):
    import cupy

    rng = np.random.default_rng(5)
    projection = packed(gpu, rng.standard_normal((2, 100, 3 * 4, 64)), dtype).storage
    views = projection.swapaxes(1, 2).reshape(2, 100, 3, 4, 64)
    views = [Packed(views[:, :, i].swapaxes(1, 2), dtype) for i in range(3)]
    g = normal(gpu, dtype, 2, 4, 100, 100, 64)[3]
    copies = [Packed(cupy.ascontiguousarray(x.storage), dtype)
              for x in (*views, g)]  # fmt: skip
    for x, y in zip(
        run(gpu, [*views, g], True, 0.125, "nearest_even")[0],
        run(gpu, copies, True, 0.125, "nearest_even")[0],
        strict=True,
    ):
        np.testing.assert_array_equal(x, y)


def test_heads_can_be_put_together_without_a_copy(gpu):
    query, key, value, _ = normal(gpu, float16, 2, 4, 100, 100, 64)
    out, _ = attention_forward(
        query, key, value, causal=True, scale=0.125, target=Target(float16, "nearest_even")
    )
    assert out.shape == (2, 4, 100, 64)
    assert out.swapaxes(1, 2).flags.c_contiguous


def test_a_gradient_may_lie_in_any_order(gpu):
    query, key, value, g = normal(gpu, float16, 1, 2, 70, 70, 64)
    other = Packed(g.storage.swapaxes(2, 3).copy().swapaxes(2, 3), float16)
    first = run(gpu, [query, key, value, g], True, 0.125, "nearest_even")[0]
    second = run(gpu, [query, key, value, other], True, 0.125, "nearest_even")[0]
    for x, y in zip(first, second, strict=True):
        np.testing.assert_array_equal(x, y)


def test_fewer_axes(gpu):
    operands = normal(gpu, float16, 1, 2, 70, 90, 64)
    whole = run(gpu, operands, False, 0.125, "nearest_even")[0]
    heads = [Packed(x.storage[0], float16) for x in operands]
    one = [Packed(x.storage[0, 1], float16) for x in operands]
    for x, y, z in zip(
        whole,
        run(gpu, heads, False, 0.125, "nearest_even")[0],
        run(gpu, one, False, 0.125, "nearest_even")[0],
        strict=True,
    ):
        np.testing.assert_array_equal(x[0], y)
        np.testing.assert_array_equal(x[0, 1], z)


def test_the_same_bits_each_time(gpu, dtype):
    operands = normal(gpu, dtype, 4, 6, 500, 500, 64)
    first = run(gpu, operands, True, 0.125, "nearest_even")[0]
    for _ in range(3):
        for x, y in zip(run(gpu, operands, True, 0.125, "nearest_even")[0], first, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_reaches_those_who_look_at_it(gpu, dtype, bad):
    rng = np.random.default_rng(0)
    query, key, value = (rng.standard_normal((1, 150, 1, 64)) for _ in range(3))
    broken = query.copy()
    broken[0, 70, 0, 3] = bad
    operands = [packed(gpu, x, dtype) for x in (broken, np.abs(key), value, value)]
    out = run(gpu, operands, True, 0.125, "nearest_even")[0][0]
    assert np.isnan(out[0, 0, 70]).all()
    assert np.isfinite(np.delete(out[0, 0], 70, axis=0)).all()
    broken = value.copy()
    broken[0, 70, 0, 3] = bad
    operands = [packed(gpu, x, dtype) for x in (query, key, broken, value)]
    out = run(gpu, operands, True, 0.125, "nearest_even")[0][0]
    assert not np.isfinite(out[0, 0, 70:, 3]).any()
    assert np.isfinite(np.delete(out[0, 0], 3, axis=1)).all()


def test_a_query_whose_scores_are_all_minus_infinity_gets_zeros(gpu):
    huge = np.full((1, 20, 1, 64), 2.0**127)
    operands = [packed(gpu, x, bfloat16) for x in (huge, -huge, huge / huge, huge / huge)]
    ours, logsumexp = run(gpu, operands, False, 0.125, "nearest_even")
    assert (ours[0] == 0).all()
    assert (logsumexp == -np.inf).all()
    assert (ours[3] == 0).all()


def test_the_operation_runs_on_it(gpu, dtype):
    """Forward and backward of the public function, against the kernels called directly."""
    operands = normal(gpu, dtype, 2, 2, 100, 100, 64)
    tensors = [mp.tensor(values(gpu, x.storage, dtype).astype(np.float32)).to(dtype).to("cuda")
               for x in operands]  # fmt: skip
    for tensor in tensors[:3]:
        tensor.requires_grad = True
    with mp.rounding("nearest_even"):
        out = mp.nn.functional.scaled_dot_product_attention(*tensors[:3], is_causal=True)
    out.backward(tensors[3])
    ours, _ = run(gpu, operands, True, 0.125, "nearest_even")
    for x, y in zip((out, *(t.grad for t in tensors[:3])), ours, strict=True):
        np.testing.assert_array_equal(x.numpy(), y)


def test_what_is_not_served_is_declined(gpu):
    query, key, value, _ = normal(gpu, float16, 1, 2, 20, 20, 64)

    def served(query=query, key=key, value=value, scale=0.125, target=(float16, "nearest_even")):
        how = {"causal": True, "scale": scale, "target": Target(*target)}
        return attention_forward(query, key, value, **how) is not NotImplemented

    def cut(x, *where, dtype=float16):
        return Packed(x.storage[where], dtype)

    everything = slice(None)
    assert served()
    assert not served(target=(float16, "stochastic"))
    assert not served(target=(float32, "nearest_even"))
    assert not served(value=cut(value, everything, dtype=bfloat16))
    assert not served(scale=-1.0)
    assert not served(scale=0.0)
    assert not served(scale=np.inf)
    assert not served(query=cut(query, 0))
    assert not served(query=cut(query, everything, everything, slice(0)))
    assert not served(key=cut(key, everything, everything, slice(0)),
                      value=cut(value, everything, everything, slice(0)))  # fmt: skip
    odd = [cut(x, ..., slice(60)) for x in (query, key, value)]
    assert not served(*odd)
    every_second = [cut(x, ..., slice(None, None, 2)) for x in (query, key, value)]
    assert not served(*every_second)
