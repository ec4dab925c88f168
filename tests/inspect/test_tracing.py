"""A trace lists what ran, in the dtypes in which it ran, and keeps nothing alive."""

from __future__ import annotations

import gc
import weakref

import pytest

import tinymp as mp
from tinymp.amp import autocast
from tinymp.autograd.modes import OBSERVERS
from tinymp.inspect import Event, Trace, trace
from tinymp.inspect.watching import TensorNotes


def operations(run: Trace, phase: str = "forward") -> list[str]:
    return [event.contract.op for event in run.events if event.phase == phase]


def only(run: Trace, op: str, phase: str = "forward") -> Event:
    (event,) = [e for e in run.events if e.contract.op == op and e.phase == phase]
    return event


def test_a_float16_product(device: str) -> None:
    x = mp.ones(3, 4, dtype=mp.float16, device=device).requires_grad_()
    with trace() as run:
        (x @ x.transpose(0, 1)).sum().backward()
    product = only(run, "matmul")
    assert product.contract.accumulator is mp.float32
    assert [str(t) for t in product.inputs] == ["float16[3, 4]", "float16[4, 3]"]
    assert str(product.outputs[0]) == "float16[3, 3]"
    assert product.nbytes == 2 * 9
    back = only(run, "matmul", "backward")
    assert [str(t) for t in back.outputs] == ["float16[3, 4]", "float16[4, 3]"]
    assert back.nbytes == 2 * 12 * 2
    assert back.contract.accumulator is mp.float32


def test_events_are_linked() -> None:
    x = mp.ones(2, requires_grad=True)
    with trace() as run:
        y = x * 3
        (y + y).sum().backward()
    mul, add, total = run.events[:3]
    assert mul.inputs[0].made_by is None
    assert [t.made_by for t in add.inputs] == [1, 1]
    assert total.inputs[0].made_by == 2
    assert [(e.contract.op, e.of) for e in run.events[3:]] == [("sum", 3), ("add", 2), ("mul", 1)]
    assert [e.number for e in run.events] == [1, 2, 3, 4, 5, 6]


def test_views_take_no_bytes() -> None:
    x = mp.ones(4, 4, requires_grad=True)
    with trace() as run:
        y = x.reshape(16)[:8]
        y.sum().backward()
    assert [(e.contract.op, e.nbytes) for e in run.events] == [
        ("reshape", 0), ("slice", 0), ("sum", 4), ("sum", 0), ("slice", 64), ("reshape", 0),
    ]  # fmt: skip


def test_gradients_that_undo_broadcasting_are_sums() -> None:
    x, b = mp.ones(5, 3, requires_grad=True), mp.ones(3, requires_grad=True)
    with trace() as run:
        (x + b).sum().backward()
        (x * 2).sum().backward()
    back = {(e.contract.op, e.contract.accumulator) for e in run.events if e.phase == "backward"}
    assert back == {("add", mp.float32), ("sum", None), ("mul", None)}
    assert only(run, "add").contract.accumulator is None


def test_explicit_casts_and_those_of_autocast() -> None:
    w = mp.ones(2, 2, requires_grad=True)
    with trace() as run:
        half = w.half()
        _ = half * 2
        with autocast(mp.bfloat16):
            _ = half + 1
            product = w @ w
            _ = product.float() + 1
            with autocast(enabled=False):
                _ = product.half() @ half
            again = w.bfloat16()
            _ = again * 2
            _ = again @ again
    expected = ["explicit", "autocast", "explicit", "explicit", "explicit"]
    assert [e.cast for e in run.casts] == expected


def test_backward_of_what_ran_before_the_trace() -> None:
    loss = (mp.ones(3, requires_grad=True) * 2).sum()
    with trace() as run:
        loss.backward()
    assert operations(run, "backward") == ["sum", "mul"]
    assert [e.of for e in run.events] == [None, None]
    assert [t.shape for t in run.events[1].outputs] == [(3,)]
    assert only(run, "mul", "backward").contract.gradients == (("x", mp.float32),)


def test_parameters_are_called_by_their_names() -> None:
    model = mp.nn.Sequential(mp.nn.Linear(2, 3), mp.nn.Linear(3, 1))
    with trace(model) as run:
        model(mp.ones(1, 2)).sum().backward()
    assert [[t.parameter for t in e.inputs] for e in run.events[:2]] == [
        ["", "0.weight", "0.bias"], ["", "1.weight", "1.bias"],
    ]  # fmt: skip
    named = [t.parameter for e in run.events[3:] for t in e.outputs if t.parameter]
    assert named == ["1.weight", "1.bias", "0.weight", "0.bias"]


def test_a_trace_keeps_no_tensor_alive() -> None:
    with trace() as run:
        y = mp.ones(3) * 2
        weak = weakref.ref(y)
        del y
        gc.collect()
        assert weak() is None
        _ = mp.ones(3) * 3
    assert [[t.made_by for t in e.inputs] for e in run.events] == [[None], [None]]


def test_a_trace_ends_and_may_go_on() -> None:
    run = Trace()
    with run, trace() as inner:
        _ = mp.ones(1) * 1
    _ = mp.ones(1) * 2
    assert OBSERVERS.get() == ()
    with run:
        _ = mp.ones(1) * 3
    assert (len(run.events), len(inner.events)) == (2, 1)
    with pytest.raises(ZeroDivisionError), run:
        _ = 1 / 0
    assert OBSERVERS.get() == ()


def test_text() -> None:
    w = mp.ones(2, 2, requires_grad=True)
    with trace() as run, autocast(mp.float16):
        (w @ w).sum().backward()
    lines = str(run).splitlines()
    assert [line[:11] for line in lines if line[:1].isdigit()] == [
        "1  cast    ", "2  matmul  ", "3  sum     ", "4  sum     ", "5  matmul  ", "6  cast    ",
    ]  # fmt: skip
    assert (lines[0], lines[7]) == ("forward", "backward")
    for row in (
        "1 cast float32[2, 2] float32 - float16[2, 2] 8 cast by autocast",
        "2 matmul float16[2, 2], float16[2, 2] float32 float32 float16[2, 2] 8",
        "5 matmul float16[2, 2] float32 float32 x: float16[2, 2], y: float16[2, 2] 16 of 2",
        "6 cast float16[2, 2] float32 - x: float32[2, 2] 16 of 1, cast by autocast",
    ):
        assert row in [" ".join(line.split()) for line in lines]
    assert str(Trace()) == "nothing ran inside the trace"


def test_notes_are_forgotten_with_their_tensor() -> None:
    notes: TensorNotes[str] = TensorNotes()
    x, y = mp.ones(2), mp.ones(2)
    notes[x], notes[y] = "x", "y"
    notes[x] = "x again"
    assert (notes.get(x), notes.get(y), len(notes)) == ("x again", "y", 2)
    del x
    assert len(notes) == 1
    assert notes.get(mp.ones(2)) is None
