"""What an optimizer refuses, and what it says then."""

from __future__ import annotations

from typing import Any

import pytest

import tinymp as mp
from tinymp import nn, optim


def parameter(*values: float, device: str = "cpu") -> nn.Parameter:
    return nn.Parameter(mp.tensor(list(values), device=device))


def test_no_parameters() -> None:
    with pytest.raises(ValueError, match=r"SGD was given no parameters; pass model.parameters\(\)"):
        optim.SGD([])
    with pytest.raises(ValueError, match="parameter group with no parameters; leave it out"):
        optim.SGD([{"params": []}])


def test_what_is_no_list_of_parameters() -> None:
    with pytest.raises(TypeError, match=r"a single Parameter; it takes a list of parameters"):
        optim.SGD(parameter(1.0))
    with pytest.raises(TypeError, match="a single dict; it takes a list"):
        optim.SGD({"params": [parameter(1.0)]})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"SGD was given a float as parameter 1; it takes tensors"):
        optim.SGD([parameter(1.0), 2.0])  # type: ignore[list-item]


def test_a_parameter_that_is_no_leaf_or_no_float() -> None:
    p = parameter(1.0)
    with pytest.raises(ValueError, match=r"the result of 'mul' as parameter 1; only leaves"):
        optim.Adam([p, p * 2])
    with pytest.raises(TypeError, match=r"a int64 tensor as parameter 0; only floating-point"):
        optim.Adam([mp.tensor([1])])


def test_a_parameter_given_twice() -> None:
    p = parameter(1.0)
    for params in ([p, p], [{"params": [p]}, {"params": [p], "lr": 1.0}]):
        with pytest.raises(ValueError, match=r"parameter [01] \(shape \(1,\)\) twice; each may be"):
            optim.SGD(params)  # type: ignore[arg-type]


def test_an_unknown_option() -> None:
    group = {"params": [parameter(1.0)], "learning_rate": 0.1}
    expected = r"unknown option 'learning_rate'.*options are lr, momentum"
    with pytest.raises(TypeError, match=expected):
        optim.SGD([group])
    with pytest.raises(ValueError, match="a parameter group without 'params', only lr"):
        optim.SGD([{"lr": 0.1}])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: optim.SGD(p, lr=-1), "lr=-1 was given; it must be at least 0"),
        (lambda p: optim.SGD(p, lr=float("nan")), "lr=nan was given; it must be at least 0"),
        (lambda p: optim.SGD(p, momentum=-0.5), "momentum=-0.5 was given; it must be at least 0"),
        (lambda p: optim.Adam(p, weight_decay=-1), "weight_decay=-1 was given"),
        (lambda p: optim.Adam(p, eps=-1e-8), "eps=-1e-08 was given; it must be at least 0"),
        (lambda p: optim.AdamW(p, betas=(0.9, 1.0)), r"betas=\(0.9, 1.0\) was given; .* below 1"),
        (lambda p: optim.AdamW(p, betas=(0.9,)), "it must be two numbers"),
        (lambda p: optim.SGD(p, nesterov=True), "nesterov=True.*needs momentum above 0"),
        (
            lambda p: optim.SGD(p, momentum=0.9, dampening=0.1, nesterov=True),
            "momentum=0.9 and dampening=0.1",
        ),
        (lambda p: optim.SGD(p, rounding="up"), "unknown rounding mode 'up'; expected one of"),
    ],
)
def test_an_option_out_of_range(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make([parameter(1.0)])


def test_options_of_a_group_are_checked_too() -> None:
    with pytest.raises(ValueError, match="lr=-1 was given"):
        optim.SGD([{"params": [parameter(1.0)], "lr": -1}])


def test_a_gradient_that_does_not_belong_to_its_parameter() -> None:
    p = parameter(1.0, 2.0)
    p.grad = mp.ones(1)
    with pytest.raises(ValueError, match=r"shape \(2,\) has a gradient of shape \(1,\)"):
        optim.SGD([p]).step()


@pytest.mark.gpu
def test_a_gradient_on_another_device() -> None:
    try:
        p = parameter(1.0, device="cuda")
    except RuntimeError as missing:
        pytest.skip(str(missing))
    p.grad = mp.ones(1)
    with pytest.raises(ValueError, match="parameter on cuda:0 has a gradient on cpu"):
        optim.SGD([p]).step()


def saved_state(make: Any = optim.Adam) -> dict[str, Any]:
    """What an optimizer of a layer (3, 2) saves after a step."""
    model = nn.Linear(3, 2)
    optimizer = make(model.parameters())
    model(mp.ones(1, 3)).sum().backward()
    optimizer.step()
    state: dict[str, Any] = optimizer.state_dict()
    return state


def test_loading_refuses_another_model_or_optimizer_and_changes_nothing() -> None:
    model = nn.Linear(3, 4)
    optimizer = optim.Adam(model.parameters(), lr=0.25)
    before = str(optimizer.state_dict())
    with pytest.raises(ValueError, match=r"'exp_avg' of parameter 0 was saved as \(2, 3\), but"):
        optimizer.load_state_dict(saved_state())
    with pytest.raises(ValueError, match=r"saved by another optimizer than Adam: it lacks .*betas"):
        optimizer.load_state_dict(saved_state(optim.SGD))
    assert str(optimizer.state_dict()) == before

    with pytest.raises(ValueError, match=r"groups of \[2\] parameters, but this Adam has \[1\]"):
        optim.Adam([model.weight]).load_state_dict(saved_state())


def test_loading_refuses_state_that_is_incomplete() -> None:
    optimizer = optim.Adam(nn.Linear(3, 2).parameters())
    state = saved_state()
    del state["state"][1]["exp_avg"]
    with pytest.raises(ValueError, match=r"parameter 1 holds step, exp_avg_sq, but Adam with"):
        optimizer.load_state_dict(state)
    state = saved_state()
    state["state"][5] = state["state"].pop(1)
    with pytest.raises(ValueError, match=r"entry for parameter 5, but this Adam has 2 parameters"):
        optimizer.load_state_dict(state)
    state = saved_state()
    state["state"][0]["exp_avg"] = 3.0
    with pytest.raises(ValueError, match=r"'exp_avg' of parameter 0 was saved as float"):
        optimizer.load_state_dict(state)
