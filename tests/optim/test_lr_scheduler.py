"""Schedules: rates as formulas of the step, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

import tinymp as mp
from tinymp import nn, optim
from tinymp.optim import lr_scheduler


def optimizer(*rates: float) -> optim.SGD:
    return optim.SGD([{"params": [nn.Parameter(mp.ones(1))], "lr": lr} for lr in rates])


def rates(schedule: lr_scheduler.LRScheduler, steps: int) -> list[float]:
    """The first group's rate before each of some steps."""
    found = []
    for _ in range(steps):
        found.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.step()
    return found


def test_step_lr() -> None:
    schedule = lr_scheduler.StepLR(optimizer(1.0), step_size=2, gamma=0.5)
    assert rates(schedule, 6) == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_linear_lr_ends_where_it_should() -> None:
    schedule = lr_scheduler.LinearLR(optimizer(8.0), start_factor=0.25, total_iters=3)
    assert rates(schedule, 6) == [2.0, 4.0, 6.0, 8.0, 8.0, 8.0]


def test_cosine_falls_to_eta_min_at_t_max() -> None:
    schedule = lr_scheduler.CosineAnnealingLR(optimizer(1.0), T_max=4, eta_min=0.5)
    found = rates(schedule, 5)
    assert found[0] == 1.0
    assert found[2] == pytest.approx(0.75, rel=1e-15)
    assert found[4] == 0.5
    assert found == sorted(found, reverse=True)


def test_lambda_lr_of_each_group() -> None:
    opt = optimizer(1.0, 2.0)
    schedule = lr_scheduler.LambdaLR(opt, [lambda n: 1 / (1 + n), lambda n: 2.0**n])
    schedule.step()
    schedule.step()
    assert schedule.get_last_lr() == [1 / 3, 8.0]
    assert [group["lr"] for group in opt.param_groups] == [1 / 3, 8.0]
    one_for_all = lr_scheduler.LambdaLR(optimizer(1.0, 2.0), lambda n: 0.5)
    assert one_for_all.get_last_lr() == [0.5, 1.0]


def warm_up_then_cosine(opt: optim.Optimizer) -> lr_scheduler.SequentialLR:
    return lr_scheduler.SequentialLR(
        opt,
        [
            lr_scheduler.LinearLR(opt, start_factor=0.25, total_iters=3),
            lr_scheduler.CosineAnnealingLR(opt, T_max=4),
        ],
        milestones=[3],
    )


def test_one_schedule_after_the_other() -> None:
    found = rates(warm_up_then_cosine(optimizer(8.0)), 8)
    assert found[:4] == [2.0, 4.0, 6.0, 8.0]
    assert found[5] == pytest.approx(4.0, rel=1e-15)
    assert found[7] == 0.0


def test_the_next_schedule_begins_at_its_milestone() -> None:
    opt = optimizer(1.0)
    parts = [lr_scheduler.LambdaLR(opt, lambda n, k=k: 10.0 * k + n) for k in (1, 2, 3)]
    schedule = lr_scheduler.SequentialLR(opt, parts, milestones=[2, 3])
    assert rates(schedule, 6) == [10.0, 11.0, 20.0, 30.0, 31.0, 32.0]


@pytest.mark.parametrize("at", range(8))
def test_a_resumed_schedule_continues(at: int) -> None:
    expected = rates(warm_up_then_cosine(optimizer(8.0)), 10)
    schedule = warm_up_then_cosine(optimizer(8.0))
    rates(schedule, at)
    saved = json.loads(json.dumps(schedule.state_dict()))
    resumed = warm_up_then_cosine(optimizer(8.0))
    resumed.load_state_dict(saved)
    assert rates(resumed, 10 - at) == expected[at:]


def test_a_schedule_made_for_a_loaded_optimizer_starts_from_its_first_rate() -> None:
    """The optimizer's state knows the rate before any schedule, beside the one of the moment."""
    opt = optimizer(8.0)
    rates(lr_scheduler.StepLR(opt, 1, 0.5), 2)
    other = optimizer(1.0)
    other.load_state_dict(opt.state_dict())
    assert other.param_groups[0]["lr"] == 2.0
    assert lr_scheduler.StepLR(other, 1, 0.5).base_lrs == [8.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda o: lr_scheduler.StepLR(o, 1),
        lr_scheduler.LinearLR,
        lambda o: lr_scheduler.CosineAnnealingLR(o, 1),
        lambda o: lr_scheduler.LambdaLR(o, lambda n: 1.0),
    ],
)
def test_a_schedule_needs_an_optimizer(make: Any) -> None:
    with pytest.raises(TypeError, match=r"LR was given a Linear; it takes the optimizer whose"):
        make(nn.Linear(1, 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: lr_scheduler.StepLR(o, 0), "step_size=0 was given to StepLR; it must be at"),
        (lambda o: lr_scheduler.LinearLR(o, start_factor=0), "start_factor=0 and end_factor=1.0"),
        (lambda o: lr_scheduler.LinearLR(o, end_factor=1.5), "both at most 1"),
        (lambda o: lr_scheduler.LinearLR(o, total_iters=0), "total_iters=0 was given to LinearLR"),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 0), "T_max=0 was given to CosineAnneal"),
        (
            lambda o: lr_scheduler.LambdaLR(o, [lambda n: 1.0] * 2),
            "2 functions for an optimizer of 1 parameter groups; give one",
        ),
        (
            lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.LinearLR(o)], [1]),
            "1 schedules and 1 milestones; there must be one milestone fewer",
        ),
        (
            lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.LinearLR(o)] * 3, [5, 5]),
            r"milestones \[5, 5\]; they must be above 0 and rise",
        ),
        (
            lambda o: lr_scheduler.SequentialLR(
                o, [lr_scheduler.LinearLR(o), lr_scheduler.LinearLR(optimizer(1.0))], [5]
            ),
            r"a schedule \(number 1\) of another optimizer; make all of them for the same one",
        ),
        (
            lambda o: lr_scheduler.StepLR(o, 1).load_state_dict(
                lr_scheduler.StepLR(optimizer(1.0, 2.0), 1).state_dict()
            ),
            "saved with 2 parameter groups, but this optimizer has 1",
        ),
    ],
)
def test_settings_that_make_no_sense(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(optimizer(1.0))
