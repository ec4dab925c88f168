"""The walk back: every path counts once, nothing is left behind, nothing is shared."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinymp as mp
from tinymp.formats import decode, encode


def leaf(*values: float, dtype: Any = None, device: str = "cpu") -> Any:
    return mp.tensor(list(values), dtype or mp.float32, device, requires_grad=True)


def test_fan_out_adds_up(device: str) -> None:
    x = leaf(3.0, device=device)
    (x * x + x * 2 + x).sum().backward()
    assert x.grad.tolist() == [2 * 3 + 2 + 1]


def test_diamonds_are_walked_once_a_node(device: str) -> None:
    """Sixty diamonds on top of each other have 2^60 paths, and 120 nodes."""
    x = leaf(1.0, device=device)
    y = x
    for _ in range(60):
        y = y * 0.5 + y * 0.5
    y.sum().backward()
    assert x.grad.tolist() == [1]


def test_a_result_may_be_used_before_and_after_others() -> None:
    """The gradient of `early` is complete only after `late` passed its own on."""
    x = leaf(2.0)
    early = x * 3
    late = early * early
    (late * late + early).sum().backward()
    assert x.grad.tolist() == [4 * (3 * 2.0) ** 3 * 3 + 3]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4), (4,)),
        ((3, 1), (1, 4)),
        ((2, 3, 4), (1, 4)),
        ((), (3,)),
        ((1,), (3, 2)),
        ((0,), (1,)),
    ],
    ids=str,
)
def test_broadcasting_is_undone(a: Any, b: Any, device: str) -> None:
    x = mp.ones(*a, device=device, requires_grad=True)
    y = mp.ones(*b, device=device, requires_grad=True)
    z = x + y
    z.sum().backward()
    for side in (x, y):
        assert side.grad.shape == side.shape
        copies = z.size // side.size if side.size else 0
        assert (side.grad.numpy() == copies).all()


def test_broadcasting_is_undone_before_rounding() -> None:
    """4096 gradients of 1 make 4096; a float16 sum of ones would stop at 2048."""
    x = mp.tensor(1.0, dtype=mp.float16, requires_grad=True)
    (x + mp.zeros(4096, dtype=mp.float16)).backward(mp.ones(4096, dtype=mp.float16))
    assert x.grad.item() == 4096


def test_backward_adds_to_what_is_there() -> None:
    x = leaf(1.0, 2.0)
    for _ in range(3):
        (x * x).sum().backward()
    assert x.grad.tolist() == [6, 12]


def test_a_leaf_can_be_the_root() -> None:
    x = leaf(5.0)
    x.backward()
    assert x.grad.tolist() == [1]


def test_what_needs_no_gradient_gets_none() -> None:
    x, constant = leaf(1.0), mp.tensor([2.0])
    (x * constant).sum().backward()
    assert constant.grad is None


def test_gradients_of_scalars_can_be_changed_in_place(device: str) -> None:
    x = mp.tensor(3.0, device=device, requires_grad=True)
    (x * x + x).backward()
    assert x.grad.item() == 7
    x.grad.mul_(0.5)
    assert x.grad.item() == 3.5
    x.grad.zero_()
    assert x.grad.item() == 0


words = st.integers(0, 0x7BFF) | st.integers(0x8000, 0xFBFF)  # finite float16


@given(st.lists(words, min_size=2, max_size=5))
def test_gradients_that_meet_are_each_rounded_and_so_is_each_sum(bits: list[int]) -> None:
    """Bit for bit, in float16, in the order in which they arrive: the last use first."""
    third = decode(encode(np.float32(1 / 3), mp.float16), mp.float16)
    factors = decode(np.array(bits, np.uint16), mp.float16)
    x = mp.tensor([1.0], dtype=mp.float16, requires_grad=True)
    total = None
    for factor in factors:
        # In float32, so that only the gradients on their way to x are float16.
        use = (x.float() * float(factor)) * float(third)
        total = use if total is None else total + use
    total.sum().backward()

    def to_half(value: Any) -> Any:
        return decode(encode(np.asarray(value, np.float32), mp.float16), mp.float16)

    with np.errstate(all="ignore"):
        arrivals = [to_half(np.float32(third) * np.float32(f)) for f in factors[::-1]]
        expected = arrivals[0]
        for arrival in arrivals[1:]:
            expected = to_half(expected + arrival)
    np.testing.assert_array_equal(x.grad.numpy(), expected.reshape(1))


def test_sums_of_gradients_round_as_the_forward_pass_did() -> None:
    x = mp.tensor([1.0], dtype=mp.bfloat16, requires_grad=True)
    with mp.rounding("nearest_even"):
        y = x * 1.0
        z = y * 1.0 + y * 0.00585
    z.backward()  # now the active mode is bfloat16's own, toward zero
    assert x.grad.item() == 1.0078125


def test_gradients_round_as_the_forward_pass_did() -> None:
    x = mp.tensor([1.0], dtype=mp.bfloat16, requires_grad=True)
    with mp.rounding("nearest_even"):
        y = x * 1.005859375
    y.backward()
    assert x.grad.item() == 1.0078125
    x.grad = None
    y = x * 1.005859375
    with mp.rounding("nearest_even"):
        y.backward()
    assert x.grad.item() == 1.0


def test_float8_weights_take_their_gradients_in_e5m2() -> None:
    x = mp.tensor([1.0, 2.0], dtype=mp.float8_e4m3fn, requires_grad=True)
    (x.float() * 1024).sum().backward()
    assert x.grad.dtype is mp.float8_e5m2
    assert x.grad.tolist() == [1024, 1024]  # beyond 448, E4M3's largest
    (x.float() * 1024).sum().backward()
    assert x.grad.tolist() == [2048, 2048]


def test_float16_gradients_underflow() -> None:
    x = mp.tensor([1.0], dtype=mp.float16, requires_grad=True)
    (x.float() * 2.0**-25).sum().backward()
    assert x.grad.item() == 0
    (x.float() * 2.0**-24).sum().backward()
    assert x.grad.item() == 2.0**-24


def chain(x: Any, length: int) -> Any:
    for _ in range(length):
        x = x + 1.0
    return x


def test_a_hundred_thousand_operations_in_a_row() -> None:
    """No recursion: forward, backward, or when the graph is dropped."""
    x = mp.tensor([1.0], requires_grad=True)
    chain(x, 100_000).backward()
    assert x.grad.tolist() == [1]
    end = weakref.ref(chain(x, 30_000))  # dropped without a backward pass
    assert end() is None


def test_memory_is_back_when_the_loss_is_dropped() -> None:
    x = mp.tensor([1.0], requires_grad=True)
    (x + 1).backward()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        loss = chain(x, 20_000)
        during = tracemalloc.get_traced_memory()[0]
        loss.backward()
        del loss
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert during - before > 20_000 * 100
    # CPython keeps up to 2,000 freed tuples of each length for later, about 100 KB of the 10 MB.
    assert after - before < 0.02 * (during - before)


@pytest.mark.parametrize("run", [False, True], ids=["dropped", "after backward"])
def test_no_reference_cycles(run: bool) -> None:
    """Without the garbage collector, everything dies with its last name."""
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        y = (x * x).exp()
        y.retain_grad()
        y.register_hook(lambda g: g * 2)
        loss = mp.softmax(y, 0).sum() + mp.layer_norm(y, (2,)).mean() + y[0]
        watched = [weakref.ref(t) for t in (x, y, loss)]
        if run:
            loss.backward()
            watched.append(weakref.ref(x.grad))
        del x, y, loss
        assert [w() for w in watched] == [None] * len(watched)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_backward_frees_what_was_saved() -> None:
    x = mp.ones(1000, requires_grad=True)
    middle = x.exp()
    saved = weakref.ref(middle)
    loss = middle.sum()
    storage = weakref.ref(middle._array)
    del middle
    assert saved() is None
    assert storage() is not None  # the gradient of exp needs it
    loss.backward()
    assert storage() is None


def test_retain_graph_keeps_it() -> None:
    x = leaf(3.0)
    loss = (x * x).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    assert x.grad.tolist() == [12]


def test_two_leaves_of_one_sum_do_not_share_a_gradient() -> None:
    x, y, given_gradient = leaf(1.0, 2.0), leaf(3.0, 4.0), mp.ones(2)
    (x + y).backward(given_gradient)
    x.grad.mul_(10)
    assert y.grad.tolist() == [1, 1]
    assert given_gradient.tolist() == [1, 1]
