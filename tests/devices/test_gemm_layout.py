"""The calls are carried out here as cuBLAS defines them, on NumPy's memory, and compared."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

from tinymp.devices.gemm_layout import gemms, product_shape


def column_major(operand, rows, columns, index):
    """Return the matrix that cuBLAS sees at an operand's address, writable, without a copy."""
    size = operand.array.itemsize
    stacked = as_strided(
        operand.array,
        (index + 1, rows, columns),
        (operand.batch_stride * size, size, operand.leading * size),
    )
    return stacked[index]


def run(call):
    """Bᵀ·Aᵀ by columns: what cublasGemmStridedBatchedEx computes from these arguments."""
    assert call.a.leading >= (call.m if call.a.by_columns else call.k)
    assert call.b.leading >= (call.k if call.b.by_columns else call.n)
    for index in range(call.batch):
        if call.a.by_columns:
            a_transposed = column_major(call.a, call.m, call.k, index).T
        else:
            a_transposed = column_major(call.a, call.k, call.m, index)
        if call.b.by_columns:
            b_transposed = column_major(call.b, call.k, call.n, index).T
        else:
            b_transposed = column_major(call.b, call.n, call.k, index)
        column_major(call.out, call.n, call.m, index)[...] = b_transposed @ a_transposed


def multiply(a, b):
    out = np.full(product_shape(a.shape, b.shape), np.nan, np.float32)
    calls = list(gemms(np, a, b, out))
    for call in calls:
        run(call)
    return out, calls


def numbers(shape):
    return (np.arange(np.prod(shape)) * 7 % 11 - 5).astype(np.float32).reshape(shape)


@st.composite
def view(draw, shape):
    """A view of this shape with many kinds of strides: permuted, stepped, reversed, repeated."""
    axes = draw(st.permutations(range(len(shape))))
    steps = [draw(st.sampled_from([1, 1, 1, 2, -1])) for _ in shape]
    pads = [draw(st.integers(0, 2)) for _ in shape]
    lengths = [n * abs(step) + pad for n, step, pad in zip(shape, steps, pads, strict=True)]
    base = numbers([lengths[axis] for axis in axes]).transpose(np.argsort(axes))
    cut = base[tuple(slice(pad, None) for pad in pads)]
    cut = cut[tuple(slice(None, None, step) for step in steps)]
    repeat = [draw(st.integers(0, 7)) == 0 for _ in shape]
    cut = cut[tuple(slice(0, 1) if again else slice(None) for again in repeat)]
    return np.broadcast_to(cut, shape)


@st.composite
def operands(draw):
    m, k, n = (draw(st.integers(1, 4)) for _ in range(3))
    stack = draw(st.lists(st.integers(1, 3), max_size=3))
    shapes = []
    for matrix in ((m, k), (k, n)):
        kept = stack[draw(st.integers(0, len(stack))) :]
        shapes.append(tuple(1 if draw(st.integers(0, 3)) == 0 else x for x in kept) + matrix)
    return [draw(view(shape)) for shape in shapes]


@given(operands())
def test_any_views_give_numpys_product(pair):
    a, b = pair
    out, calls = multiply(a, b)
    np.testing.assert_array_equal(out, a @ b)  # small integers: exact in any order
    assert product_shape(a.shape, b.shape) == (a @ b).shape
    assert sum(call.batch * call.m for call in calls) == out.size // out.shape[-1]


def only(calls):
    assert len(calls) == 1
    return calls[0]


def test_transposed_views_are_flags_not_copies():
    a, b = numbers((5, 3)).T, numbers((4, 5)).T
    out, calls = multiply(a, b)
    np.testing.assert_array_equal(out, a @ b)
    call = only(calls)
    assert (call.a.by_columns, call.b.by_columns, call.out.by_columns) == (True, True, False)
    assert call.a.array.base is a.base
    assert call.b.array.base is b.base


def test_rows_inside_a_wider_matrix_are_a_leading_dimension_not_a_copy():
    wide = numbers((6, 10))
    call = only(multiply(wide[1:4, 2:7], numbers((5, 2)))[1])
    assert call.a.leading == 10
    assert np.shares_memory(call.a.array, wide)


def test_a_stack_is_one_call():
    call = only(multiply(numbers((2, 3, 4, 5)), numbers((2, 3, 5, 6)))[1])
    assert (call.batch, call.a.batch_stride, call.b.batch_stride) == (6, 20, 30)


def test_an_axis_of_length_one_does_not_split_a_stack():
    a = numbers((2, 3, 4, 5))[:, 1:2]
    call = only(multiply(a, numbers((2, 1, 5, 6)))[1])
    assert (call.batch, call.a.batch_stride) == (2, 60)


def test_one_matrix_on_the_right_makes_one_tall_product():
    call = only(multiply(numbers((2, 3, 4, 5)), numbers((5, 6)))[1])
    assert (call.batch, call.m, call.n, call.k) == (1, 24, 6, 5)


def test_one_matrix_on_the_left_is_repeated_by_a_stride_of_zero():
    call = only(multiply(numbers((4, 5)), numbers((7, 5, 6)))[1])
    assert (call.batch, call.a.batch_stride) == (7, 0)


def test_attention_heads_inside_the_model_dimension_are_read_in_place():
    batch, length, heads, width = 2, 5, 3, 4
    q, k = (numbers((batch, length, heads, width)).transpose(0, 2, 1, 3) for _ in range(2))
    out, calls = multiply(q, k.swapaxes(-1, -2))
    np.testing.assert_array_equal(out, q @ k.swapaxes(-1, -2))
    assert [call.batch for call in calls] == [heads] * batch
    assert all(np.shares_memory(call.a.array, q) for call in calls)
    assert all(np.shares_memory(call.b.array, k) for call in calls)


@pytest.mark.parametrize(
    "a", [numbers((4, 10))[:, ::2], numbers((4, 5))[:, ::-1], np.broadcast_to(numbers(5), (4, 5))]
)
def test_what_cublas_cannot_read_is_copied(a):
    out, calls = multiply(a, numbers((5, 3)))
    np.testing.assert_array_equal(out, a @ numbers((5, 3)))
    assert not np.shares_memory(only(calls).a.array, a)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(4, 5\) .* 3 columns, .* 4 rows"):
        product_shape((2, 3), (4, 5))
    with pytest.raises(ValueError, match=r"stacks of shapes .* do not broadcast"):
        product_shape((2, 1, 3), (3, 3, 4))
