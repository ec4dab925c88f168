"""The casts of autocast: ordinary nodes, each parameter's made once, and no gradient is lost."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp.amp import autocast
from tinymp.autograd.modes import OBSERVERS
from tinymp.inspect import Trace, trace

PRODUCT = mp.ones(2, 2)
DIGITS = 8


def example(device: str = "cpu") -> tuple[mp.nn.Sequential, mp.Tensor, mp.Tensor]:
    """A model with 4 parameters, and a batch for it."""
    nn = mp.nn
    model = nn.Sequential(nn.Linear(DIGITS, 6), nn.ReLU(), nn.Linear(6, 4)).to(device)
    return model, mp.randn(5, DIGITS, device=device), mp.tensor([0, 1, 2, 3, 0], device=device)


def parameter_casts(run: Trace) -> list[str]:
    return [x.inputs[0].parameter for x in run.casts if x.inputs[0].parameter]


def test_casts_are_nodes_whose_backward_gives_float32(device: str) -> None:
    model, x, y = example(device)
    with trace(model) as run:
        with autocast(mp.float16):
            loss = mp.cross_entropy(model(x), y)
        loss.backward()
    assert all(event.cast == "autocast" for event in run.casts)
    back = [e for e in run.events if e.phase == "backward" and e.contract.op == "cast"]
    assert sorted(e.outputs[0].parameter for e in back) == sorted(
        name for name, _ in model.named_parameters()
    )
    for event in back:
        assert (event.inputs[0].dtype, event.outputs[0].dtype) == (mp.float16, mp.float32)
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype is mp.float32


@pytest.mark.parametrize("dtype", [mp.float16, mp.bfloat16], ids=lambda d: d.name)
def test_values_and_gradients_equal_manual_casts_bit_for_bit(dtype: mp.DType, device: str) -> None:
    model, x, y = example(device)
    w1, b1, w2, b2 = model.parameters()
    with autocast(dtype):
        loss = mp.cross_entropy(model(x), y)
    loss.backward()
    automatic = [loss, *(p.grad for p in model.parameters())]
    model.zero_grad()

    hidden = mp.relu(mp.linear(x.to(dtype), w1.to(dtype), b1.to(dtype)))
    logits = mp.linear(hidden, w2.to(dtype), b2.to(dtype))
    # Exact: every float32 is what cross_entropy computes in, and its gradient is rounded to dtype.
    manual_loss = mp.cross_entropy(logits.float(), y)
    manual_loss.backward()
    manual = [manual_loss, *(p.grad for p in model.parameters())]
    for a, b in zip(automatic, manual, strict=True):
        assert a is not None
        assert b is not None
        assert a.dtype is b.dtype
        if device == "cpu":
            np.testing.assert_array_equal(a.numpy().view(np.uint32), b.numpy().view(np.uint32))
        else:  # a kernel's order of summing follows the format it reads: one rounding may differ
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=mp.finfo(dtype).eps)


def test_float32_operations_get_no_cast_and_see_the_unrounded_input() -> None:
    x = mp.tensor([[1.0009765625, 2.0]], mp.float16, requires_grad=True)
    with trace() as run, autocast(mp.bfloat16):
        result = mp.exp(x)
    assert run.casts == []
    np.testing.assert_array_equal(result.numpy(), np.exp(x.numpy()))


def test_backward_is_the_same_inside_the_block_and_after_it() -> None:
    model, x, y = example()
    with autocast(mp.float16):
        mp.cross_entropy(model(x), y).backward()
    inside = [p.grad.numpy() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    with autocast(mp.float16):
        loss = mp.cross_entropy(model(x), y)
    loss.backward()
    after = [p.grad.numpy() for p in model.parameters() if p.grad is not None]
    for a, b in zip(inside, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_each_parameter_is_cast_once_in_an_outermost_block() -> None:
    model, x, _ = example()
    names = [name for name, _ in model.named_parameters()]
    with trace(model) as run:
        with autocast(mp.float16):
            model(x)
            with autocast(mp.float16):
                model(x)
            with autocast(enabled=False):
                model(x)
            model(x)
    assert parameter_casts(run) == names
    with trace(model) as run:
        for _ in range(2):
            with autocast(mp.float16):
                model(x)
    assert parameter_casts(run) == names * 2


def test_each_dtype_has_a_cast_of_its_own() -> None:
    model, x, _ = example()
    with trace(model) as run, autocast(mp.float16):
        model(x)
        with autocast(mp.bfloat16):
            assert model(x).dtype is mp.bfloat16
        assert model(x).dtype is mp.float16
    assert sorted(parameter_casts(run)) == sorted(
        [name for name, _ in model.named_parameters()] * 2
    )


def test_without_a_cache_every_use_is_a_cast() -> None:
    model, x, _ = example()
    with trace(model) as run, autocast(mp.float16, cache_enabled=False):
        model(x)
        model(x)
    assert len(parameter_casts(run)) == 8


def test_activations_and_frozen_parameters_are_cast_at_each_use() -> None:
    model, x, _ = example()
    model.requires_grad_(False)
    with trace(model) as run, autocast(mp.float16):
        model(x)
        model(x)
    assert len(parameter_casts(run)) == 8
    assert len(run.casts) == 10


def test_a_step_inside_the_block_is_seen() -> None:
    weight = mp.nn.Parameter(mp.ones(2, 2))
    optimizer = mp.optim.SGD([weight], lr=1.0)
    weight.grad = mp.full((2, 2), 0.5)
    with autocast(mp.float16):
        before = (PRODUCT @ weight).numpy()
        optimizer.step()
        after = (PRODUCT @ weight).numpy()
    np.testing.assert_array_equal(before, np.full((2, 2), 2.0))
    np.testing.assert_array_equal(after, np.full((2, 2), 1.0))


def test_an_evaluation_under_no_grad_loses_no_gradient() -> None:
    weight = mp.nn.Parameter(mp.ones(2, 2))
    with autocast(mp.float16):
        with mp.no_grad():
            assert not (PRODUCT @ weight).requires_grad
        result = PRODUCT @ weight
        with mp.no_grad():
            assert not (PRODUCT @ weight).requires_grad
    result.sum().backward()
    assert weight.grad is not None
    np.testing.assert_array_equal(weight.grad.numpy(), np.full((2, 2), 2.0))


def test_a_block_entered_under_no_grad_loses_no_gradient() -> None:
    weight = mp.nn.Parameter(mp.ones(2, 2))
    with mp.no_grad(), autocast(mp.float16):
        _ = PRODUCT @ weight
        with mp.enable_grad():
            result = PRODUCT @ weight
    result.sum().backward()
    assert weight.grad is not None


def test_two_losses_through_one_cached_cast() -> None:
    weight = mp.nn.Parameter(mp.ones(2, 2))
    with trace() as run, autocast(mp.float16):
        first = (PRODUCT @ weight).sum()
        second = (PRODUCT @ weight).sum() * 2
    assert len(run.casts) == 3  # the weight once, the other operand at each use
    first.backward()
    assert weight.grad is not None
    np.testing.assert_array_equal(weight.grad.numpy(), np.full((2, 2), 2.0))
    second.backward()
    np.testing.assert_array_equal(weight.grad.numpy(), np.full((2, 2), 6.0))


def test_the_cache_ends_with_the_outermost_block() -> None:
    weight = mp.nn.Parameter(mp.ones(64, 64))

    class KeepsResults:
        def __init__(self) -> None:
            self.casts: list[weakref.ref[mp.Tensor]] = []

        def forward(self, contract: Any, operands: Any, attributes: Any, result: Any) -> None:
            if contract.op.name == "cast" and operands[0] is weight:
                self.casts.append(weakref.ref(result))

        def backward(self, node: Any, g: Any, gradients: Any) -> None:
            pass

    keeps = KeepsResults()
    token = OBSERVERS.set((keeps,))
    try:
        with autocast(mp.float16):
            with autocast(mp.float16):
                (mp.ones(1, 64) @ weight).sum()
            assert keeps.casts[0]() is not None
        assert keeps.casts[0]() is None
    finally:
        OBSERVERS.reset(token)


def test_a_float16_model_is_left_as_it_is() -> None:
    model, x, y = example()
    model.half()
    x = x.half()
    with trace(model) as run, autocast(mp.float16):
        loss = mp.cross_entropy(model(x), y)
    loss.backward()
    assert run.casts == []
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype is mp.float16
