"""The float64 shadow: no error where there is none, all of it where it arose."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinymp as mp
from tinymp.inspect import Attribution, OperationError, attribute_errors


def found(errors: Attribution, op: str, phase: str = "forward") -> OperationError:
    (finding,) = [f for f in errors.findings if f.op == op and f.phase == phase]
    return finding


def run_everything(x: mp.Tensor, w: mp.Tensor) -> mp.Tensor:
    """A function with products, sums, movement, broadcasting, fan-out, indexing and a mask."""
    h = mp.tanh(mp.linear(x, w, w[0]))
    h = mp.layer_norm(h + h * 0.5, (4,))
    h = mp.cat([h, mp.relu(h)]).reshape(4, -1).transpose(0, 1)
    h = mp.where(h > 0.1, h, mp.exp(h)) @ w[:, :1].expand(4, 4)
    h = mp.pad(h, (1, 0), value=0.3)
    h = mp.softmax(h, 1) + mp.logsumexp(h, 1, keepdim=True) + mp.var(h) - mp.amax(h)
    picked = h[np.array([0, 1, 1])]
    return picked.mean() + mp.cross_entropy(h, mp.tensor([0] * h.shape[0], device=x.device))


def operands(dtype: mp.DType, device: str = "cpu") -> tuple[mp.Tensor, mp.Tensor]:
    return (
        mp.randn(2, 4, device=device).to(dtype).detach().requires_grad_(),
        mp.randn(4, 4, device=device).to(dtype).detach().requires_grad_(),
    )


def test_a_float64_run_has_no_error_at_all(device: str) -> None:
    x, w = operands(mp.float64, device)
    with attribute_errors() as errors:
        run_everything(x, w).backward()
    assert len(errors.findings) > 40
    assert {(f.total, f.added, f.propagated) for f in errors.findings} == {(0.0, 0.0, 0.0)}
    assert {f.effect for f in errors.findings if f.phase == "forward"} <= {0.0, None}
    assert errors.gradient_error(x) == errors.gradient_error(w) == 0


@pytest.mark.parametrize("dtype", [mp.float32, mp.float16, mp.bfloat16], ids=lambda d: d.name)
def test_total_is_at_most_added_and_propagated(dtype: mp.DType, device: str) -> None:
    x, w = operands(dtype, device)
    with attribute_errors() as errors:
        run_everything(x, w).backward()
    for f in errors.findings:
        assert f.total <= (f.added + f.propagated) * (1 + 1e-12)
        assert f.total >= abs(f.added - f.propagated) * (1 - 1e-9)
    assert 0 < errors.gradient_error(w) < 100 * dtype.unit_roundoff()


@pytest.mark.parametrize("mode", ["nearest_even", "toward_zero"])
@pytest.mark.parametrize("dtype", [mp.float16, mp.bfloat16], ids=lambda d: d.name)
def test_one_rounding_adds_at_most_the_unit_roundoff(dtype: mp.DType, mode: str) -> None:
    """Norm-wise as element-wise: ‖x - q(x)‖ ≤ u‖x‖ in the normal range, twice u after float32."""
    x, y = mp.rand(50) + 1, mp.rand(50) + 1
    with mp.rounding(mode), attribute_errors() as errors:
        a, b = x.to(dtype), y.to(dtype)
        _ = a * b
        _ = a + b
        _ = a / b
    u = dtype.unit_roundoff(mode)
    for f in errors.findings:
        assert 0 < f.added <= u * (1 + 1e-6)
    casts = [f for f in errors.findings if f.op == "cast"]
    assert [f.propagated for f in casts] == [0, 0]
    # (1 + e)(1 + d) and (1 + e)/(1 + d): both operands' relative errors arrive.
    assert found(errors, "mul").propagated <= 2 * u * (1 + u)
    assert found(errors, "add").propagated <= u * (1 + 1e-9)


def test_errors_are_what_they_are_by_hand() -> None:
    """1 + 2^-11 rounds to 1 in FP16; squared it would have been 1 + 2^-10 + 2^-22."""
    x = mp.tensor([1 + 2.0**-11])
    with attribute_errors() as errors:
        y = x.half()
        _ = y * y
    cast, mul = errors.findings
    exact = 1 + 2.0**-11
    assert (cast.total, cast.added, cast.propagated) == (2.0**-11 / exact, 2.0**-11 / exact, 0)
    assert mul.added == 0
    assert mul.total == mul.propagated == (exact**2 - 1) / exact**2


def test_the_effects_add_up_to_the_error_of_the_loss() -> None:
    """To first order: what is left is of the order of the error squared."""
    x, w = (t.to(mp.float64).detach() for t in operands(mp.float32))
    w16 = w.half().detach().requires_grad_()

    def loss(weight: mp.Tensor) -> mp.Tensor:
        h = mp.tanh(x.to(weight.dtype) @ weight)
        return mp.mse_loss(h @ weight, mp.ones(2, 4, dtype=weight.dtype))

    with attribute_errors() as errors:
        actual = loss(w16)
        actual.backward()
    exact = loss(w16.to(mp.float64)).item()
    effects = sum(f.effect for f in errors.findings if f.effect is not None)
    error = actual.item() - exact
    # x's cast has no gradient: its share comes by hand, from the same loss on the rounded x.
    of_x = loss_on(x.half().to(mp.float64), w16.to(mp.float64)) - exact
    assert abs(error) > 1e-5
    assert abs(effects + of_x - error) < 0.02 * abs(error) + 1e-6


def loss_on(x: mp.Tensor, w: mp.Tensor) -> float:
    h = mp.tanh(x @ w)
    return mp.mse_loss(h @ w, mp.ones(2, 4, dtype=w.dtype)).item()


def test_gradients_that_meet_are_found() -> None:
    x = mp.rand(20).half().detach().requires_grad_()
    with attribute_errors() as errors:
        y = x * 1
        (y * y * y).sum().backward()
    meeting = found(errors, "3 gradients of mul met", "backward")
    assert meeting.added > 0
    assert meeting.total <= (meeting.added + meeting.propagated) * (1 + 1e-12)
    mul = [f for f in errors.findings if f.op == "mul: x" and f.phase == "backward"][-1]
    assert mul.added == 0
    assert errors.gradient_error(x) == mul.total


def test_an_operand_changed_in_place_starts_afresh() -> None:
    x = mp.tensor([1 + 2.0**-11])
    with attribute_errors() as errors:
        y = x.half()
        y.copy_(mp.tensor([1.0], mp.float16))
        _ = y + y
    assert found(errors, "add").total == 0


def test_padding_keeps_its_value_in_every_format() -> None:
    """A padding is stored as a word: 0x3FC0 for 1.5 in BF16, which read as a number is 16,320."""
    for dtype in (mp.float16, mp.bfloat16, mp.float32):
        x = mp.tensor([0.1, 0.2]).detach()
        with attribute_errors() as errors:
            y = mp.pad(x.to(dtype), (1, 1), value=1.5)
            _ = y * 1
        pad = found(errors, "pad")
        assert pad.added == 0
        assert pad.total < dtype.unit_roundoff()


def test_overflow_is_an_infinite_error_and_agreement_is_none() -> None:
    x = mp.tensor([300.0, float("inf"), float("nan")], mp.float16)
    with attribute_errors() as errors:
        _ = x * 1
        _ = x * x
    assert [(f.total, f.added) for f in errors.findings] == [(0, 0), (float("inf"), float("inf"))]


def test_gradients_accumulate_over_passes() -> None:
    w = mp.ones(3, requires_grad=True)
    with attribute_errors() as errors:
        for _ in range(3):
            (w * 2).sum().backward()
        assert errors.gradient_error(w) == 0
        assert w.grad is not None
        np.testing.assert_array_equal(w.grad.numpy(), np.full(3, 6.0))
        w.grad = None
        (w * w).sum().backward()
        assert errors.gradient_error(w) == 0


def test_backward_of_what_was_not_watched_has_local_errors_only() -> None:
    x = mp.full((3,), 0.1, dtype=mp.float16).requires_grad_()
    loss = (x * x * x).sum()
    with attribute_errors() as errors:
        loss.backward()
    assert {f.phase for f in errors.findings} == {"backward"}
    assert max(f.added for f in errors.findings) > 0


OPERATIONS: list[Callable[[mp.Tensor, mp.Tensor], mp.Tensor]] = [
    lambda x, y: x + y,
    lambda x, y: x * y,
    lambda x, y: x - y,
    mp.maximum,
    lambda x, y: x @ y,
    lambda x, y: mp.tanh(x) * 2.0,
    lambda x, y: mp.softmax(x, 0) + y,
    lambda x, y: x.transpose(0, 1),
]


@given(st.lists(st.sampled_from(range(len(OPERATIONS))), max_size=6), st.integers(0, 2**32))
@settings(max_examples=40)
def test_random_float64_programs_have_no_error(program: list[int], seed: int) -> None:
    mp.manual_seed(seed)
    x, y = operands(mp.float64)
    x = mp.cat([x, x])
    with attribute_errors() as errors:
        for step in program:
            x, y = OPERATIONS[step](x, y), x
        x.sum().backward()
    assert {(f.total, f.added, f.propagated) for f in errors.findings} == {(0.0, 0.0, 0.0)}


def test_watching_changes_nothing_and_texts() -> None:
    x, w = operands(mp.bfloat16)
    plain = run_everything(x, w)
    with attribute_errors() as errors:
        watched = run_everything(x, w)
    assert plain.item() == watched.item()
    lines = str(errors).splitlines()
    assert lines[0].split() == "# operation result total added propagated effect on loss".split()
    assert len(lines) == 2 + len(errors.findings)
    with pytest.raises(ValueError, match=r"no gradient of this tensor of shape \(4, 4\)"):
        errors.gradient_error(w)
