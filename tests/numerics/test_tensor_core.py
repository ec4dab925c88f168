"""The model against recordings of an H200, and against exact fractions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinymp.formats import bfloat16, encode, float8_e4m3fn, float8_e5m2, float16, float32
from tinymp.numerics import ARCHITECTURES, tensor_core_matmul
from tinymp.testing.exact_tensor_core import exact_dot_product

DATA = Path(__file__).parent / "data"
TWO_BYTES = {"f16": float16, "bf16": bfloat16}


def recorded(name):
    with np.load(DATA / f"{name}.npz") as file:
        return dict(file)


def assert_same_words(product, words):
    np.testing.assert_array_equal(product.view(np.uint32), words)


@pytest.mark.parametrize("name", TWO_BYTES)
def test_every_recorded_instruction(name):
    tiles = recorded("h200_mma_open")
    assert len(set(tiles[f"{name}_regime"])) == len(tiles["regimes"]) == 9
    a, b, c = tiles[f"{name}_a"], tiles[f"{name}_b"], tiles[f"{name}_c"].view(np.float32)
    words = tiles[f"{name}_d"]
    values = words.view(np.float32)
    assert np.isnan(values).sum() > 900
    assert np.isinf(values).sum() > 600
    assert_same_words(tensor_core_matmul(a, b, TWO_BYTES[name], c), words)


@pytest.mark.parametrize("name", TWO_BYTES)
@pytest.mark.parametrize("k", [16, 64, 256, 1024])
def test_cublas_chains_the_instructions(name, k):
    product = recorded("h200_gemm")
    a, b, words = (product[f"{name}_{k}_{x}"] for x in "abd")
    assert_same_words(tensor_core_matmul(a, b, TWO_BYTES[name]), words)


@pytest.mark.parametrize("k", [32, 64, 256])
@pytest.mark.parametrize("fast", [False, True])
def test_float8_with_and_without_fast_accumulation(k, fast):
    product = recorded("h200_fp8")
    a, b, words = (product[f"e4m3_{k}_{x}"] for x in ("a", "b", "fast" if fast else "d"))
    ours = tensor_core_matmul(a, b, "float8_e4m3fn", fast_accumulation=fast)
    assert_same_words(ours, words)
    if k == 256:  # the recording tells the two apart
        other = tensor_core_matmul(a, b, "float8_e4m3fn", fast_accumulation=not fast)
        assert (other.view(np.uint32) != words).any()


CASES = [
    (architecture, dtype)
    for architecture, known in ARCHITECTURES.items()
    for dtype in known.instructions
]


@pytest.mark.parametrize(("architecture", "dtype"), CASES, ids=str)
@given(seed=st.integers(0, 2**32 - 1), regime=st.sampled_from(["any", "near", "tiny", "special"]))
@settings(max_examples=20)
def test_instructions_agree_with_exact_fractions(architecture, dtype, seed, regime):
    core = ARCHITECTURES[architecture].instructions[dtype]
    rng = np.random.default_rng(seed)
    a, b = (aimed(rng, (core.products, 4), dtype, regime) for _ in range(2))
    c = aimed(rng, (4, 4), float32, regime)
    ours = tensor_core_matmul(a.T, b, dtype, c.view(np.float32), architecture, True)
    for i, j in np.ndindex(4, 4):
        exact = exact_dot_product(
            a[:, i].tolist(), b[:, j].tolist(), int(c[i, j]), dtype,
            core.fraction_bits, core.precision,
        )  # fmt: skip
        assert ours.view(np.uint32)[i, j] == exact, (i, j, hex(exact))


def aimed(rng, shape, dtype, regime):
    """Words of all kinds: any bits, exponents near each other, near the smallest, specials."""
    words = rng.integers(0, 1 << dtype.bits, shape, dtype=np.uint64).astype(dtype.words)
    if regime != "any":
        low = {"near": dtype.bias - 1, "tiny": 0, "special": dtype.bias}[regime]
        fields = rng.integers(low, low + 3, shape).astype(dtype.words)
        words = words & ~dtype.words.type(dtype.exponent_mask)
        words |= fields << dtype.words.type(dtype.significand_bits)
    if regime == "special":
        chosen = rng.random(shape)
        words[chosen < 0.3] &= dtype.words.type(dtype.sign_mask)  # zero
        words[chosen > 0.7] |= dtype.words.type(dtype.exponent_mask // 2 & dtype.exponent_mask)
        words[chosen > 0.97] |= dtype.words.type(dtype.exponent_mask)  # NaN, mostly
        words[chosen > 0.985] &= dtype.words.type(dtype.sign_mask | dtype.exponent_mask)  # infinity
    return words


def test_a_sum_of_ones_that_float32_would_get_right():
    """2^24 + sixteen ones: aligned to 2^24, two bits below a unit of 2 are kept, all survive."""
    ones = np.ones((16, 16), np.float16)
    c = np.full((16, 16), 2.0**24, np.float32)
    assert (tensor_core_matmul(ones, ones, float16, c) == 2.0**24 + 16).all()
    assert (tensor_core_matmul(ones, ones, float16, c, "ampere") == 2.0**24 + 16).all()
    # Volta keeps no bit below the float32 it returns: each one is cut away.
    assert (tensor_core_matmul(ones, ones, float16, c, "volta") == 2.0**24).all()
    quarter = np.full((16, 16), 0.5, np.float16)
    assert (tensor_core_matmul(quarter, ones, float16, c) == 2.0**24 + 8).all()
    # Ampere keeps one bit, worth 1.
    assert (tensor_core_matmul(quarter, ones, float16, c, "ampere") == 2.0**24).all()


@pytest.mark.parametrize(("largest", "tiny"), [(-133, -158), (-134, -159)])
def test_terms_are_aligned_to_an_exponent_of_133_at_least(largest, tiny):
    """The unit is never below 2^-158: a term of -2^-159 is cut away, one of -2^-158 borrows."""
    half = largest // 2
    a = encode([[2.0**half, -(2.0**-79)]], bfloat16)
    b = encode([[2.0 ** (largest - half)], [2.0 ** (tiny + 79)]], bfloat16)
    borrowed = 2.0**-149 if tiny == -158 else 0
    assert tensor_core_matmul(a, b, bfloat16) == 2.0**largest - borrowed


def test_an_accumulator_below_the_normal_numbers_counts_with_their_exponent():
    smallest = np.array([[1]], np.uint32).view(np.float32)
    zero = np.zeros((1, 1), np.uint16)
    assert tensor_core_matmul(zero, zero, bfloat16, smallest) == smallest


def test_a_zero_has_no_exponent_however_large_the_other_factor():
    a, b = encode([[0.0, 2.0**-75]], bfloat16), encode([[2.0**127], [2.0**-60]], bfloat16)
    assert tensor_core_matmul(a, b, bfloat16) == 2.0**-135


def test_a_sum_that_overflows_stays_infinite():
    a = np.full((1, 32), 0x7F00, np.uint16)  # 2^127
    b = encode([[1.0]] * 16 + [[-1.0]] * 16, bfloat16)
    assert tensor_core_matmul(a, b, bfloat16) == np.inf
    assert tensor_core_matmul(a[:, ::-1], b[::-1], bfloat16) == -np.inf


def test_zeros_are_positive():
    a = np.array([[-0.0, 1.0, -1.0]], np.float16)
    b = np.array([[1.0], [1.0], [1.0]], np.float16)
    c = np.array([[-0.0]], np.float32)
    assert_same_words(tensor_core_matmul(a, b, float16, c), [[0]])
    assert_same_words(tensor_core_matmul(a[:, :1], b[:1], float16, c), [[0]])
    tiny = encode([[-(2.0**-75)]], bfloat16)  # -2^-150, cut to nothing
    assert_same_words(tensor_core_matmul(tiny, tiny ^ 0x8000, bfloat16), [[0]])
    assert_same_words(tensor_core_matmul(a[:, :0], b[:0], float16), [[0]])


def test_stacks_broadcast_and_inner_lengths_need_not_be_multiples():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((3, 1, 5, 21)).astype(np.float16)
    b = rng.standard_normal((2, 21, 7)).astype(np.float16)
    product = tensor_core_matmul(a, b, "float16")
    assert product.shape == (3, 2, 5, 7)
    padded = np.zeros((5, 32), np.float16), np.zeros((32, 7), np.float16)
    padded[0][:, :21], padded[1][:21] = a[2, 0], b[1]
    assert_same_words(product[2, 1], tensor_core_matmul(*padded, "float16").view(np.uint32))


def test_large_products_are_made_of_tiles():
    rng = np.random.default_rng(1)
    a = rng.standard_normal((70, 40)).astype(np.float16)
    b = rng.standard_normal((40, 150)).astype(np.float16)
    whole = tensor_core_matmul(a, b, float16)
    for i, j in ((0, 0), (33, 64), (69, 149)):
        one = tensor_core_matmul(a[i : i + 1], b[:, j : j + 1], float16)
        assert whole[i, j] == one[0, 0]


def test_what_it_does_not_take():
    words = np.zeros((4, 4), np.uint16)
    with pytest.raises(ValueError, match=r"'blackwell'; expected one of hopper, ampere, volta"):
        tensor_core_matmul(words, words, float16, architecture="blackwell")
    with pytest.raises(TypeError, match=r"volta's tensor cores was given bfloat16; it multiplies"):
        tensor_core_matmul(words, words, bfloat16, architecture="volta")
    with pytest.raises(TypeError, match=r"given float8_e5m2; it multiplies float16, bfloat16"):
        tensor_core_matmul(words.astype(np.uint8), words.astype(np.uint8), float8_e5m2)
    with pytest.raises(ValueError, match=r"shapes \(4, 3\) and \(4, 4\); expected \(..., m, k\)"):
        tensor_core_matmul(words[:, :3], words, float16)
    with pytest.raises(ValueError, match=r"c of float64 and shape \(4, 4\); expected float32"):
        tensor_core_matmul(words, words, float16, np.zeros((4, 4)))
    with pytest.raises(TypeError, match=r"words of float8_e4m3fn are uint8"):
        tensor_core_matmul(words, words, float8_e4m3fn)
