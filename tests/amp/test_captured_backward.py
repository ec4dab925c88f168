"""A captured loss with its gradients does what the lines of a step do, bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp import amp, nn, optim
from tinymp.autograd import Op, apply
from tinymp.inspect import trace
from tinymp.nn.functional import cross_entropy

Backward = Callable[..., mp.Tensor]
#: Makes a function of arguments and a weight out of a loss, masters and a scaler.
Maker = Callable[[Any, Any, Any], Backward]


def line_by_line(loss_of: Any, masters: Any = None, scaler: Any = None) -> Backward:
    """What `capture_backward` promises to do."""

    def backward(*arguments: mp.Tensor, weight: float = 1.0) -> mp.Tensor:
        loss = loss_of(*arguments)
        scaled = loss * weight if scaler is None else scaler.scale(loss * weight)
        scaled.backward()
        if masters is not None:
            masters.copy_gradients(accumulate=True)
        return loss.detach()

    return backward


HOW: tuple[Maker, Maker] = (amp.capture_backward, line_by_line)


def bits(x: Any) -> Any:
    return None if x is None else (x.dtype.name, x.shape, x.storage.tobytes())


POLICIES = {
    "float32": amp.Policy(),
    "bfloat16, truncated": amp.Policy(mp.bfloat16, masters=True, rounding="toward_zero"),
    "bfloat16": amp.Policy(mp.bfloat16, masters=True),
    "bfloat16, no masters": amp.Policy(mp.bfloat16),
    "float16": amp.Policy(
        mp.float16,
        masters=True,
        scaler=amp.DynamicLossScale(init_scale=2.0**24, growth_interval=3),
    ),
    "float16, its loss, too": amp.Policy(
        mp.float16, output=mp.float16, masters=True, scaler=amp.StaticLossScale(333.0)
    ),
    "autocast": amp.get_policy("autocast-fp16"),
}


def training(make: Any, policy: amp.Policy, how: Maker) -> list[Any]:
    """Everything that a training of ten steps of two microbatches leaves behind."""
    mp.manual_seed(3)
    model, batch = make()
    model = policy.cast_model(model)
    masters, scaler = policy.make_masters(model), policy.make_scaler()
    optimizer = optim.AdamW(masters.parameters(), lr=0.01)

    def loss_of(x: mp.Tensor, y: mp.Tensor) -> mp.Tensor:
        with policy.autocast_context():
            scores = policy.cast_output(model(policy.cast_input(x)))
        return cross_entropy(scores.reshape(-1, scores.shape[-1]), y.reshape(-1))

    backward, seen = how(loss_of, masters, scaler), []
    with policy.rounding_context():
        for _ in range(10):
            optimizer.zero_grad()
            seen += [bits(backward(*batch(), weight=share)) for share in (0.3, 0.7)]
            scaler.step(optimizer)
            scaler.update()
            seen += [bits(master.grad) for master in masters.parameters()]
            seen += [bits(p.grad) for p in model.parameters()]
            masters.copy_weights()
    state = [*model.state_dict().values(), *masters.parameters()]
    trace = [tuple(map(repr, record)) for record in scaler.trace]  # NaN does not equal itself
    return [*seen, *map(bits, state), scaler.state_dict(), trace]


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_training_leaves_the_same_behind(small_model: Any, policy: amp.Policy) -> None:
    captured, lines = (training(small_model, policy, how) for how in HOW)
    assert captured == lines
    if policy.scaler is not None and policy.scaler.init_scale == 2.0**24:
        assert {record[-1] for record in lines[-1]} == {"True", "False"}  # steps were skipped


@pytest.mark.parametrize("dtype", [mp.float32, mp.float16])
@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x, y, c: (c * (x + y)).sum(), ([1, 1], [1, 1])),
        (lambda x, y, c: (c * ((x + y) + x.reshape(1, 2).reshape(2))).sum(), ([2, 2], [1, 1])),
        (lambda x, y, c: (x.reshape(1, 2) @ c.reshape(2, 1)).reshape(()) + y[0], ([1, 1], [1, 0])),
    ],
)
def test_gradients_are_everyones_own(function: Any, expected: Any, dtype: Any) -> None:
    x, y = (mp.ones(2, dtype=dtype).requires_grad_() for _ in range(2))
    masters = amp.MasterWeights([x, y])
    for given in (masters, None):
        backward = amp.capture_backward(lambda c: function(x, y, c), given)
        a, b = (x, y) if given is None else given.parameters()
        for _ in range(2):
            a.grad = b.grad = None
            backward(mp.ones(2, dtype=dtype))
            assert (a.grad.tolist(), b.grad.tolist()) == expected
            a.grad.mul_(8)
            assert b.grad.tolist() == expected[1]


def test_gradients_keep_no_other_memory_alive() -> None:
    x, y = mp.ones(3).requires_grad_(), mp.ones(5).requires_grad_()
    amp.capture_backward(lambda c: (mp.cat([x, y]) * c).sum())(mp.ones(8))
    for leaf in (x, y):
        assert leaf.grad is not None
        assert leaf.grad.storage.base.nbytes == leaf.grad.nbytes


def test_the_first_gradient_stays_what_it_is() -> None:
    x = mp.ones(()).requires_grad_()
    backward = amp.capture_backward(lambda c: x + c)
    for _ in range(2):
        x.grad = None
        backward(mp.ones(()))
        assert x.grad is not None
        assert x.grad.mul_(2).item() == 2


def test_gradients_that_are_broadcast_can_be_changed() -> None:
    x, y, c = mp.ones(3).requires_grad_(), mp.ones(3, 1).requires_grad_(), mp.ones(())
    backward = amp.capture_backward(lambda c: x.sum() * c + (y.sum(1) * c).sum())
    for _ in range(2):
        x.grad = y.grad = None
        backward(c)
        assert x.grad is not None
        assert y.grad is not None
        assert x.grad.mul_(2).tolist() == [2, 2, 2]
        assert y.grad.mul_(2).tolist() == [[2], [2], [2]]


def test_gradients_that_meet_are_rounded_as_they_come() -> None:
    double = Op("double", lambda xp, x: 2 * x, x=lambda xp, g: g + np.float32(2.0**-12))
    found = []
    for how in HOW:
        mp.manual_seed(0)
        x = mp.randn(50).half().requires_grad_()
        masters = amp.MasterWeights([x])

        def loss_of(c: mp.Tensor, x: mp.Tensor = x) -> mp.Tensor:
            with mp.rounding("toward_zero"):
                cut = x * c * 1.3
            return (apply(double, x) * c + cut + x.tanh()).sum()

        backward = how(loss_of, masters, None)
        for _ in range(2):
            backward(mp.rand(50).half())
        found.append(bits(masters.parameters()[0].grad))
    assert found[0] == found[1]


def setting(how: Maker) -> tuple[nn.Module, amp.MasterWeights, amp.GradScaler, Backward]:
    mp.manual_seed(0)
    model = nn.Linear(3, 2).half()
    masters, scaler = amp.MasterWeights(model.parameters()), amp.GradScaler(init_scale=8.0)
    return model, masters, scaler, how(lambda x: model(x).float().square().mean(), masters, scaler)


def test_hooks_are_called_and_old_gradients_added_to() -> None:
    found: list[list[Any]] = []
    for how in HOW:
        model, masters, _, backward = setting(how)
        x, seen = mp.randn(4, 3).half(), []
        backward(x)
        weight = model.weight
        remove = weight.register_hook(lambda g, seen=seen: seen.append(bits(g)))
        backward(x)
        remove()
        weight.grad = mp.full((2, 3), 0.1, dtype=mp.float16)
        backward(x)
        found.append([*seen, weight.grad, *(bits(p.grad) for p in masters.parameters())])
        assert len(seen) == 1
    assert found[0] == found[1]


def test_whoever_watches_sees_the_operations() -> None:
    _, _, _, backward = setting(amp.capture_backward)
    x = mp.randn(4, 3).half()
    backward(x)
    with trace() as run:
        backward(x)
    assert "linear" in [event.contract.op for event in run.events]


def test_a_model_that_was_converted_is_an_error_as_ever() -> None:
    for how in HOW:
        model, _, _, backward = setting(how)
        backward(mp.randn(4, 3).half())
        model.bfloat16()
        with pytest.raises(
            RuntimeError,
            match=r"(copy_gradients|capture_backward) found .* float16 on cpu when its master was "
            "made, and is b",
        ):
            backward(mp.randn(4, 3).bfloat16())


def test_losses_that_have_no_gradient_are_errors_as_ever() -> None:
    w = mp.ones(3).requires_grad_()
    for how in HOW:
        with pytest.raises(RuntimeError, match=r"without a gradient on a tensor of shape \(3,\)"):
            how(lambda x: x * w, None, None)(mp.ones(3))
        with pytest.raises(RuntimeError, match="that has no graph"):
            how(lambda x: (x * 2).sum(), None, None)(mp.ones(3))
        backward = how(lambda x: (x * w).sum(), None, None)
        with mp.no_grad(), pytest.raises(RuntimeError, match="that has no graph"):
            backward(mp.ones(3))


def test_running_means_follow_once_a_call() -> None:
    found = []
    for how in HOW:
        mp.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        backward = how(lambda x, y, model=model: cross_entropy(model(x), y), None, None)
        y = mp.tensor([0, 1, 2, 3, 0])
        for labels in (y, y, mp.tensor([0, 1, -100, 3, 0]), y):  # the third goes another way
            backward(mp.randn(5, 3), labels)
        found.append([*map(bits, model.state_dict().values())])
        found[-1] += [bits(p.grad) for p in model.parameters()]
    assert found[0] == found[1]


def test_arguments_may_have_gradients_and_graphs() -> None:
    found = []
    for how in HOW:
        backward = how(lambda x: (x * x).sum(), None, None)
        for _ in range(2):
            leaf = mp.ones(3).requires_grad_()
            backward(leaf)
            backward(leaf * 2, weight=0.5)
            found.append(bits(leaf.grad))
    assert len(set(found)) == 1


def test_the_scaler_knows_the_loss_for_its_diagnosis() -> None:
    for how in HOW:
        _, masters, scaler, backward = setting(how)
        optimizer = optim.SGD(masters.parameters(), lr=0.1)

        def step(value: float) -> mp.Tensor:
            optimizer.zero_grad()
            loss = backward(mp.full((4, 3), value, dtype=mp.float16))
            scaler.step(optimizer)
            scaler.update()
            return loss

        assert not step(1.0).requires_grad
        with pytest.warns(amp.LossScaleWarning, match="its loss was nan before scaling"):
            step(float("nan"))


def test_a_scaler_in_the_middle_of_nothing_says_so_as_ever() -> None:
    _, masters, scaler, _ = setting(amp.capture_backward)
    with pytest.raises(RuntimeError, match="never scaled a loss"):
        scaler.step(optim.SGD(masters.parameters(), lr=0.1))


def test_what_cannot_be_repeated_is_refused() -> None:
    w = mp.ones(3).half().requires_grad_()
    backward = amp.capture_backward(lambda x: nn.functional.dropout(x * w).sum())
    with pytest.raises(RuntimeError, match="drew random numbers"):
        backward(mp.ones(3).half())
    backward = amp.capture_backward(lambda x: (x * w).sum())
    with mp.rounding("stochastic"), pytest.raises(RuntimeError, match="drew random numbers"):
        backward(mp.ones(3).half())
    with pytest.raises(TypeError, match="called with a ndarray; its arguments are tensors"):
        backward(np.ones(3))
    with pytest.raises(TypeError, match="given a Tensor; it takes a function"):
        amp.capture_backward(w)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="given a Linear where it takes MasterWeights: capture_b"):
        amp.capture_backward(lambda x: x, nn.Linear(2, 2))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="given a MasterWeights where it takes GradScaler: capture"):
        amp.capture_backward(lambda x: x, None, amp.MasterWeights([w]))  # type: ignore[arg-type]


def test_a_weight_is_a_number_in_any_form() -> None:
    w = mp.ones(3).requires_grad_()
    backward = amp.capture_backward(lambda x: (x * w).sum())
    for weight in (0.5, np.float32(0.5), mp.tensor(0.5)):
        w.grad = None
        backward(mp.ones(3), weight=weight)
        assert w.grad is not None
        assert w.grad.tolist() == [0.5, 0.5, 0.5]


class Bound:
    """A model, its masters, and a captured backward whose loss is a method: all are copied."""

    def __init__(self) -> None:
        self.model = nn.Linear(3, 2).half()
        self.masters = amp.MasterWeights(self.model.parameters())
        self.backward = amp.capture_backward(self.loss_of, self.masters)

    def loss_of(self, x: mp.Tensor) -> mp.Tensor:
        return self.model(x).float().square().mean()


def test_a_copy_works_on_masters_of_its_own() -> None:
    one, x = Bound(), mp.randn(4, 3).half()
    one.backward(x)
    other = copy.deepcopy(one)
    before = [bits(master.grad) for master in one.masters.parameters()]
    assert (one.backward.source != "", other.backward.source) == (True, "")
    other.backward(x)
    assert [bits(master.grad) for master in one.masters.parameters()] == before
    assert [bits(master.grad) for master in other.masters.parameters()] != before
    assert [p.grad for p in (*one.model.parameters(), *other.model.parameters())] == [None] * 4


def test_gradients_for_masters_never_become_words() -> None:
    _, _, _, backward = setting(amp.capture_backward)
    assert backward.source == ""
    backward(mp.randn(4, 3).half())
    last = [line.strip() for line in backward.source.splitlines()[-5:]]
    assert last == [
        "g_p_weight = linear_weight(xp, g_linear_1, x_values)",
        "g_p_bias = linear_bias(xp, g_linear_1)",
        "g_p_weight = representable(g_p_weight, float16, 'nearest_even')",
        "g_p_bias = representable(g_p_bias, float16, 'nearest_even')",
        "return (g_p_weight, g_p_bias)",
    ]


def test_a_gpu_has_its_own_way(device: str) -> None:
    weight = mp.ones(3, device=device, requires_grad=True)
    backward = amp.capture_backward(lambda x: (x * weight).sum())
    if device == "cpu":
        assert backward(mp.ones(3)).item() == 3
    else:
        with pytest.raises(RuntimeError, match=r"on a GPU.*--device cuda --capture"):
            backward(mp.ones(3, device=device))
