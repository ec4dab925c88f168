"""Hooks see complete gradients, in order, and may replace them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinymp as mp


def test_a_hook_sees_the_complete_gradient_once() -> None:
    x = mp.tensor([2.0], requires_grad=True)
    y = x * 1.0
    seen: list[Any] = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    (y * y + y * 3).sum().backward()
    assert seen == [[7.0]]


def test_hooks_run_from_the_loss_to_the_leaves_and_in_order_of_registration() -> None:
    x = mp.tensor([2.0], requires_grad=True)
    y = x * 3
    order: list[str] = []
    x.register_hook(lambda g: order.append("x"))
    y.register_hook(lambda g: order.append("y first"))
    y.register_hook(lambda g: order.append("y second"))
    y.sum().backward()
    assert order == ["y first", "y second", "x"]


def test_what_a_hook_returns_replaces_the_gradient() -> None:
    x = mp.tensor([2.0], requires_grad=True)
    y = x * 3
    y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: g + 1)
    y.sum().backward()
    assert x.grad.tolist() == [33]


def test_a_hook_can_be_removed_even_by_itself_and_twice() -> None:
    x = mp.tensor([2.0], requires_grad=True)
    seen: list[str] = []

    def once(gradient: Any) -> None:
        seen.append("once")
        remove()

    remove = x.register_hook(once)
    x.register_hook(lambda g: seen.append("always"))
    for _ in range(2):
        x.sum().backward()
    assert seen == ["once", "always", "always"]
    remove()


def test_one_function_registered_twice_is_removed_once() -> None:
    x = mp.tensor([2.0], requires_grad=True)

    def double(gradient: Any) -> Any:
        return gradient * 2

    first = x.register_hook(double)
    x.register_hook(double)
    first()
    first()
    x.sum().backward()
    assert x.grad.tolist() == [2]


def test_a_replacement_stays_the_hooks_own() -> None:
    mine = mp.tensor([7.0])
    x = mp.tensor([2.0], requires_grad=True)
    x.register_hook(lambda g: mine)
    x.sum().backward()
    x.grad.zero_()
    assert mine.tolist() == [7]


def test_a_gradient_kept_by_a_hook_does_not_change_later() -> None:
    x = mp.tensor([2.0], requires_grad=True)
    kept: list[Any] = []
    x.register_hook(kept.append)
    (x * 3).sum().backward()
    x.grad.zero_()
    assert kept[0].tolist() == [3]


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        (lambda g: mp.ones(3), r"hook.*\(3,\).*\(2,\)"),
        (lambda g: 3.0, r"hook.*float"),
        (lambda g: np.ones(2), r"hook.*ndarray"),
    ],
    ids=["shape", "number", "array"],
)
def test_a_replacement_must_be_like_the_gradient(returned: Any, complaint: str) -> None:
    x = mp.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y.register_hook(returned)
    with pytest.raises((TypeError, ValueError), match=complaint):
        y.sum().backward()


def test_a_replacement_is_rounded_to_the_tensors_dtype() -> None:
    x = mp.tensor([1.0], dtype=mp.float16, requires_grad=True)
    x.register_hook(lambda g: mp.tensor([1 + 2.0**-12]))
    x.backward()
    assert x.grad.dtype is mp.float16
    assert x.grad.tolist() == [1]


def test_a_hook_needs_a_gradient_to_wait_for() -> None:
    with pytest.raises(RuntimeError, match=r"does not require a gradient.*requires_grad=True"):
        mp.ones(2).register_hook(print)


def test_retain_grad_keeps_the_gradient_of_a_result() -> None:
    x = mp.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    z = y + 0.0
    y.retain_grad()
    z.retain_grad()
    z.sum().backward()
    assert y.grad.tolist() == z.grad.tolist() == [1, 1]
    z.grad.mul_(5)
    assert y.grad.tolist() == [1, 1]
    assert x.grad.tolist() == [2, 2]


def test_without_retain_grad_a_result_has_none() -> None:
    x = mp.tensor([1.0], requires_grad=True)
    y = x * 2
    y.sum().backward()
    assert y.grad is None


def test_hooks_see_gradients_in_the_tensors_dtype() -> None:
    x = mp.tensor([1.0], dtype=mp.float16, requires_grad=True)
    y = x * 2
    seen: list[Any] = []
    y.register_hook(lambda g: seen.append(g.dtype))
    y.float().sum().backward()
    assert seen == [mp.float16]
