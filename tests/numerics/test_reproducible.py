"""The reproducible accumulator: fixed orders, tensor cores' bits, functions by way of float64."""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction
from math import ceil, log2

import numpy as np
import pytest

import tinymp as mp
from tinymp.devices import get_device
from tinymp.formats import bfloat16, decode, encode, float16, float32
from tinymp.numerics import accumulator, bounds, tensor_core_matmul
from tinymp.numerics.kit import kit
from tinymp.numerics.packed import Packed
from tinymp.numerics.reproducible import PART, _padded, functions, sum_by_halves
from tinymp.testing.exact_rounding import exact_value, exact_word

HOW = accumulator("reproducible")
CPU = get_device("cpu")


def by_halves(terms):
    """The same sum, one Python number at a time."""
    terms = list(terms)
    while len(terms) > 1:
        half = len(terms) // 2
        pairs = [np.float32(terms[i] + terms[half + i]) for i in range(half)]
        terms = pairs + terms[2 * half :]
    return terms[0] if terms else np.float32(0)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 8, 63, 64, 100])
def test_a_sum_is_added_by_halves(n):
    x = np.random.default_rng(n).standard_normal((n, 5)).astype(np.float32)
    ours = HOW.sum(x, 0)
    assert ours.tolist() == [float(by_halves(column)) for column in x.T]
    np.testing.assert_array_equal(HOW.sum(x.T, -1), ours)
    assert HOW.sum(x, keepdims=True).shape == (1, 1)
    if n:
        exact, size = x.sum(0, dtype=np.float64), np.abs(x).sum(0, dtype=np.float64)
        limit = bounds.gamma(ceil(log2(n)) + 1, float32.unit_roundoff()) * size
        assert (np.abs(ours - exact) <= limit).all()


def test_the_order_is_the_one_that_is_written_down():
    """(x0 + x4) + (x2 + x6), and so on: a large pair that cancels swallows only what it meets."""
    x = np.array([2.0**25, 1, 1, 1, -(2.0**25), 1, 1, 1], np.float32)
    assert sum_by_halves(x) == 6
    x[[4, 2]] = x[[2, 4]]  # now both meet only after each has met a 1
    assert sum_by_halves(x) == 4


def test_a_product_of_values_adds_one_term_after_the_other():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, 2, 7)), rng.standard_normal((7, 4))
    x, y = x.astype(np.float32), y.astype(np.float32)
    total = np.zeros((3, 2, 4), np.float32)
    for i in range(7):
        total = total + x[:, :, i, None] * y[i]
    np.testing.assert_array_equal(HOW.matmul(x, y), total)


@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=str)
def test_products_of_two_bytes_are_tensor_cores_in_parts(dtype):
    rng = np.random.default_rng(1)
    words = [encode(rng.standard_normal((5, 2 * PART + 40)), dtype, "nearest_even") for _ in "ab"]
    a, b = words[0], words[1].T
    found = HOW.packed_matmul(CPU, Packed(a, dtype), Packed(b, dtype))
    cuts = [slice(0, PART), slice(PART, 2 * PART), slice(2 * PART, None)]
    parts = [tensor_core_matmul(a[:, cut], b[cut], dtype) for cut in cuts]
    np.testing.assert_array_equal(found, (parts[0] + parts[1]) + parts[2])
    whole = tensor_core_matmul(a, b, dtype)
    assert (found != whole).any()
    short = HOW.packed_matmul(CPU, Packed(a[:, :PART], dtype), Packed(b[:PART], dtype))
    np.testing.assert_array_equal(short, parts[0])
    none = HOW.packed_matmul(CPU, Packed(a[:, :0], dtype), Packed(b[:0], dtype))
    assert none.tolist() == [[0] * 5] * 5
    mixed = HOW.packed_matmul(CPU, Packed(a, dtype), Packed(decode(b, dtype), float32))
    np.testing.assert_array_equal(mixed, HOW.matmul(decode(a, dtype), decode(b, dtype)))


SHAPES = pytest.mark.parametrize(
    ("x", "y"),
    [
        ((64, 64), (64, 10)), ((10, 1437), (1437, 128)), ((128, 2100), (2100, 10)),
        ((1, 7), (7, 1)), ((2, 3, 5, 70), (70, 9)), ((3, 1, 130, 20), (2, 20, 65)),
        ((4, 0), (0, 5)),
    ],
)  # fmt: skip


class StandIn:
    """Multiplies words as a GPU does, if they come in shapes that cuBLAS makes one chain of."""

    xp = np
    multiplies_words = True

    def matmul_words(self, a, b, dtype):
        assert a.ndim == b.ndim == 2
        assert a.flags.c_contiguous
        assert b.flags.c_contiguous
        assert a.shape[1] <= PART
        assert all(length % 64 == 0 for length in (*a.shape, *b.shape))
        return tensor_core_matmul(a, b, dtype)


@SHAPES
@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=str)
def test_a_gpu_gets_shapes_that_it_makes_one_chain_of(dtype, x, y):
    rng = np.random.default_rng(7)
    words = [encode(rng.standard_normal(s), dtype, "nearest_even") for s in (x, y)]
    packed = [Packed(w.view(dtype.storage), dtype) for w in words]
    here, there = (HOW.packed_matmul(on, *packed) for on in (CPU, StandIn()))
    assert there.dtype == np.float32
    np.testing.assert_array_equal(there.view(np.uint32), here.view(np.uint32))


@SHAPES
@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=str)
def test_products_of_every_shape_and_layout_are_the_same_on_every_device(dtype, x, y, device):
    """Whatever parts cuBLAS would make of these shapes."""
    rng = np.random.default_rng(5)
    on = get_device(device)
    words = [encode(rng.standard_normal(s), dtype, "nearest_even") for s in (x, y)]
    words = [w.view(dtype.storage) for w in words]
    here = HOW.packed_matmul(CPU, *(Packed(w, dtype) for w in words))
    there = HOW.packed_matmul(on, *(Packed(on.asarray(w), dtype) for w in words))
    np.testing.assert_array_equal(on.to_numpy(there).view(np.uint32), here.view(np.uint32))
    turned = [np.ascontiguousarray(w.swapaxes(-1, -2)) for w in words]
    there = HOW.packed_matmul(on, *(Packed(on.asarray(w), dtype).mT for w in turned))
    np.testing.assert_array_equal(on.to_numpy(there).view(np.uint32), here.view(np.uint32))


def test_a_matrix_is_padded_with_zeros():
    words = np.arange(1, 16, dtype=np.uint16).reshape(3, 5)
    padded = _padded(np, words)
    assert padded.shape == (64, 64)
    assert (padded[:3, :5] == words).all()
    assert padded.sum() == words.sum()
    assert _padded(np, np.zeros((64, 65))).shape == (64, 128)


def test_padding_changes_no_bit():
    rng = np.random.default_rng(6)
    a, b = (rng.integers(0, 1 << 16, s, dtype=np.uint16) for s in ((5, 30), (30, 7)))
    whole = tensor_core_matmul(_padded(np, a), _padded(np, b), float16)[:5, :7]
    np.testing.assert_array_equal(
        whole.view(np.uint32), tensor_core_matmul(a, b, float16).view(np.uint32)
    )


def test_functions_are_correctly_rounded():
    """Against 60 decimal digits; float32 libraries are a unit off now and then."""
    digits = Context(prec=60)
    x = np.random.default_rng(2).standard_normal(400).astype(np.float32) * np.float32(20)
    exp, log = (functions(np)[name] for name in ("exp", "log"))
    for value, e, n in zip(x.tolist(), exp(x).tolist(), log(np.abs(x)).tolist(), strict=True):
        for exact, ours in ((Decimal(value).exp(digits), e), (abs(Decimal(value)).ln(digits), n)):
            word = exact_word(Fraction(exact), float32, "nearest_even")
            assert ours == float(exact_value(word, float32))


def test_functions_of_other_types_and_shapes():
    there = functions(np)
    wide = np.array([0.1, 0.2])
    np.testing.assert_array_equal(there["exp"](wide), np.exp(wide))
    assert there["power"](np.float32(3), 0.5).dtype == np.float32
    assert there["power"](np.array([2.0], np.float32), np.array([3.0], np.float32)) == 8
    with np.errstate(under="ignore"):
        assert there["exp"](np.float32(-100)) == np.float32(np.exp(-100.0)) > 0  # subnormal
    x = np.array([0.5, 1.0], np.float32)
    expected = there["exp"](x.copy())
    assert there["exp"](x, out=x) is x
    np.testing.assert_array_equal(x, expected)
    there["exp"](wide, out=wide)
    np.testing.assert_array_equal(wide, np.exp([0.1, 0.2]))
    assert kit("cpu", HOW).exp is not kit("cpu").exp
    assert kit("cpu").exp is np.exp


def test_it_reaches_forward_and_backward(device):
    """Every rule of a small network; on a GPU, the bits of the CPU."""
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in ((64, 20), (16, 20), (16,))]
    labels = rng.integers(0, 16, 64)
    runs = []
    for on in ("cpu", device):
        x, w, b = (mp.tensor(a, device=on).requires_grad_() for a in arrays)
        with mp.accumulation("reproducible"), mp.amp.autocast("float16"):
            hidden = mp.tanh(mp.linear(x, w, b))
            loss = mp.cross_entropy(hidden, mp.tensor(labels, device=on))
        loss.backward()
        runs.append([t.numpy() for t in (loss, hidden, x.grad, w.grad, b.grad)])
    for ours, theirs in zip(*runs, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    plain = [mp.tensor(a, device=device) for a in arrays]
    with mp.amp.autocast("float16"):
        other = mp.cross_entropy(mp.tanh(mp.linear(*plain)), mp.tensor(labels, device=device))
    np.testing.assert_allclose(other.item(), float(runs[0][0]), rtol=1e-3)


def test_a_full_sum_in_the_engine():
    x = mp.tensor(np.random.default_rng(4).standard_normal((9, 7)).astype(np.float32))
    with mp.accumulation("reproducible"):
        assert x.sum().item() == float(by_halves(x.numpy().ravel()))
