"""Checkpointing changes what is kept, not one bit of what comes out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp import nn
from tinymp.inspect import TracedMemory, memory, trace


class Block(nn.Module):
    """A residual block with everything that could go wrong: parameters, dropout, a norm."""

    def __init__(self, width: int) -> None:
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(0.25)

    def forward(self, x: mp.Tensor) -> mp.Tensor:
        return x + self.dropout(self.narrow(self.wide(self.norm(x)).relu()))


def bits(x: Any) -> bytes:
    return bytes(np.ascontiguousarray(x.storage).tobytes())


def run(
    how: Callable[..., Any], circumstances: Any, dtype: Any = mp.float32, depth: int = 3
) -> list[bytes]:
    """Loss and gradients of a few blocks, each called by `how`, as bits."""
    mp.manual_seed(5)
    blocks = [Block(6).to(dtype) for _ in range(depth)]
    x = mp.randn(4, 6, dtype=dtype, requires_grad=True)
    y = x
    with circumstances():
        for block in blocks:
            y = how(block, y)
        loss = (y * y).mean()
    with mp.rounding("stochastic"):  # what is in force in backward must not matter to forward
        loss.backward()
    parameters = [p for block in blocks for p in block.parameters()]
    state = mp.devices.get_rng_state()
    return [bits(loss), bits(x.grad), *(bits(p.grad) for p in parameters), repr(state).encode()]


def plainly(function: Any, *arguments: Any) -> Any:
    return function(*arguments)


def nested(function: Any, *arguments: Any) -> Any:
    return mp.checkpoint(lambda: mp.checkpoint(function, *arguments))


CIRCUMSTANCES = {
    "as it is": nullcontext,
    "stochastic": lambda: mp.rounding("stochastic"),
    "toward zero": lambda: mp.rounding("toward_zero"),
    "accumulated in float16": lambda: mp.accumulation("float16"),
    "in chunks": lambda: mp.accumulation("chunked", size=2),
    "autocast to float16": lambda: mp.amp.autocast(mp.float16),
    "autocast to bfloat16": lambda: mp.amp.autocast(mp.bfloat16),
}


@pytest.mark.parametrize("dtype", [mp.float32, mp.float16, mp.bfloat16], ids=str)
@pytest.mark.parametrize("name", CIRCUMSTANCES)
def test_loss_gradients_and_random_state_are_the_same_bits(name: str, dtype: Any) -> None:
    circumstances = CIRCUMSTANCES[name]
    expected = run(plainly, circumstances, dtype)
    assert run(mp.checkpoint, circumstances, dtype) == expected
    assert run(nested, circumstances, dtype) == expected


def test_it_is_tensors_not_results_that_are_forgotten() -> None:
    """Several results, some no tensors, arguments by name, and one result that nobody uses."""

    def function(x: mp.Tensor, factor: float, *, power: int) -> dict[str, Any]:
        y = x * factor
        return {"first": y.exp(), "second": (y**power, "word"), "unused": y.sin()}

    found = []
    for how in (plainly, mp.checkpoint):
        x = mp.tensor([0.5, 1.5], requires_grad=True)
        if how is plainly:
            results = function(x, 3.0, power=2)
        else:
            results = mp.checkpoint(function, x, 3.0, power=2)
        assert results["second"][1] == "word"
        (results["first"].sum() + results["second"][0].sum()).backward()
        found.append(x.grad.tolist())
    assert found[0] == found[1]


def saved_bytes(loss: mp.Tensor) -> int:
    return memory(loss=loss).bytes("saved activations")


def deep(how: Callable[..., Any]) -> tuple[mp.Tensor, list[nn.Module]]:
    blocks = [Block(32) for _ in range(8)]
    y = mp.randn(512, 32)
    for block in blocks:
        y = how(block, y)
    return y.mean(), blocks


def test_only_the_blocks_inputs_are_saved_and_the_peak_is_lower() -> None:
    """Eight blocks, of which one at a time has its activations: more than six times its input."""
    plain, _ = deep(plainly)
    forgotten, _ = deep(mp.checkpoint)
    assert saved_bytes(forgotten) == 8 * 512 * 32 * 4
    assert saved_bytes(plain) > 8 * 6 * 512 * 32 * 4

    peaks = []
    for how in (plainly, mp.checkpoint):
        with TracedMemory() as traced:
            loss, _ = deep(how)
            loss.backward()
        peaks.append(traced.peak - traced.start)
        del loss
    assert peaks[1] < peaks[0] / 2


def test_backward_runs_each_function_once_more_and_no_node_twice() -> None:
    calls = []

    def function(x: mp.Tensor) -> mp.Tensor:
        calls.append(1)
        return x.exp().sin().exp()

    x = mp.tensor([0.5], requires_grad=True)
    y = mp.checkpoint(function, mp.checkpoint(function, x))
    assert len(calls) == 2
    y.backward(retain_graph=True)
    assert len(calls) == 4
    first = x.grad.item()
    y.backward()
    assert len(calls) == 4  # what was asked to be retained was retained
    assert x.grad.item() == 2 * first
    with pytest.raises(RuntimeError, match="a second time"):
        y.backward()


def test_a_trace_shows_the_second_run() -> None:
    x = mp.tensor([0.5], requires_grad=True)
    with trace() as run:
        mp.checkpoint(lambda x: x.exp().sin(), x).backward()
    seen = [(event.phase, event.contract.op) for event in run.events]
    first = [("forward", "exp"), ("forward", "sin")]
    assert seen == [*first, *first, ("backward", "sin"), ("backward", "exp")]


def test_without_a_graph_it_is_just_the_function() -> None:
    x = mp.ones(2, requires_grad=True)
    with mp.no_grad():
        assert not mp.checkpoint(mp.exp, x).requires_grad
    assert not mp.checkpoint(mp.exp, mp.ones(2)).requires_grad
    loss = mp.checkpoint(mp.exp, x).sum()
    with mp.no_grad():  # in which backward is called does not matter
        loss.backward()
    assert x.grad.tolist() == mp.exp(mp.ones(2)).tolist()


def test_with_a_grad_scaler() -> None:
    losses = []
    for how in (plainly, mp.checkpoint):
        mp.manual_seed(1)
        model = Block(6)
        optimizer, scaler = mp.optim.SGD(model.parameters(), 0.1), mp.amp.GradScaler()
        x = mp.randn(4, 6)
        for _ in range(3):
            with mp.amp.autocast(mp.float16):
                loss = how(model, x).float().square().mean()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        losses.append((loss.item(), *[bits(p) for p in model.parameters()]))
    assert losses[0] == losses[1]


def test_gradients_of_functions() -> None:
    x = mp.tensor([0.5, 2.0])
    expected = mp.grad(lambda x: x.exp().sin().sum())(x)
    assert mp.grad(lambda x: mp.checkpoint(lambda y: y.exp().sin(), x).sum())(x).tolist() == (
        expected.tolist()
    )


def test_what_changed_in_between_is_noticed() -> None:
    weight = mp.ones(2, requires_grad=True)
    x = mp.tensor([1.0, 2.0], requires_grad=True)
    y = mp.checkpoint(lambda x: (x + weight).exp(), x)
    with mp.no_grad():
        weight.add_(1.0)
    complaint = r"checkpoint has to run add of float32\[2\] again, but an operand has been changed"
    with pytest.raises(RuntimeError, match=complaint):
        y.sum().backward()


def test_a_function_that_does_something_else_the_second_time_is_noticed() -> None:
    steps = iter([mp.exp, mp.sin, mp.cos])

    def moody(x: mp.Tensor) -> mp.Tensor:
        return next(steps)(x) * 2

    x = mp.ones(2, requires_grad=True)
    y = mp.checkpoint(moody, x)
    complaint = r"it came to sin of float32\[2\] where exp of float32\[2\] was the first time; it m"
    with pytest.raises(RuntimeError, match=complaint):
        y.sum().backward()

    turns = iter([1, 2, 0])

    def growing(x: mp.Tensor) -> mp.Tensor:
        for _ in range(next(turns)):
            x = x * x
        return x

    for complaint in ("it came to mul", "it ended where mul of float32"):
        if complaint.startswith("it ended"):
            turns = iter([2, 1])
        y = mp.checkpoint(growing, x)
        with pytest.raises(RuntimeError, match=complaint):
            y.sum().backward()


def test_the_result_of_a_function_is_no_function() -> None:
    with pytest.raises(TypeError, match=r"checkpoint was given a Tensor.*checkpoint\(block, x\)"):
        mp.checkpoint(mp.ones(2), mp.ones(2))  # type: ignore[arg-type]
