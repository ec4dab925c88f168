"""The path to cuBLAS, with a stand-in that does in NumPy what the manual says of each argument.

It reads raw addresses, so a wrong order of arguments, stride or flag gives wrong numbers. That real
tensor cores agree is tested in tests/gpu.
"""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from tinymp.devices import gemm, get_device

F16, BF16 = SimpleNamespace(name="float16"), SimpleNamespace(name="bfloat16")
R_32F, R_64F, R_16F, R_16BF = 0, 1, 2, 14
STORAGE = {R_32F: np.float32, R_64F: np.float64, R_16F: np.float16, R_16BF: np.uint16}
TF32 = 77
calls, computes = [], []


class GpuArray(np.ndarray):
    """A NumPy array that tells its address the way CuPy's arrays do."""

    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)


def on_gpu(array):
    return np.asarray(array).view(GpuArray)


def matrix(address, kind, shape, leading):
    rows, columns = shape
    dtype = np.dtype(STORAGE[kind])
    extent = (leading * (columns - 1) + rows) * dtype.itemsize
    flat = np.frombuffer((ctypes.c_char * extent).from_address(address), dtype)
    return as_strided(flat, shape, (dtype.itemsize, leading * dtype.itemsize))


def values(stored):
    if stored.dtype == np.uint16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32) if stored.dtype == np.float16 else stored


def gemm_strided_batched(
    transa, transb, m, n, k, alpha, A, Atype, lda, stride_a, B, Btype, ldb, stride_b, beta,
    C, Ctype, ldc, stride_c, batch, compute,
):  # fmt: skip
    assert Ctype in {68: (R_32F, Atype), 70: (R_64F,), TF32: (R_32F,)}[compute]
    calls.append((Atype, batch))
    computes.append(compute)
    scalar = ctypes.POINTER(ctypes.c_double if compute == 70 else ctypes.c_float)
    factor, keep = (ctypes.cast(pointer, scalar)[0] for pointer in (alpha, beta))
    for i in range(batch):
        a, b, c = (
            matrix(pointer + i * stride * np.dtype(STORAGE[kind]).itemsize, kind, shape, leading)
            for pointer, kind, shape, leading, stride in (
                (A, Atype, (k, m) if transa else (m, k), lda, stride_a),
                (B, Btype, (n, k) if transb else (k, n), ldb, stride_b),
                (C, Ctype, (m, n), ldc, stride_c),
            )
        )
        left, right = values(a.T if transa else a), values(b.T if transb else b)
        product = factor * (left @ right) + (keep and keep * values(c))
        c[...] = top_half(product) if Ctype == R_16BF else product


def gemm_of_two(
    transa, transb, m, n, k, alpha, A, Atype, lda, B, Btype, ldb, beta, C, Ctype, ldc, compute,
):  # fmt: skip
    gemm_strided_batched(
        transa, transb, m, n, k, alpha, A, Atype, lda, 0, B, Btype, ldb, 0, beta, C, Ctype,
        ldc, 0, 1, compute,
    )  # fmt: skip


class LtLibrary:
    """A stand-in for cuBLASLt: descriptors are dictionaries, by the numbers of the manual."""

    serves = True

    def create(self, kind, *arguments):
        return {"made of": [argument.value for argument in arguments]}

    def set(self, kind, descriptor, attribute, value):
        descriptor[attribute] = value.value

    def choose(self, product, a, b, c, d, preference):
        assert preference[3] == 2  # partial sums are added in float32
        assert all(preference[5 + i] in (4, 8, 16, 32, 64, 128, 256) for i in range(4))
        return ctypes.c_int() if self.serves else None

    def multiply(self, product, one, a, a_layout, b, b_layout, zero, c, c_layout, d, d_layout, how):
        factor, keep = (ctypes.cast(x, ctypes.POINTER(ctypes.c_float))[0] for x in (one, zero))
        assert (factor, keep, product[7], c) == (1, 0, 4, d)
        computes.append(product["made of"][0])
        operands = []
        for address, layout in ((a, a_layout), (b, b_layout), (d, d_layout)):
            kind, rows, columns, leading = layout["made of"]
            operands.append(matrix(address, kind, (rows, columns), leading))
        left, right, out = operands
        bias = matrix(product[8], kind, (rows, 1), rows)
        left, right = left.T if product[3] else left, right.T if product[4] else right
        total = values(left) @ values(right) + values(bias)
        out[...] = top_half(total) if kind == R_16BF else total


@pytest.fixture(autouse=True)
def cublas(monkeypatch):
    """Put the stand-ins where gemm.py imports from; yield the one whose capability can be set."""
    device = SimpleNamespace(capability="90", get_compute_capability=lambda: device.capability)
    library = SimpleNamespace(gemm=gemm_of_two, gemm_strided_batched=gemm_strided_batched)
    runtime = SimpleNamespace(getDevice=lambda: 0)
    cupy = SimpleNamespace(
        # Not zeros, so that an element that is never written shows.
        empty=lambda shape, dtype: on_gpu(np.full(shape, 99, dtype)),
        zeros=lambda shape, dtype: on_gpu(np.zeros(shape, dtype)),
        ascontiguousarray=lambda x: on_gpu(np.ascontiguousarray(x)),
        broadcast_to=lambda x, shape: np.broadcast_to(x, shape, subok=True),
        cuda=SimpleNamespace(device=device, runtime=runtime),
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cupy.cuda", cupy.cuda)
    monkeypatch.setattr(gemm, "cublas", lambda device: library)
    monkeypatch.setattr(gemm, "cublas_lt", lambda device: LtLibrary())
    monkeypatch.setattr(gemm, "_BIAS_PLANS", {})
    gemm._multiplies_bfloat16.cache_clear()
    gemm._PLANS.clear()
    gemm._two_byte_kind.cache_clear()
    calls.clear()
    yield device
    gemm._PLANS.clear()
    gemm._two_byte_kind.cache_clear()
    gemm._multiplies_bfloat16.cache_clear()


def integers(shape, dtype):
    """Small integers: every sum of their products is exact, whatever its order."""
    return on_gpu((np.arange(np.prod(shape)) * 5 % 13 - 6).reshape(shape).astype(dtype))


def top_half(x):
    return on_gpu((np.asarray(x, np.float32).view(np.uint32) >> 16).astype(np.uint16))


SHAPES = [
    ((3, 4), (4, 5)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((4,), (4,)),
    ((1, 1), (1, 1)),
    ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (3, 4, 5)),
    ((2, 3, 4), (4,)),
    ((4,), (2, 4, 3)),
    ((0, 4), (4, 5)),
    ((3, 0), (0, 5)),
    ((0, 3, 4), (4, 5)),
    ((0,), (0,)),
]


@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_every_kind_of_shape_gives_numpys_product(left, right):
    a, b = integers(left, np.float32), integers(right, np.float32)
    expected = np.asarray(a) @ np.asarray(b)
    products = {
        R_32F: gemm.matmul(a, b),
        R_64F: gemm.matmul(a.astype(np.float64), b.astype(np.float64)),
        R_16F: gemm.matmul_words(a.astype(np.float16), b.astype(np.float16), F16),
        R_16BF: gemm.matmul_words(top_half(a), top_half(b), BF16),
    }
    for kind, product in products.items():
        assert product.dtype == (np.float64 if kind == R_64F else np.float32)
        assert product.shape == expected.shape
        np.testing.assert_array_equal(product, expected)
    assert list(dict.fromkeys(k for k, _ in calls)) == (
        list(products) if expected.size and a.size else []
    )


@pytest.mark.parametrize("a_turned", [False, True])
@pytest.mark.parametrize("b_turned", [False, True])
def test_transposed_operands_are_read_by_columns(a_turned, b_turned):
    a = integers((4, 3), np.float16).T if a_turned else integers((3, 4), np.float16)
    b = integers((5, 4), np.float16).T if b_turned else integers((4, 5), np.float16)
    product = gemm.matmul_words(a, b, F16)
    expected = np.asarray(a, np.float32) @ np.asarray(b, np.float32)
    np.testing.assert_array_equal(product, expected)


def test_float16_values_and_their_words_are_the_same_operand():
    a, b = integers((3, 4), np.float16), integers((4, 5), np.float16)
    words = gemm.matmul_words(a.view(np.uint16), b.view(np.uint16), F16)
    np.testing.assert_array_equal(words, gemm.matmul_words(a, b, F16))


def test_a_gpu_without_bf16_tensor_cores_computes_in_float32_and_says_so_once(cublas):
    cublas.capability = "75"
    a, b = integers((3, 4), np.float32), integers((4, 5), np.float32)
    with pytest.warns(RuntimeWarning, match="capability 75.* no BF16 tensor cores"):
        product = gemm.matmul_words(top_half(a), top_half(b), BF16)
    np.testing.assert_array_equal(product, np.asarray(a) @ np.asarray(b))
    gemm.matmul_words(top_half(a), top_half(b), BF16)
    assert calls == [(R_32F, 1)] * 2


def test_the_cpu_rule_gives_the_same_product():
    a, b = integers((2, 3, 4), np.float32), integers((4, 5), np.float32)
    cpu = get_device("cpu")
    for dtype, store in ((F16, lambda x: x.astype(np.float16)), (BF16, top_half)):
        ours = gemm.matmul_words(store(a), store(b), dtype)
        theirs = cpu.matmul_words(np.asarray(store(a)), np.asarray(store(b)), dtype)
        assert theirs.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(cpu.matmul(np.asarray(a), np.asarray(b)), gemm.matmul(a, b))


@pytest.mark.parametrize("product", [gemm.matmul_words, get_device("cpu").matmul_words])
def test_operands_of_other_types_are_refused(product):
    halves = integers((2, 2), np.float16)
    with pytest.raises(TypeError, match="float16 or bfloat16, but got float32; use matmul"):
        product(halves, halves, SimpleNamespace(name="float32"))
    for wrong in (np.float32, np.int16):
        with pytest.raises(TypeError, match=rf"array of {np.dtype(wrong)}; encode it first"):
            product(halves, integers((2, 2), wrong), F16)


def test_mixed_types_and_bare_numbers_are_refused():
    a = integers((2, 2), np.float32)
    with pytest.raises(TypeError, match="got float32 and float64; convert"):
        gemm.matmul(a, a.astype(np.float64))
    with pytest.raises(TypeError, match="got int64 and int64"):
        gemm.matmul(a.astype(np.int64), a.astype(np.int64))
    with pytest.raises(ValueError, match="a number has no matrix product"):
        gemm.matmul(on_gpu(np.float32(2)), a)


@pytest.mark.parametrize("dtype", [F16, BF16])
@pytest.mark.parametrize(
    ("left", "right"),
    [((3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((0, 4), (4, 5)), ((3, 0), (0, 5))],
)
def test_a_product_can_be_rounded_as_it_is_written(dtype, left, right):
    store = top_half if dtype is BF16 else (lambda x: on_gpu(x.astype(np.float16)))
    a, b = integers(left, np.float32), integers(right, np.float32)
    product = gemm.rounded_product(store(a), store(b), dtype)
    np.testing.assert_array_equal(values(np.asarray(product)), np.asarray(a) @ np.asarray(b))


@pytest.mark.parametrize("dtype", [F16, BF16, SimpleNamespace(name="float32")])
@pytest.mark.parametrize("turned", [(False, False), (False, True), (True, False), (True, True)])
def test_a_bias_is_added_before_a_product_is_rounded(dtype, turned):
    store = {"bfloat16": top_half, "float16": lambda x: on_gpu(x.astype(np.float16))}.get(
        dtype.name, lambda x: x
    )
    bias = integers(5, np.float32)
    for scale in (1, 2):  # the second time the layout is known
        a, b = (on_gpu(scale * integers(shape, np.float32)) for shape in ((3, 4), (4, 5)))
        expected = np.asarray(a) @ np.asarray(b) + np.asarray(bias)
        stored = [
            on_gpu(np.asfortranarray(x)) if by_columns else x
            for x, by_columns in zip((store(a), store(b)), turned, strict=True)
        ]
        product = gemm.rounded_product_with_bias(*stored, store(bias), dtype)
        np.testing.assert_array_equal(values(np.asarray(product)), expected)
    assert len(gemm._BIAS_PLANS) <= 2  # one, but where arrays begin at other multiples


def test_a_product_with_bias_that_is_not_served_is_declined(monkeypatch):
    a, b, bias = (integers(shape, np.float32) for shape in ((3, 4), (4, 5), (5,)))
    float32 = SimpleNamespace(name="float32")
    empty = gemm.rounded_product_with_bias(a[:0], b, bias, float32)
    gaps = gemm.rounded_product_with_bias(on_gpu(np.asarray(a)[:, ::2]), b[:2], bias, float32)
    monkeypatch.setattr(LtLibrary, "serves", False)
    none = gemm.rounded_product_with_bias(a, b, bias, float32)
    assert all(x is NotImplemented for x in (empty, gaps, none))


def test_a_known_layout_serves_other_arrays():
    for scale in (1, 2, 3):
        a, b = on_gpu(scale * integers((3, 4), np.float32)), integers((4, 5), np.float32)
        np.testing.assert_array_equal(gemm.matmul(a, b), np.asarray(a) @ np.asarray(b))
        turned = on_gpu(np.asarray(a)[:, ::2])  # a copy of it is what cuBLAS reads
        np.testing.assert_array_equal(gemm.matmul(turned, b[:2]), np.asarray(turned) @ b[:2])


def test_tf32_is_a_switch():
    a, b = integers((3, 4), np.float32), integers((4, 5), np.float32)
    gemm.matmul(a, b)
    gemm.set_float32_matmul_precision("high")
    try:
        assert gemm.get_float32_matmul_precision() == "high"
        gemm.matmul(a, b)
        gemm.matmul(a.astype(np.float64), b.astype(np.float64))
    finally:
        gemm.set_float32_matmul_precision("highest")
    assert computes[-3:] == [68, TF32, 70]
    with pytest.raises(ValueError, match=r"unknown precision 'low'.*'highest'.*'high'"):
        gemm.set_float32_matmul_precision("low")
