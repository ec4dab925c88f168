"""no_grad and enable_grad: nested, as decorators, in threads."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import tinymp as mp


def recorded() -> bool:
    """Whether an operation on a tensor that requires a gradient is recorded here."""
    made = mp.ones(1, requires_grad=True) * 2
    assert (made.node is not None) == made.requires_grad == mp.is_grad_enabled()
    return made.requires_grad


def test_nesting() -> None:
    assert recorded()
    with mp.no_grad():
        assert not recorded()
        with mp.enable_grad():
            assert recorded()
            with mp.no_grad():
                assert not recorded()
            assert recorded()
        assert not recorded()
    assert recorded()


def test_an_error_inside_restores_the_mode() -> None:
    with pytest.raises(ZeroDivisionError), mp.no_grad():
        raise ZeroDivisionError
    assert recorded()


def test_one_object_can_be_entered_again_and_nested() -> None:
    off = mp.no_grad()
    for _ in range(2):
        with off, off:
            assert not recorded()
        assert recorded()


def test_as_decorators() -> None:
    @mp.no_grad()
    def off() -> bool:
        return recorded()

    @mp.enable_grad()
    def on() -> bool:
        return recorded()

    with mp.no_grad():
        assert on()
        assert not off()
    assert not off()
    assert recorded()


def test_a_new_thread_records() -> None:
    found: list[bool] = []
    with mp.no_grad():
        thread = threading.Thread(target=lambda: found.append(recorded()))
        thread.start()
        thread.join()
        assert not recorded()
    assert found == [True]


def test_two_threads_may_be_inside_one_decorated_function() -> None:
    inside = threading.Barrier(2)
    errors: list[BaseException] = []

    @mp.no_grad()
    def both() -> None:
        inside.wait(10)
        assert not recorded()
        inside.wait(10)

    def run() -> None:
        try:
            both()
            assert recorded()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_detach_and_data_leave_the_graph() -> None:
    x = mp.tensor([3.0], requires_grad=True)
    for outside in (x.detach(), (x * 1).detach(), x.data):
        assert not outside.requires_grad
        assert outside.node is None
    (x * x.detach()).sum().backward()
    assert x.grad.tolist() == [3]


def test_integers_and_booleans_never_take_gradients() -> None:
    x = mp.tensor([1.0, -1.0], requires_grad=True)
    for result in (x > 0, x.argmax(), x.to(mp.int64), x.to(mp.bool)):
        assert not result.requires_grad
        assert result.node is None


@pytest.mark.parametrize("make", [lambda: mp.tensor([1], requires_grad=True),
                                  lambda: mp.tensor([True]).requires_grad_()])  # fmt: skip
def test_asking_for_a_gradient_of_integers_is_an_error(make: Any) -> None:
    with pytest.raises(TypeError, match=r"(int64|bool).*only floating-point tensors have grad"):
        make()
