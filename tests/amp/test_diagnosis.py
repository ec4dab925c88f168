from __future__ import annotations

import math
import warnings

import pytest

import tinymp as mp
from tinymp.amp import GradScaler, HysteresisLossScale, LossScaleWarning, StaticLossScale
from tinymp.amp.diagnosis import PATIENCE
from tinymp.optim import SGD


class Training:
    """A scaler, one parameter, and steps whose loss and gradient are given."""

    def __init__(self, scaler: GradScaler) -> None:
        self.scaler = scaler
        self.parameter = mp.zeros(1, requires_grad=True)
        self.optimizer = SGD([self.parameter], lr=0.1)

    def step(self, gradient: float, loss: float = 1.0) -> list[str]:
        self.scaler.scale(mp.tensor([loss]))
        self.parameter.grad = mp.tensor([gradient])
        self.scaler.step(self.optimizer)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.scaler.update()
        assert all(w.category is LossScaleWarning for w in caught)
        return [str(w.message) for w in caught]


def test_ordinary_overflow_is_nothing_to_report() -> None:
    training = Training(GradScaler())
    for gradient in [math.inf] * 16 + [1.0] * 5 + [math.nan] + [1.0]:
        if training.scaler.get_scale() > 1:
            assert training.step(gradient) == []


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_reported_once_in_a_run_of_skipped_steps(loss: float) -> None:
    training = Training(GradScaler())
    training.step(1.0)
    (message,) = training.step(math.nan, loss)
    assert f"step 1 was skipped because its loss was {loss} before scaling" in message
    assert "no loss scale can mend it" in message
    assert "Look for NaN in the data" in message
    assert training.step(math.nan, loss) == []
    training.step(1.0)
    assert len(training.step(math.nan, loss)) == 1


def test_a_loss_of_an_earlier_step_is_not_blamed() -> None:
    training = Training(GradScaler())
    assert len(training.step(math.nan, math.nan)) == 1
    training.step(1.0)
    assert training.step(math.inf) == []


def test_a_scale_that_falls_below_1_is_reported() -> None:
    training = Training(GradScaler(init_scale=4.0))
    assert [len(training.step(math.nan)) for _ in range(5)] == [0, 0, 1, 0, 0]
    training = Training(GradScaler(init_scale=1.0))
    (message,) = training.step(math.inf)
    assert "fallen to 0.5 after inf or NaN in the gradients of 1 step in a row" in message


@pytest.mark.parametrize("policy", [StaticLossScale(8.0), HysteresisLossScale(init_scale=1.0)])
def test_a_scale_that_cannot_fall_is_reported_after_a_while(
    policy: StaticLossScale | HysteresisLossScale,
) -> None:
    training = Training(GradScaler(policy=policy))
    found = [training.step(math.nan) for _ in range(PATIENCE + 5)]
    assert [i for i, messages in enumerate(found) if messages] == [PATIENCE - 1]
    assert f"gradients of {PATIENCE} steps in a row, and the policy keeps" in found[PATIENCE - 1][0]


def test_a_long_fall_from_a_great_height_is_ordinary() -> None:
    training = Training(GradScaler(init_scale=2.0**100))
    assert [training.step(math.inf) for _ in range(PATIENCE + 5)] == [[]] * (PATIENCE + 5)


def test_a_scale_never_becomes_zero_in_silence() -> None:
    training = Training(GradScaler(init_scale=2.0**-148))
    training.step(math.nan)
    with pytest.raises(FloatingPointError, match=r"fallen to 0 after .* 2 steps in a row"):
        training.step(math.nan)


def test_after_a_warning_that_is_an_error_the_scaler_is_ready_for_the_next_step() -> None:
    training = Training(GradScaler())
    training.scaler.scale(mp.tensor(math.nan))
    training.parameter.grad = mp.tensor([math.nan])
    training.scaler.step(training.optimizer)
    with pytest.raises(LossScaleWarning):
        training.scaler.update()  # pytest makes warnings errors
    assert training.scaler.get_scale() == 2.0**15
    assert training.step(1.0) == []
