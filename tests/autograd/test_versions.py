"""What was saved and then changed in place is refused, by name."""

from __future__ import annotations

from typing import Any

import pytest

import tinymp as mp


@pytest.mark.parametrize(
    ("use", "saved"),
    [
        (lambda x, y: x * y, "input 'y' of 'mul'"),
        (lambda x, y: x / y, "input 'y' of 'div'"),
        (lambda x, y: x @ y, "input 'y' of 'matmul'"),
        (lambda x, y: mp.linear(x.reshape(1, -1), y.reshape(1, -1)), "input 'weight' of 'linear'"),
        (lambda x, y: mp.where(y > 0, x, 0.0), None),
        (lambda x, y: x + y, None),
        (lambda x, y: x * y.clone(), None),
    ],
)
def test_changing_what_was_saved(use: Any, saved: str | None) -> None:
    x = mp.tensor([1.0, 2.0], requires_grad=True)
    y = mp.tensor([3.0, 4.0])
    loss = use(x, y).sum()
    y[0] = 7.0
    if saved is None:
        loss.backward()
        return
    with pytest.raises(RuntimeError, match=f"{saved}.*saved for backward at version 0.*version 1"):
        loss.backward()


@pytest.mark.parametrize(
    "change",
    [
        lambda y: y[1:].zero_(),
        lambda y: y.detach().add_(1),
        lambda y: y.data.fill_(2),
        lambda y: y.reshape(2, 1).T.mul_(2),
        lambda y: y.copy_(mp.zeros(2)),
        lambda y: setattr(y, "data", mp.zeros(2)),
    ],
    ids=["slice", "detach", "data", "transposed view", "copy_", "new data"],
)
def test_every_way_to_change_it_counts(change: Any) -> None:
    x, y = mp.tensor([1.0, 2.0], requires_grad=True), mp.tensor([3.0, 4.0])
    loss = (x * y).sum()
    change(y)
    with pytest.raises(RuntimeError, match=r"input 'y' of 'mul'.*changed in place"):
        loss.backward()


def test_a_result_that_was_saved() -> None:
    x = mp.tensor([1.0], requires_grad=True)
    y = x.exp()
    with mp.no_grad():
        y.mul_(2)
    with pytest.raises(RuntimeError, match=r"result of 'exp' \(shape \(1,\), float32\)"):
        y.backward()


def test_a_mask_that_was_saved() -> None:
    x, mask = mp.tensor([1.0], requires_grad=True), mp.tensor([True])
    y = mp.where(mask, x, 0.0)
    mask[0] = False
    with pytest.raises(RuntimeError, match="input 'condition' of 'where'"):
        y.backward()


def test_labels_that_were_saved() -> None:
    x, labels = mp.zeros(1, 2, requires_grad=True), mp.tensor([0])
    loss = mp.cross_entropy(x, labels)
    labels[0] = 1
    with pytest.raises(RuntimeError, match="input 'labels' of 'cross_entropy'"):
        loss.backward()


def test_changing_a_copy_or_an_operand_that_was_not_saved_is_fine() -> None:
    x, y = mp.tensor([1.0], requires_grad=True), mp.tensor([3.0])
    loss = (x * y).sum()
    y.clone().zero_()
    y[[0]].zero_()
    with mp.no_grad():
        x.add_(1)  # only y was needed for the gradient of x
    loss.backward()
    assert x.grad.tolist() == [3]


def test_a_leaf_that_requires_a_gradient_is_changed_under_no_grad_only() -> None:
    x = mp.tensor([1.0], requires_grad=True)
    for change in (lambda: x.add_(1), x.zero_, lambda: x.__setitem__(0, 2.0)):
        with pytest.raises(RuntimeError, match=r"in-place change.*requires a gradient.*no_grad"):
            change()
    with mp.no_grad():
        x.add_(1)
    assert x.tolist() == [2]
    assert x.requires_grad
