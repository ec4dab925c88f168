"""A captured function has the bits of the function, or says that it cannot be captured."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp import amp, models, nn, optim
from tinymp.autograd import Op, apply
from tinymp.inspect import trace
from tinymp.nn.functional import cross_entropy

Function = Callable[..., mp.Tensor]


def bits(x: Any) -> bytes:
    return bytes(x.storage.tobytes())


POLICIES = {
    "float32": amp.Policy(),
    "bfloat16, truncated": amp.Policy(mp.bfloat16, masters=True, rounding="toward_zero"),
    "bfloat16": amp.Policy(mp.bfloat16, masters=True, rounding="nearest_even"),
    "float16": amp.Policy(mp.float16, masters=True, scaler=amp.DynamicLossScale()),
    "autocast": amp.get_policy("autocast-fp16"),
}


def training(make: Any, policy: amp.Policy, how: Callable[[Function], Function]) -> list[bytes]:
    """Losses, and weights in the end, of a training whose loss is computed by `how`."""
    mp.manual_seed(3)
    model, batch = make()
    model = policy.cast_model(model)
    masters, scaler = policy.make_masters(model), policy.make_scaler()
    optimizer = optim.SGD(masters.parameters(), lr=0.1, momentum=0.9)

    def loss_of(x: mp.Tensor, y: mp.Tensor) -> mp.Tensor:
        with policy.autocast_context():
            scores = policy.cast_output(model(policy.cast_input(x)))
        return cross_entropy(scores.reshape(-1, scores.shape[-1]), y.reshape(-1))

    step, losses = how(loss_of), []
    with policy.rounding_context():
        for _ in range(6):
            optimizer.zero_grad()
            loss = step(*batch())
            scaler.scale(loss).backward()
            masters.copy_gradients()
            scaler.step(optimizer)
            scaler.update()
            masters.copy_weights()
            losses.append(bits(loss))
    state = model.state_dict()
    return [*losses, *map(bits, state.values())]


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_training_has_the_same_bits(small_model: Any, policy: amp.Policy) -> None:
    assert training(small_model, policy, mp.capture) == training(small_model, policy, lambda f: f)


def counted(function: Function) -> tuple[Function, list[int]]:
    """The function, and a list that grows with its calls."""
    calls: list[int] = []

    def noted(*arguments: mp.Tensor) -> mp.Tensor:
        calls.append(len(calls))
        return function(*arguments)

    return noted, calls


def test_the_function_runs_once_for_each_kind_of_call() -> None:
    weight = mp.randn(3).requires_grad_()
    layer = nn.ReLU()
    function, calls = counted(lambda x: layer(x * weight).sum())
    captured = mp.capture(function)
    x = mp.randn(2, 3)

    def runs(*arguments: mp.Tensor) -> int:
        before = len(calls)
        assert bits(captured(*arguments)) == bits((arguments[0] * weight).relu().sum())
        return len(calls) - before

    assert [runs(x), runs(x), runs(x + 1)] == [1, 0, 0]
    assert [runs(mp.randn(4, 3)), runs(x)] == [1, 0]  # another shape
    assert [runs(x.half()), runs(x)] == [1, 0]  # another dtype
    assert [runs(x.clone().requires_grad_()), runs(x)] == [1, 0]
    with mp.no_grad():
        assert [runs(x), runs(x)] == [1, 0]
        assert not captured(x).requires_grad
    with mp.rounding("toward_zero"):
        assert [runs(x), runs(x)] == [1, 0]
    layer.eval()
    assert [runs(x), runs(x)] == [1, 0]
    layer.train()
    assert runs(x) == 0
    with mp.accumulation("float16"):
        assert [runs(x), runs(x)] == [1, 0]
    weight.data = weight.data.half()
    assert [runs(x), runs(x)] == [1, 0]


def test_parameters_are_looked_up_anew() -> None:
    weight = mp.randn(3).requires_grad_()
    captured = mp.capture(lambda x: (x * weight).sum())
    x = mp.randn(3)
    captured(x)
    weight.data.copy_([1, 2, 3])
    assert captured(x).item() == (x * mp.tensor([1.0, 2.0, 3.0])).sum().item()
    weight.data = mp.tensor([3.0, 2.0, 1.0])  # of the same kind, in another place
    assert captured(x).item() == (x * mp.tensor([3.0, 2.0, 1.0])).sum().item()


def test_results_go_on_into_other_operations_and_gradients_add_up() -> None:
    def gradients(how: Callable[[Function], Function]) -> list[bytes]:
        mp.manual_seed(1)
        weight = mp.randn(4, 3).requires_grad_()
        x = mp.randn(2, 3).requires_grad_()
        twice = how(lambda x: (x @ weight.mT).relu() + x.sum())
        y = twice(x * 2) * twice(x)  # an argument that has a graph itself
        (y.mean() * 8).backward()
        twice(x).sum().backward()
        return [bits(weight.grad), bits(x.grad), bits(y)]

    assert gradients(mp.capture) == gradients(lambda f: f)


def test_arguments_that_are_one_tensor_stay_two_arguments() -> None:
    captured = mp.capture(lambda x, y: (x * 2 + y).sum())
    x, y = mp.ones(2).requires_grad_(), mp.ones(2).requires_grad_()
    captured(x, x).backward()
    assert x.grad is not None
    assert x.grad.tolist() == [3, 3]
    captured(x, y).backward()
    assert y.grad is not None
    assert (x.grad.tolist(), y.grad.tolist()) == ([5, 5], [1, 1])


def test_each_leaf_gets_a_gradient_of_its_own() -> None:
    x, y = mp.ones(2).requires_grad_(), mp.ones(2).requires_grad_()
    for function in (lambda: x + y, lambda: (x + y) * 1):
        captured, g = mp.capture(function), mp.ones(2)
        for _ in range(2):
            x.grad = y.grad = None
            captured().backward(g)
            assert x.grad is not None
            x.grad.mul_(7)
            assert y.grad is not None
            assert (y.grad.tolist(), g.tolist()) == ([1, 1], [1, 1])


def test_a_view_is_a_view() -> None:
    captured = mp.capture(lambda x: x.reshape(6))
    for x in (mp.ones(2, 3), mp.ones(2, 3), mp.ones(3, 2).mT, mp.ones(3, 2).mT):
        out = captured(x)
        out.detach().zero_()
        shared = np.shares_memory(out.storage, x.storage)
        assert (x.sum().item() == 0) == shared == (x.version.count == 1)


def test_sums_that_undo_broadcasting_are_rounded() -> None:
    chosen = Op(
        "chosen",
        lambda xp, x, y: xp.where(x > 0, x, y),
        x=lambda xp, g, x: xp.where(x > 0, g, 0),
        y=lambda xp, g, x: xp.where(x > 0, 0, g),
        exact=True,
    )

    def gradient(how: Callable[[Function], Function]) -> bytes:
        mp.manual_seed(0)
        x, g = mp.randn(50, 7).bfloat16(), mp.rand(50, 7).bfloat16()
        y = mp.zeros(7).bfloat16().requires_grad_()
        how(lambda x, y: apply(chosen, x, y))(x, y).backward(g)
        return bits(y.grad)

    with mp.rounding("nearest_even"):
        assert gradient(mp.capture) == gradient(lambda f: f)


def test_what_the_result_does_not_depend_on_gets_no_gradient() -> None:
    x, y = mp.ones(2).requires_grad_(), mp.ones(2).requires_grad_()

    def function(x: mp.Tensor, y: mp.Tensor) -> mp.Tensor:
        y * 2
        return x * 3

    captured = mp.capture(function)
    captured(x, y).sum().backward()
    assert x.grad is not None
    assert (x.grad.tolist(), y.grad) == ([3, 3], None)


def test_gradients_of_functions_and_of_captured_ones() -> None:
    x = mp.randn(3)
    captured = mp.capture(lambda x: (x.exp() * x).sum())
    assert bits(mp.grad(captured)(x)) == bits(mp.grad(lambda x: (x.exp() * x).sum())(x))
    assert bits(mp.grad(captured)(x)) == bits(mp.grad(captured)(x))


def test_backward_again_needs_a_kept_graph() -> None:
    x = mp.randn(3).requires_grad_()
    captured = mp.capture(lambda x: (x * x).sum())
    loss = captured(x)
    loss.backward(retain_graph=True)
    loss.backward()
    assert x.grad is not None
    assert x.grad.tolist() == (4 * x.detach()).tolist()
    with pytest.raises(RuntimeError, match=r"result of 'captured' a second time"):
        loss.backward()


def test_an_operand_changed_before_backward_is_an_error() -> None:
    x, bias = mp.randn(3).requires_grad_(), mp.randn(3).requires_grad_()
    captured = mp.capture(lambda x: ((x + bias) * x).sum())
    captured(x).backward()
    loss = captured(x)
    bias.data.zero_()  # which no gradient needs
    loss.backward()
    loss = captured(x)
    x.data.zero_()
    with pytest.raises(RuntimeError, match=r"operand of shape \(3,\), float32, of a captured"):
        loss.backward()


def test_a_result_changed_before_backward_is_an_error() -> None:
    for function in (lambda x: x.exp(), lambda x: x.exp().reshape(3, 1)):
        out = mp.capture(function)(mp.ones(3).requires_grad_())
        out.detach().zero_()
        with pytest.raises(RuntimeError, match=r"result of a captured .* version 0"):
            out.sum().backward()


def test_a_dtype_changed_before_backward_is_an_error() -> None:
    weight = mp.ones(3).requires_grad_()
    loss = mp.capture(lambda x: (weight * x).sum())(mp.ones(3))
    weight.data = weight.data.half()
    with pytest.raises(RuntimeError, match=r"another dtype before backward, whose .* float16"):
        loss.backward()


@pytest.mark.parametrize("dtype", [mp.float32, mp.float16, mp.bfloat16])
def test_gradients_from_inside_and_outside_add_up_in_the_same_order(dtype: Any) -> None:
    def gradients(how: Callable[[Function], Function]) -> list[bytes]:
        mp.manual_seed(0)
        w = mp.randn(30, 30, dtype=dtype, requires_grad=True)
        x = mp.randn(4, 30, dtype=dtype, requires_grad=True)
        f = how(lambda x: (x @ w).tanh() @ w * (x @ w).sigmoid())
        h = x * 1
        (f(x).sum() + f(h).sum() + (h + f(h)).sum()).backward()
        both = how(lambda x, y: (x * y + x).tanh() * y)
        both(x, x).sum().backward()
        return [bits(w.grad), bits(x.grad)]

    assert gradients(mp.capture) == gradients(lambda f: f)


def test_roundings_inside_serve_where_gradients_meet() -> None:
    def inside(x: mp.Tensor) -> mp.Tensor:
        with mp.rounding("toward_zero"):
            return (x * 1.3).tanh() + (x * 0.7).exp()

    def gradients(f: Function) -> bytes:
        mp.manual_seed(0)
        x = mp.randn(500).half().requires_grad_()
        (f(x) + f(x)).sum().backward()
        return bits(x.grad)

    assert gradients(mp.capture(inside)) == gradients(inside)

    def in_two_ways(x: mp.Tensor) -> mp.Tensor:
        return inside(x) + x * 2

    with pytest.raises(RuntimeError, match="in several ways"):
        gradients(mp.capture(in_two_ways))


def test_detached_parameters_are_looked_up_anew() -> None:
    weight = mp.ones(3).requires_grad_()
    captured = mp.capture(lambda x: x * weight.detach() + x * weight.data)
    x = mp.ones(3)
    assert captured(x).tolist() == [2, 2, 2]
    weight.data = mp.full(3, 5.0)
    assert captured(x).tolist() == [10, 10, 10]
    norm = nn.BatchNorm1d(3, affine=False).eval()
    normed = mp.capture(lambda x: norm(x) * 1)
    y = mp.randn(2, 3)
    normed(y)
    norm.running_mean.data = mp.full(3, 2.0)  # type: ignore[union-attr]
    assert bits(normed(y)) == bits(norm(y) * 1)


def test_a_leaf_that_is_changed_after_its_use_gets_its_gradient() -> None:
    weight = mp.ones(3).requires_grad_()

    def function(x: mp.Tensor) -> mp.Tensor:
        y = x + weight
        weight.data.mul_(0.5)
        return y

    captured = mp.capture(function)
    for _ in range(2):
        captured(mp.ones(3)).sum().backward()
    assert weight.grad is not None
    assert (weight.grad.tolist(), weight.tolist()) == ([2, 2, 2], [0.25, 0.25, 0.25])


def test_random_numbers_that_only_backward_draws_are_refused() -> None:
    v = mp.ones(3).requires_grad_()
    captured = mp.capture(lambda x: (x.float() * v).sum())
    x, before = mp.ones(3).half().requires_grad_(), mp.devices.get_rng_state()
    with mp.rounding("stochastic"), pytest.raises(RuntimeError, match="drew random numbers"):
        captured(x)
    assert mp.devices.get_rng_state() == before


def test_copies_of_models_capture_for_themselves() -> None:
    layer = nn.Linear(2, 2)
    layer.loss_of = mp.capture(lambda x: (x * 2).sum())
    layer.loss_of(mp.ones(2))
    copied = copy.deepcopy(layer)
    assert (layer.loss_of.source != "", copied.loss_of.source) == (True, "")
    function, calls = counted(lambda x: x * 2)
    captured = mp.capture(function)
    for _ in range(3):
        captured(copy.deepcopy(mp.ones(2)))
    assert len(calls) == 1


def test_threads_have_contexts_of_their_own() -> None:
    captured = mp.capture(lambda x: mp.nn.functional.binary_cross_entropy(x.sigmoid(), x * 0))
    found: list[float] = []
    thread = Thread(target=lambda: found.append(captured(mp.ones(3)).item()))
    thread.start()
    thread.join()
    assert found == [captured(mp.ones(3)).item()]


def test_any_name_of_an_operation_will_do() -> None:
    double = Op("my-own op", lambda xp, x: 2 * x, x=lambda xp, g: 2 * g)
    captured = mp.capture(lambda x: apply(double, x))
    assert captured(mp.ones(2)).tolist() == [2, 2]


def test_labels_and_tokens_are_checked_each_time() -> None:
    table = mp.randn(4, 3).requires_grad_()
    captured = mp.capture(lambda t, y: cross_entropy(mp.embedding(t, table), y))
    good, ignored = mp.tensor([0, 2]), mp.tensor([1, -100])
    plain = captured(good, good).item()
    with pytest.raises(ValueError, match="was given the label 3"):
        captured(good, mp.tensor([3, 0]))
    with pytest.raises(IndexError, match="was given the token 4"):
        captured(mp.tensor([4, 0]), good)
    # Here the function takes another way, and so is called itself.
    expected = cross_entropy(mp.embedding(good, table), ignored).item()
    assert captured(good, ignored).item() == expected
    assert captured(good, good).item() == plain


def test_overflow_and_nan_are_results_as_ever() -> None:
    x = mp.randn(40, 5).half().requires_grad_()
    weight = mp.randn(6, 5).half().requires_grad_()
    function = lambda x: mp.linear(x, weight).relu().mean()  # noqa: E731
    captured = mp.capture(function)
    captured(x)
    for bad in (1e5, float("nan"), float("-inf")):
        y = x.detach().clone()
        y[3, 1] = bad
        y.requires_grad_()
        found: list[list[bytes]] = []
        for f in (captured, function):
            y.grad = weight.grad = None
            out = f(y)
            out.backward()
            assert y.grad is not None
            assert weight.grad is not None
            found.append([bits(out), bits(y.grad), bits(weight.grad)])
        assert found[0] == found[1]


def test_whoever_watches_sees_the_operations() -> None:
    x = mp.randn(3).requires_grad_()
    captured = mp.capture(lambda x: (x * x).sum())
    captured(x)
    with trace() as run:
        captured(x).backward()
    assert [event.contract.op for event in run.events] == ["mul", "sum", "sum", "mul"]
    loss = captured(x)
    with trace() as run:  # of what was done before only the whole is left
        loss.backward()
    assert [event.contract.op for event in run.events] == ["captured"]


def test_a_captured_function_inside_another() -> None:
    inner = mp.capture(lambda x: x * x)
    outer = mp.capture(lambda x: inner(x).sum())
    x = mp.randn(3).requires_grad_()
    assert bits(outer(x)) == bits(inner(x).sum()) == bits((x * x).sum())


def test_running_means_follow_once_a_call() -> None:
    def means(how: Callable[[Function], Function]) -> list[bytes]:
        mp.manual_seed(0)
        norm = nn.BatchNorm1d(3)
        step = how(lambda x: norm(x).sum())
        found = []
        for _ in range(3):
            step(mp.randn(5, 3))
            state = norm.state_dict().values()
            found += [bits(x) + bytes([x.version.count]) for x in state]
        norm.eval()
        return [*found, bits(step(mp.ones(5, 3))), bits(step(mp.ones(5, 3)))]

    assert means(mp.capture) == means(lambda f: f)


def test_the_source_is_a_program() -> None:
    weight = mp.randn(2, 3).half().requires_grad_()
    captured = mp.capture(lambda x: mp.linear(x, weight).relu())
    assert captured.source == ""
    captured(mp.randn(4, 3).half())
    lines = [line.strip() for line in captured.source.splitlines()]
    assert lines == [
        "def forward(x, p_1):",
        "x_values = unpack(x, float16)",
        "p_1_values = unpack(p_1, float16)",
        "linear_1 = linear(xp, x_values, p_1_values)",
        "linear_1 = representable(linear_1, float16, 'nearest_even')",
        "relu_1 = relu(xp, linear_1)",
        "relu_1_words = pack(relu_1, float16, 'nearest_even')",
        "return relu_1_words, (x_values, relu_1)",
        "",
        "",
        "def backward(g, kept):",
        "(x_values, relu_1) = kept",
        "g_values = unpack(g, float16)",
        "g_linear_1 = relu_x(xp, g_values, relu_1)",
        "g_p_1 = linear_weight(xp, g_linear_1, x_values)",
        "g_p_1_words = pack(g_p_1, float16, 'nearest_even')",
        "return (g_p_1_words,)",
    ]


def test_long_arrays_are_stored_and_deleted() -> None:
    captured = mp.capture(lambda x: (x * 2).exp().sum())
    x = mp.randn(40_000).half().requires_grad_()
    loss = captured(x)
    loss.backward()
    assert "    mul_1 = pack(mul_1, float16, 'nearest_even')\n" in captured.source
    assert "exp(xp, unpack(mul_1, float16))\n    del mul_1\n" in captured.source
    expected = x.detach().requires_grad_()
    (expected * 2).exp().sum().backward()
    assert expected.grad is not None
    assert x.grad is not None
    assert bits(x.grad) == bits(expected.grad)


HELD = mp.ones(3)
WEIGHT = mp.ones(3).requires_grad_()
GRAPH = WEIGHT * 2


def hooked(x: mp.Tensor) -> mp.Tensor:
    x.register_hook(lambda g: None)
    return x * 2


def given_data(x: mp.Tensor) -> mp.Tensor:
    HELD.data = x
    return x * 2


def written(x: mp.Tensor) -> mp.Tensor:
    buffer = mp.zeros(3)
    buffer.copy_(x)
    return buffer * 2


REFUSED: dict[str, tuple[Function, str]] = {
    "item": (lambda x: x * x.sum().item(), "read values"),
    "if": (lambda x: x * 2 if x.sum() > 0 else x, "read values"),
    "numpy": (lambda x: x + mp.tensor(x.numpy()), "read values"),
    "storage": (lambda x: x * int(x.storage.size), "read the storage"),
    "print": (lambda x: x * len(repr(x)), "read values"),
    "index": (lambda x: x[mp.tensor([0, 1])] * 2, "index that is a tensor"),
    "dropout": (lambda x: nn.functional.dropout(x * 2), "drew random numbers"),
    "noise": (lambda x: x + mp.randn(3), "drew random numbers"),
    "backward": (lambda x: (x * HELD.requires_grad_()).sum().backward() or x, "called backward"),
    "hook": (lambda x: hooked(x * WEIGHT), "registered a hook"),
    "graph": (lambda x: x * GRAPH, "that has a graph"),
    "checkpoint": (
        lambda x: mp.checkpoint(lambda y: (y * y).exp(), x * HELD.requires_grad_()),
        "used a checkpoint",
    ),
    "argument": (lambda x: x.mul_(2) * 1, "changed an argument"),
    "data": (given_data, "gave a tensor other data"),
    "written": (written, "after it had changed it in place"),
    "leaf": (lambda x: (x * 2).detach().requires_grad_() * 3, "made a new leaf"),
    "parameter": (lambda x: nn.Parameter(x) * 3, "made a new leaf"),
    "requires_grad": (lambda x: x.requires_grad_() * 3, "whether an argument requires"),
    "late graph": (lambda x: x * GRAPH.detach() + x * GRAPH, "that has a graph"),
    "leaf's hook": (lambda x: hooked(WEIGHT) * x, "registered a hook"),
    "retained": (lambda x: (x.retain_grad(), x * 2)[1], "had a gradient retained"),
    "zero_grad": (lambda x: (optim.SGD([WEIGHT]).zero_grad(), x * 2)[1], "dropped gradients"),
    "clip": (lambda x: (optim.clip_grad_norm_([WEIGHT], 1), x * 2)[1], "clipped gradients"),
    "scaler": (lambda x: amp.GradScaler().scale(x * 2), "GradScaler"),
    "copy": (lambda x: mp.tensor(x) * 2, "instead of .clone"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_repeated_is_refused(name: str) -> None:
    function, why = REFUSED[name]
    HELD.requires_grad_(False)
    with pytest.raises(RuntimeError, match=f"cannot be captured that .*{why}"):
        mp.capture(function)(mp.ones(3))
    assert bits(HELD) == bits(mp.ones(3))
    assert not mp.is_grad_enabled() or (mp.ones(1) * 2).item() == 2  # nothing is left behind


def test_stochastic_rounding_is_refused() -> None:
    captured = mp.capture(lambda x: x * 1.001)
    with mp.rounding("stochastic"), pytest.raises(RuntimeError, match="drew random numbers"):
        captured(mp.ones(3).half())


def test_wrong_uses_are_named() -> None:
    with pytest.raises(TypeError, match=r"given a Tensor; it takes a function"):
        mp.capture(mp.ones(3))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"called with a ndarray; its arguments are tensors"):
        mp.capture(lambda x: x)(np.ones(3))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"returned a tuple; it must return one tensor"):
        mp.capture(lambda x: (x * 2, x))(mp.ones(3))  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match=r"no operation in it computed"):
        mp.capture(lambda x: x)(mp.ones(3))
    with amp.autocast("float16"), pytest.raises(RuntimeError, match="enter autocast inside"):
        mp.capture(lambda x: x @ x)(mp.ones(3, 3))


def test_circumstances_inside_are_those_of_the_capture() -> None:
    def function(x: mp.Tensor) -> mp.Tensor:
        with mp.rounding("toward_zero"), mp.accumulation("kahan"):
            y = x * 1.001
            return y.sum() * 1.001

    captured = mp.capture(function)
    for context in (nullcontext(), mp.rounding("nearest_even"), mp.accumulation("float16")):
        with context:
            for _ in range(2):
                x = mp.rand(50).half().requires_grad_()
                y = x.detach().requires_grad_()
                function(x).backward()
                captured(y).backward()
                assert x.grad is not None
                assert y.grad is not None
                assert bits(x.grad) == bits(y.grad)


def test_parameters_have_the_names_of_the_model() -> None:
    one, other = models.MLP(3, (4,), 2), nn.Linear(2, 2)
    names = nn.ModuleDict({"not-a-name": nn.Linear(2, 2, bias=False)})
    captured = mp.capture(lambda x: names["not-a-name"](other(one(x))))
    captured(mp.randn(5, 3))
    assert captured.source.startswith(
        "def forward(x, p_0_weight, p_0_bias, p_2_weight, p_2_bias, p_weight, p_bias, p_1):\n"
    )


def test_names_of_arguments_are_in_nobodys_way() -> None:
    function = lambda g, kept, xp, mul, sum_1: (g * kept * xp * mul * sum_1).sum()  # noqa: E731
    x = [mp.randn(3).requires_grad_() for _ in range(5)]
    captured = mp.capture(function)
    captured(*x).backward()
    found = [bits(leaf.grad) for leaf in x]
    for leaf in x:
        leaf.grad = None
    function(*x).backward()
    assert found == [bits(leaf.grad) for leaf in x]
    assert captured.source.startswith("def forward(x_1, x_2, xp, mul, sum_1):\n")


#: Functions that look at a storage, and why what they do is not frozen in a program.
LOOK = {
    "ops/classification.py:_all_count": "asked through `decide`",
    "ops/creation.py:tensor": "says so",
    "ops/indexing.py:_check_range": "says so",
    "ops/indexing.py:_check_tokens": "asked through `decide`",
    "ops/indexing.py:as_index": "says so",
    "ops/indexing.py:gather": "after `_check_range`",
    "ops/indexing.py:take_along_dim": "after `_check_range`",
    "ops/linear_algebra.py:linear": "at the shape only",
    "ops/logic.py:one_hot": "says so",
    "nn/parameter.py:__init__": "shares it",
}


def test_whoever_looks_at_a_storage_besides_the_rules_is_known() -> None:
    package = Path(mp.__file__).parent
    found = set()
    for room in ("ops", "nn", "models"):
        for file in (package / room).glob("*.py"):
            for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(function, ast.FunctionDef):
                    names = {x.attr for x in ast.walk(function) if isinstance(x, ast.Attribute)}
                    if "_array" in names:
                        found.add(f"{room}/{file.name}:{function.name}")
    assert found == set(LOOK)
    for name, why in LOOK.items():
        if why == "says so":
            file, _, function = name.partition(":")
            body = (package / file).read_text(encoding="utf-8").split(f"def {function}(")[1]
            assert "not_for_capture(" in body.split("\n\n\n")[0]


def test_a_gpu_has_its_own_way(device: str) -> None:
    weight = mp.ones(3, device=device, requires_grad=True)
    captured = mp.capture(lambda x: (x * weight).sum())
    x = mp.ones(3, device=device)
    if device == "cpu":
        assert [captured(x).item(), captured(x + 1).item()] == [3, 6]
    else:
        with pytest.raises(RuntimeError, match=r"on a GPU.*--device cuda --capture"):
            captured(x)
