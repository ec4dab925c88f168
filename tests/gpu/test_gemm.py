"""Products on real hardware against float64, within a bound that holds for every tensor core."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tinymp.devices import get_device
from tinymp.devices.gemm import rounded_product_with_bias

pytestmark = pytest.mark.gpu

FORMATS = [SimpleNamespace(name="float16"), SimpleNamespace(name="bfloat16")]


@pytest.fixture(scope="module")
def gpu():
    try:
        return get_device("cuda")
    except RuntimeError as missing:
        pytest.skip(str(missing))


@pytest.fixture(params=FORMATS, ids=lambda dtype: dtype.name)
def dtype(request):
    return request.param


def stored(shape, dtype, seed=0):
    """Random normal numbers in a 2-byte format: what is stored, and the values it stands for."""
    x = np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32)
    if dtype.name == "float16":
        half = x.astype(np.float16)
        return half, half.astype(np.float64)
    words = (x.view(np.uint32) >> 16).astype(np.uint16)
    return words, (words.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def tensor_core_bound(a, b):
    """Bound on |error| of each element, from any generation's tensor cores.

    One instruction cuts j products and its accumulator to 24 bits below the largest, adds them
    exactly, and cuts the sum: (j + 2) cuts of at most 2**-23 of S = sum |a_i b_i|. The oldest have
    j = 4 (newer ones a larger j and more bits), so k products cost at most (k + 2 (k/4 + 1)) cuts.
    Partial sums that are added afterwards cost less than k/4 roundings of 2**-24. All together
    stays below (2k + 2) 2**-23 S. (Fasi, Higham, Mikaitis, Pranesh: Numerical behavior of NVIDIA
    tensor cores, PeerJ Computer Science 7:e330, 2021.)
    """
    k = a.shape[-1]
    return (2 * k + 2) * 2.0**-23 * (np.abs(a) @ np.abs(b))


def check(gpu, dtype, a, b, view_a=lambda x: x, view_b=lambda x: x):
    (a_stored, a_values), (b_stored, b_values) = a, b
    product = gpu.matmul_words(view_a(gpu.asarray(a_stored)), view_b(gpu.asarray(b_stored)), dtype)
    exact = view_a(a_values) @ view_b(b_values)
    assert product.dtype == np.float32
    assert product.shape == exact.shape
    error = np.abs(gpu.to_numpy(product) - exact)
    assert (error <= tensor_core_bound(view_a(a_values), view_b(b_values))).all()


SIZES = [
    (1, 1, 1),
    (3, 5, 7),
    (16, 16, 16),
    (33, 257, 65),
    (64, 64, 4096),
    (128, 10, 1437),
    (1, 999, 512),
]


@pytest.mark.parametrize(("m", "n", "k"), SIZES)
def test_sizes_even_and_odd(gpu, dtype, m, n, k):
    check(gpu, dtype, stored((m, k), dtype), stored((k, n), dtype, 1))


@pytest.mark.parametrize("a_turned", [False, True])
@pytest.mark.parametrize("b_turned", [False, True])
def test_transposed_views(gpu, dtype, a_turned, b_turned):
    m, n, k = 37, 50, 24
    turn = lambda x: x.T  # noqa: E731
    keep = lambda x: x  # noqa: E731
    check(
        gpu,
        dtype,
        stored((k, m) if a_turned else (m, k), dtype),
        stored((n, k) if b_turned else (k, n), dtype, 1),
        turn if a_turned else keep,
        turn if b_turned else keep,
    )


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((6, 8, 16), (6, 16, 8)),
        ((6, 7, 9), (9, 5)),
        ((7, 9), (6, 9, 5)),
        ((2, 1, 7, 9), (3, 9, 5)),
        ((2, 3, 1, 9), (2, 3, 9, 1)),
        ((9,), (4, 9, 5)),
        ((4, 7, 9), (9,)),
        ((33,), (33,)),
    ],
)
def test_stacks_and_vectors(gpu, dtype, left, right):
    check(gpu, dtype, stored(left, dtype), stored(right, dtype, 1))


def test_heads_of_attention_are_read_in_place(gpu, dtype):
    shape = (2, 33, 3, 20)
    heads = lambda x: x.swapaxes(1, 2)  # noqa: E731
    turned = lambda x: x.swapaxes(1, 2).swapaxes(-1, -2)  # noqa: E731
    check(gpu, dtype, stored(shape, dtype), stored(shape, dtype, 1), heads, turned)


@pytest.mark.parametrize("offset", range(1, 9))
def test_addresses_that_are_not_aligned(gpu, dtype, offset):
    a, b = stored((24, 48), dtype), stored((48, 40), dtype, 1)
    cut = lambda x: x[1:17, offset : offset + 32]  # noqa: E731
    check(gpu, dtype, a, b, cut, lambda x: x[:32, offset : offset + 16])
    stack_a, stack_b = stored((3, 24, 47), dtype), stored((3, 47, 40), dtype, 1)
    check(
        gpu,
        dtype,
        stack_a,
        stack_b,
        lambda x: x[:, 1:17, offset : offset + 32],
        lambda x: x[:, :32, offset : offset + 16],
    )


def test_views_that_cublas_cannot_read(gpu, dtype):
    a, b = stored((12, 40), dtype), stored((20, 12), dtype, 1)
    check(gpu, dtype, a, b, lambda x: x[:, ::2], lambda x: x[:, ::-1])


def test_more_matrices_than_a_grid_dimension_has_blocks(gpu, dtype):
    check(gpu, dtype, stored((70_000, 2, 3), dtype), stored((70_000, 3, 2), dtype, 1))


def test_empty_operands(gpu, dtype):
    for left, right in (((0, 4), (4, 5)), ((3, 0), (0, 5)), ((2, 0, 3), (3, 4)), ((0,), (0,))):
        check(gpu, dtype, stored(left, dtype), stored(right, dtype))


def test_the_same_product_gives_the_same_bits(gpu, dtype):
    a, b = (gpu.asarray(stored((128, 128), dtype, seed)[0]) for seed in (0, 1))
    first = gpu.to_numpy(gpu.matmul_words(a, b, dtype))
    for _ in range(5):
        np.testing.assert_array_equal(gpu.to_numpy(gpu.matmul_words(a, b, dtype)), first)


def test_sums_go_beyond_the_range_of_float16(gpu):
    a = np.full((16, 64), 32768, np.float16)
    product = gpu.matmul_words(gpu.asarray(a), gpu.asarray(a.T), FORMATS[0])
    assert (gpu.to_numpy(product) == 64 * 32768.0**2).all()


def test_subnormal_float16_operands_count(gpu):
    tiny = np.full((16, 16), 2.0**-24, np.float16)
    one = np.eye(16, dtype=np.float16)
    product = gpu.matmul_words(gpu.asarray(tiny), gpu.asarray(one), FORMATS[0])
    assert (gpu.to_numpy(product) == 2.0**-24).all()


@pytest.mark.parametrize(("wide", "u"), [(np.float32, 2.0**-24), (np.float64, 2.0**-53)])
def test_float32_is_not_tf32_and_float64_is_float64(gpu, wide, u):
    k = 300
    rng = np.random.default_rng(3)
    a, b = (rng.standard_normal(shape).astype(wide) for shape in ((5, 40, k), (5, k, 30)))
    product = gpu.to_numpy(gpu.matmul(gpu.asarray(a), gpu.asarray(b)))
    assert product.dtype == wide
    # gamma_k of the product, and of the float64 reference: TF32's 2**-11 would be far outside.
    reference = a.astype(np.longdouble) @ b.astype(np.longdouble)
    bound = 1.01 * k * u * (np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64))
    assert (np.abs(product - reference) <= bound).all()


def test_the_cpu_rule_agrees(gpu, dtype):
    a, b = stored((20, 70), dtype), stored((70, 30), dtype, 1)
    ours = gpu.to_numpy(gpu.matmul_words(gpu.asarray(a[0]), gpu.asarray(b[0]), dtype))
    theirs = get_device("cpu").matmul_words(a[0], b[0], dtype)
    assert (np.abs(ours - theirs) <= 2 * tensor_core_bound(a[1], b[1])).all()


@pytest.mark.parametrize(
    ("m", "n", "k"),
    [(64, 128, 64), (64, 10, 128), (1, 16, 8), (256, 1024, 784), (8, 7, 5), (2048, 768, 3072)],
)
def test_a_bias_is_added_before_the_product_is_rounded(gpu, dtype, m, n, k):
    """Where a bias cancels most of a product, a product that was rounded first would show."""
    a_stored, a = stored((m, k), dtype)
    b_stored, b = stored((n, k), dtype, 1)
    product = a @ b.T
    near = -product[0].astype(np.float32)
    if dtype.name == "float16":
        bias_stored = near.astype(np.float16)
        bias = bias_stored.astype(np.float64)
    else:
        bias_stored = (near.view(np.uint32) >> 16).astype(np.uint16)
        bias = (bias_stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    x, y, z = (gpu.asarray(words) for words in (a_stored, b_stored, bias_stored))
    out = gpu.to_numpy(rounded_product_with_bias(x, y.T, z, dtype))
    assert out.dtype == a_stored.dtype
    if dtype.name == "bfloat16":
        out = (out.astype(np.uint32) << 16).view(np.float32)
    exact = product + bias
    summed = tensor_core_bound(a, b.T) + 2.0**-24 * np.abs(exact)
    unit = 2.0**-11 if dtype.name == "float16" else 2.0**-8
    error = np.abs(out.astype(np.float64) - exact)
    assert (error <= summed + unit * (np.abs(exact) + summed) + 2.0**-25).all()
