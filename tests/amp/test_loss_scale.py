from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymp.amp import (
    DynamicLossScale,
    GradualLossScale,
    HysteresisLossScale,
    LogMaxLossScale,
    LossScalePolicy,
    ScaleState,
    StaticLossScale,
)

POLICIES: list[LossScalePolicy] = [
    DynamicLossScale(growth_interval=3),
    StaticLossScale(),
    GradualLossScale(growth_interval=3),
    HysteresisLossScale(growth_interval=3),
    LogMaxLossScale(growth_interval=3),
]
# What steps find: nothing (with the largest gradient), or inf.
outcomes = st.lists(
    st.tuples(st.just(False), st.integers(-60, 20).map(lambda k: 1.5 * 2.0**k) | st.just(0.0))
    | st.just((True, math.inf)),
    max_size=40,
)


def run(policy: LossScalePolicy, outcomes: list[tuple[bool, float]]) -> list[ScaleState]:
    states = [policy.start]
    for found_inf, largest in outcomes:
        states.append(policy.next(states[-1], found_inf, largest))
    return states


def scales(policy: LossScalePolicy, found: list[int], largest: float = 1.0) -> list[float]:
    return [state.scale for state in run(policy, [(bool(f), largest) for f in found])]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
class TestEveryPolicy:
    @given(outcomes=outcomes)
    def test_scale_is_a_positive_finite_float32(
        self, policy: LossScalePolicy, outcomes: list[tuple[bool, float]]
    ) -> None:
        for state in run(policy, outcomes):
            assert 0 < state.scale < math.inf
            assert float(np.float32(state.scale)) == state.scale

    @given(outcomes=outcomes)
    def test_an_overflow_never_raises_the_scale(
        self, policy: LossScalePolicy, outcomes: list[tuple[bool, float]]
    ) -> None:
        state = run(policy, outcomes)[-1]
        assert policy.next(state, True, math.inf).scale <= state.scale

    @given(outcomes=outcomes)
    def test_a_state_and_a_policy_change_nothing_but_by_return(
        self, policy: LossScalePolicy, outcomes: list[tuple[bool, float]]
    ) -> None:
        assert run(policy, outcomes) == run(policy, outcomes)
        with pytest.raises(AttributeError):
            policy.start.scale = 1.0  # type: ignore[misc]

    @given(before=outcomes, after=outcomes)
    def test_a_saved_state_goes_on_where_it_was(
        self, policy: LossScalePolicy, before: Any, after: Any
    ) -> None:
        state = run(policy, before)[-1]
        saved = json.loads(json.dumps(policy.state_dict(state)))
        other, restored = type(policy)().restored(saved)
        for found_inf, largest in after:
            state = policy.next(state, found_inf, largest)
            restored = other.next(restored, found_inf, largest)
            assert restored.scale == state.scale


class TestDynamic:
    def test_backs_off_at_once_and_grows_after_clean_steps_in_a_row(self) -> None:
        policy = DynamicLossScale(init_scale=8.0, growth_interval=3)
        assert scales(policy, [1, 0, 0, 1, 0, 0, 0, 0]) == [8, 4, 4, 4, 2, 2, 2, 4, 4]

    def test_growth_stops_at_the_largest_finite_scale(self) -> None:
        policy = DynamicLossScale(init_scale=2.0**126, growth_interval=1)
        assert scales(policy, [0] * 4) == [2.0**126] + [2.0**127] * 4

    def test_a_shortened_interval_counts_from_the_next_overflow(self) -> None:
        """As in PyTorch, which compares the counter for equality."""
        policy, state = DynamicLossScale(init_scale=8.0, growth_interval=3), ScaleState(8.0, 5)
        for found_inf, scale in ((False, 8), (True, 4), (False, 4), (False, 4), (False, 8)):
            state = policy.next(state, found_inf)
            assert state.scale == scale


class TestStatic:
    def test_stays(self) -> None:
        assert scales(StaticLossScale(128.0), [0, 1, 0, 1]) == [128.0] * 5


class TestGradual:
    def test_doubles_until_the_first_overflow(self) -> None:
        assert scales(GradualLossScale(), [0, 0, 0, 1]) == [1, 2, 4, 8, 4]

    def test_then_doubles_in_an_interval_of_clean_steps(self) -> None:
        policy = GradualLossScale(init_scale=16.0, growth_interval=10)
        found = scales(policy, [1] + [0] * 10)
        # Ten roundings to float32, each of at most 2^-24 of the scale.
        assert found[-1] == pytest.approx(16.0, rel=10 * 2.0**-24)
        assert all(b > a for a, b in pairwise(found[1:]))

    def test_stays_between_1_and_the_largest(self) -> None:
        assert scales(GradualLossScale(), [1, 1])[-1] == 1.0
        assert scales(GradualLossScale(), [0] * 20)[-1] == 65504.0


class TestHysteresis:
    def test_forgives_before_it_backs_off(self) -> None:
        policy = HysteresisLossScale(init_scale=64.0, growth_interval=100, hysteresis=3)
        assert scales(policy, [1, 0, 1, 0, 1, 1]) == [64, 64, 64, 64, 64, 32, 16]

    def test_forgives_anew_after_growth(self) -> None:
        policy = HysteresisLossScale(init_scale=64.0, growth_interval=2, hysteresis=2)
        assert scales(policy, [1, 1, 0, 0, 1, 1]) == [64, 64, 32, 32, 64, 64, 32]

    def test_growth_stops_at_the_largest_power_of_two(self) -> None:
        policy = HysteresisLossScale(init_scale=2.0**126, growth_interval=1)
        assert scales(policy, [0] * 3) == [2.0**126] + [2.0**127] * 3

    def test_has_a_floor(self) -> None:
        policy = HysteresisLossScale(init_scale=8.0, hysteresis=1, min_scale=3.0)
        assert scales(policy, [1] * 4) == [8, 4, 3, 3, 3]


class TestLogMax:
    def test_puts_a_steady_gradient_just_below_the_limit(self) -> None:
        # 2^-10 times the scale must stay at or below 2^16.
        assert scales(LogMaxLossScale(), [0] * 5, largest=2.0**-10)[1:] == [2.0**24] * 5
        assert scales(LogMaxLossScale(), [0] * 5, largest=2.0**3)[1:] == [2.0**13] * 5

    def test_keeps_its_distance_from_gradients_that_vary(self) -> None:
        rng = np.random.default_rng(0)
        exponents = rng.normal(-2.0, 1.5, 2000)
        states = run(LogMaxLossScale(), [(False, 2.0**x) for x in exponents])
        over = sum(
            state.scale * 2.0**x > 2.0**16
            for state, x in zip(states[200:], exponents[200:], strict=False)
        )
        # Rounding the exponent down keeps the share below the 0.1 % of the normal distribution;
        # the scatter of a running mean over about 100 steps takes some of that back.
        assert over <= 1800 * 0.004
        assert states[-1].log2_mean == pytest.approx(-2.0, abs=4 * 1.5 / math.sqrt(100))
        assert math.sqrt(states[-1].log2_variance) == pytest.approx(1.5, rel=0.35)

    def test_an_overflow_takes_a_bit_of_headroom_and_clean_steps_give_it_back(self) -> None:
        policy = LogMaxLossScale(growth_interval=3)
        found = scales(policy, [0, 1, 0, 0, 0, 0], largest=1.0)
        assert found[1:] == [2.0**16, 2.0**15, 2.0**15, 2.0**15, 2.0**16, 2.0**16]

    def test_gradients_that_are_all_zero_teach_nothing(self) -> None:
        assert scales(LogMaxLossScale(init_scale=4.0), [0], largest=0.0) == [4, 4]

    @given(outcomes=outcomes)
    def test_scales_are_powers_of_two(self, outcomes: list[tuple[bool, float]]) -> None:
        for state in run(LogMaxLossScale(), outcomes):
            assert math.frexp(state.scale)[0] == 0.5


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        (DynamicLossScale, {"growth_factor": 1.0}),
        (DynamicLossScale, {"backoff_factor": 1.0}),
        (DynamicLossScale, {"backoff_factor": 0.0}),
        (DynamicLossScale, {"growth_interval": 0}),
        (StaticLossScale, {"init_scale": 0.0}),
        (StaticLossScale, {"init_scale": math.inf}),
        (StaticLossScale, {"init_scale": math.nan}),
        (GradualLossScale, {"growth_interval": 0}),
        (HysteresisLossScale, {"hysteresis": 0}),
        (HysteresisLossScale, {"min_scale": 0.0}),
        (LogMaxLossScale, {"decay": 1.0}),
        (LogMaxLossScale, {"deviations": -1.0}),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(kind: Any, setting: dict[str, float]) -> None:
    (name, value), *_ = setting.items()
    with pytest.raises(
        ValueError, match=f"{kind.__name__} was given {name}={value}; it must be above"
    ):
        kind(**setting)


@pytest.mark.parametrize("saver", POLICIES, ids=lambda policy: type(policy).__name__)
@pytest.mark.parametrize("loader", POLICIES, ids=lambda policy: type(policy).__name__)
def test_the_state_of_another_policy_is_refused(
    saver: LossScalePolicy, loader: LossScalePolicy
) -> None:
    saved = saver.state_dict(saver.start)
    if type(saver) is type(loader):
        assert loader.restored(saved) == (saver, saver.start)
    else:
        with pytest.raises(ValueError, match=r"restored from scale.*needs scale.*policy that was"):
            loader.restored(saved)


def test_an_incomplete_state_is_refused() -> None:
    with pytest.raises(
        ValueError, match="restored from scale, but a DynamicLossScale needs scale, _"
    ):
        DynamicLossScale().restored({"scale": 2.0})


def test_policies_are_values() -> None:
    assert replace(DynamicLossScale(), growth_interval=5) == DynamicLossScale(growth_interval=5)
