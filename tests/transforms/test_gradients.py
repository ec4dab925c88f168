"""grad and value_and_grad."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinymp as mp

X, Y = mp.tensor([1.0, 2.0]), mp.tensor([3.0, 5.0])


def product(x: Any, y: Any, power: int = 1) -> Any:
    return ((x * y) ** power).sum()


def test_value_and_gradient() -> None:
    value, gradient = mp.value_and_grad(product)(X, Y)
    assert value.item() == 13
    assert not value.requires_grad
    assert gradient.tolist() == [3, 5]
    assert mp.grad(product, argnums=1)(X, Y).tolist() == [1, 2]


def test_argnums_as_a_tuple_gives_a_tuple() -> None:
    gradients = mp.grad(product, argnums=(1, 0))(X, Y)
    assert [g.tolist() for g in gradients] == [[1, 2], [3, 5]]
    assert mp.grad(product, argnums=(0,))(X, Y)[0].tolist() == [3, 5]


def test_keyword_arguments_pass_through() -> None:
    assert mp.grad(product)(X, Y, power=2).tolist() == [2 * 3 * 3, 2 * 10 * 5]


def test_an_unused_argument_gets_zeros_of_its_dtype() -> None:
    unused = mp.tensor([[1.0], [2.0]], dtype=mp.bfloat16)
    gradient = mp.grad(lambda x, y: x.sum(), argnums=1)(X, unused)
    assert gradient.dtype is mp.bfloat16
    assert gradient.tolist() == [[0], [0]]
    constant = mp.grad(lambda x: mp.tensor(1.0))(X)
    assert constant.tolist() == [0, 0]


def test_no_grad_attribute_is_touched() -> None:
    weight = mp.tensor([2.0, 2.0], requires_grad=True)
    x = mp.tensor([1.0, 1.0], requires_grad=True)
    gradient = mp.grad(lambda x: (x * weight).sum())(x)
    assert gradient.tolist() == [2, 2]
    assert x.grad is None
    assert weight.grad is None


def test_inside_no_grad() -> None:
    with mp.no_grad():
        assert mp.grad(product)(X, Y).tolist() == [3, 5]


@pytest.mark.parametrize("dtype", [mp.float64, mp.float32, mp.float16, mp.bfloat16])
def test_gradients_have_the_arguments_dtype(dtype: Any) -> None:
    gradient = mp.grad(product)(X.to(dtype), Y)
    assert gradient.dtype is dtype
    assert gradient.tolist() == [3, 5]


def test_the_function_may_return_its_argument() -> None:
    assert mp.grad(lambda x: x)(mp.tensor(4.0)).item() == 1


def test_the_name_and_text_of_the_function_stay() -> None:
    assert mp.grad(product).__name__ == "product"


@pytest.mark.parametrize(
    ("call", "error", "complaint"),
    [
        (lambda: mp.grad(product)(3.0, Y), TypeError, "argument 0.*float.*floating-point tensor"),
        (lambda: mp.grad(product, 5)(X, Y), TypeError, "argument 5.*nothing"),
        (lambda: mp.grad(product)(np.ones(2), Y), TypeError, "argument 0.*ndarray"),
        (lambda: mp.grad(product)(mp.tensor([1, 2]), Y), TypeError, "int64.*floating-point"),
        (lambda: mp.grad(lambda x: 3.0)(X), TypeError, "returned a float.*tensor of one element"),
        (lambda: mp.grad(lambda x: x * 2)(X), RuntimeError, r"shape \(2,\).*one element"),
    ],
)
def test_complaints(call: Any, error: Any, complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        call()
