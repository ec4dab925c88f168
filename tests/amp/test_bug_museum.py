"""The classic mistakes of mixed precision training, each next to the right order.

Every exhibit is a pair: what goes wrong, and that it does not go wrong here. The sources are
reports of users of the large libraries, whose code allowed, or made, these mistakes.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp.amp import GradScaler, LossScaleWarning, MasterWeights
from tinymp.nn import Linear, Sequential, Tanh
from tinymp.optim import SGD, Adam, clip_grad_norm_
from tinymp.optim.lr_scheduler import StepLR

S = 2.0**16


def gradient_of(parameter: mp.Tensor) -> Any:
    assert parameter.grad is not None
    return parameter.grad


def scaled_gradient(value: float, dtype: mp.DType = mp.float32) -> mp.Tensor:
    """A parameter with a gradient as backward leaves it under the scale S."""
    parameter = mp.zeros(1, dtype=dtype, requires_grad=True)
    parameter.grad = mp.tensor([value * S], dtype=dtype)
    return parameter


def started() -> GradScaler:
    scaler = GradScaler(init_scale=S)
    scaler.scale(mp.tensor(1.0))
    return scaler


class TestNoScaling:
    """Gradients at or below 2^-25 are zero in float16."""

    def backward(self, scale: float) -> float:
        w = mp.ones(1, dtype=mp.float16, requires_grad=True)
        # A mean over many tokens, or a small weight on a loss, makes gradients like this one.
        loss = (w.float() * 2.0**-26).sum()
        (loss * scale).backward()
        return float(gradient_of(w).item()) / scale

    def test_the_mistake(self) -> None:
        assert self.backward(1.0) == 0.0

    def test_the_right_way(self) -> None:
        assert self.backward(S) == 2.0**-26


class TestUnscaleInFloat16:
    """Divided by the scale in float16, gradients underflow after all."""

    def test_the_mistake(self) -> None:
        w = scaled_gradient(2.0**-26, mp.float16)
        assert gradient_of(w).mul(1 / S).item() == 0.0

    def test_the_scaler_refuses(self) -> None:
        w = scaled_gradient(2.0**-26, mp.float16)
        with pytest.raises(ValueError, match="float16 gradient"):
            started().unscale_(SGD([w], lr=1.0))

    def test_the_right_way(self) -> None:
        w = scaled_gradient(2.0**-26, mp.float16)
        masters = MasterWeights([w])
        masters.copy_gradients()
        started().unscale_(SGD(masters.parameters(), lr=1.0))
        assert gradient_of(masters.parameters()[0]).item() == 2.0**-26


class TestClipBeforeUnscale:
    """Scaled gradients are all above the limit: clipped to it, and then divided, they vanish."""

    def test_the_mistake(self) -> None:
        w, scaler = scaled_gradient(0.5), started()
        clip_grad_norm_([w], 1.0)
        scaler.unscale_(SGD([w], lr=1.0))
        assert gradient_of(w).item() <= 1.0 / S

    def test_the_right_order(self) -> None:
        w, scaler = scaled_gradient(0.5), started()
        scaler.unscale_(SGD([w], lr=1.0))
        clip_grad_norm_([w], 1.0)
        assert gradient_of(w).item() == 0.5  # below the limit: left alone


class TestDecayOnScaledGradients:
    """Weight decay that is added to scaled gradients is divided by the scale with them."""

    decay, lr = 0.5, 0.5

    def test_the_mistake(self) -> None:
        w = mp.ones(1, requires_grad=True)
        w.grad = mp.zeros(1) + self.decay * w.detach()
        scaler = started()
        scaler.step(SGD([w], lr=self.lr))
        assert w.item() == pytest.approx(1.0, abs=self.lr * self.decay / S)

    def test_the_right_order(self) -> None:
        w = mp.ones(1, requires_grad=True)
        w.grad = mp.zeros(1)
        scaler = started()
        scaler.step(SGD([w], lr=self.lr, weight_decay=self.decay))
        assert w.item() == 1.0 - self.lr * self.decay


class TestScheduleOnASkippedStep:
    """A schedule that counts skipped steps decays the rate of a run that has not begun."""

    def rate(self, look: bool) -> float:
        w = mp.zeros(1, requires_grad=True)
        optimizer = SGD([w], lr=1.0)
        schedule = StepLR(optimizer, step_size=1, gamma=0.5)
        scaler = GradScaler()
        for gradient in (math.inf, math.inf, math.inf, 1.0):
            scaler.scale(mp.tensor(1.0))
            w.grad = mp.tensor([gradient])
            scaler.step(optimizer)
            scaler.update()
            if not (look and scaler.trace[-1].skipped):
                schedule.step()
        return float(optimizer.param_groups[0]["lr"])

    def test_the_mistake(self) -> None:
        assert self.rate(look=False) == 0.5**4

    def test_the_right_way(self) -> None:
        assert self.rate(look=True) == 0.5


class TestUpdateBeforeUnscale:
    """A scale that changes between backward and unscale divides by another number."""

    def test_the_mistake_is_an_error(self) -> None:
        w, scaler = scaled_gradient(1.0), started()
        with pytest.raises(RuntimeError, match="no gradient was checked"):
            scaler.update()
        scaler.step(SGD([w], lr=1.0))
        assert w.item() == -1.0

    def test_setting_a_scale_too_early_is_wrong_by_its_ratio(self) -> None:
        w, scaler = scaled_gradient(1.0), started()
        scaler.update(S / 4)
        scaler.unscale_(SGD([w], lr=1.0))
        assert gradient_of(w).item() == 4.0


class TestUnscaleBetweenMicrobatches:
    """Unscaled gradients of one microbatch and scaled ones of the next do not add up."""

    def gradient(self, unscale_after: int) -> float:
        w = mp.ones(1, requires_grad=True)
        optimizer, scaler = SGD([w], lr=1.0), GradScaler(init_scale=S)
        for microbatch in (1, 2):
            scaler.scale(w.sum()).backward()
            if microbatch == unscale_after:
                scaler.unscale_(optimizer)
        return float(gradient_of(w).item())

    def test_the_mistake(self) -> None:
        assert self.gradient(unscale_after=1) == S + 1.0

    def test_the_right_order(self) -> None:
        assert self.gradient(unscale_after=2) == 2.0


class TestLookingForInfAfterClipping:
    """Clipping divides by the norm: after an infinite one, zeros and NaN are all that is left."""

    def test_the_mistake(self) -> None:
        w = mp.zeros(2, requires_grad=True)
        w.grad = mp.tensor([math.inf, 1.0])
        clip_grad_norm_([w], 1.0)
        assert not np.isinf(gradient_of(w).numpy()).any()

    def test_what_unscale_found_stays_found(self) -> None:
        w = mp.zeros(2, requires_grad=True)
        w.grad = mp.tensor([math.inf, 1.0])
        optimizer, scaler = SGD([w], lr=1.0), started()
        scaler.unscale_(optimizer)
        w.grad = mp.zeros(2)  # whatever clipping made of it
        scaler.step(optimizer)
        scaler.update()
        assert scaler.trace[-1].skipped
        assert scaler.get_scale() == S / 2


class TestGrowthToInfinity:
    """A scale that doubles for ever is infinite one day, and no step after it is finite."""

    def test_the_mistake(self) -> None:
        with np.errstate(over="ignore"):
            assert np.float32(2.0**127) * np.float32(2.0) == math.inf

    def test_growth_stops(self) -> None:
        w = mp.zeros(1, requires_grad=True)
        optimizer, scaler = SGD([w], lr=1.0), GradScaler(init_scale=2.0**120, growth_interval=1)
        for _ in range(20):
            scaler.scale(mp.tensor(1.0))
            w.grad = mp.ones(1)
            scaler.step(optimizer)
            scaler.update()
        assert scaler.get_scale() == 2.0**127


class TestNanMistakenForOverflow:
    """A NaN in the loss halves the scale step after step; unsaid, nobody looks at the data."""

    def test_the_mistake_is_reported_at_once(self) -> None:
        w = mp.ones(1, requires_grad=True)
        optimizer, scaler = SGD([w], lr=1.0), GradScaler()
        scaler.scale((w * math.nan).sum()).backward()
        scaler.step(optimizer)
        with pytest.warns(LossScaleWarning, match="its loss was nan before scaling"):
            scaler.update()

    def test_true_overflow_is_not(self) -> None:
        w = mp.ones(1, requires_grad=True)
        optimizer, scaler = SGD([w], lr=1.0), GradScaler(init_scale=2.0**127)
        scaler.scale((w * 8.0).sum()).backward()
        scaler.step(optimizer)
        scaler.update()  # pytest would make a warning an error
        assert scaler.trace[-1].skipped


class TestTruncationHidesOverflow:
    """Rounded toward zero, what is too large becomes 65504, never inf: nothing to back off from."""

    def found_inf(self, mode: str) -> bool:
        w = mp.ones(1, dtype=mp.float16, requires_grad=True)
        masters = MasterWeights([w])
        optimizer, scaler = SGD(masters.parameters(), lr=1.0), GradScaler(init_scale=S)
        with mp.rounding(mode):
            scaler.scale((w.float() * 8.0).sum()).backward()
        masters.copy_gradients()
        scaler.step(optimizer)
        scaler.update()
        return scaler.trace[-1].found_inf

    def test_the_mistake(self) -> None:
        assert not self.found_inf("toward_zero")

    def test_the_right_way(self) -> None:
        assert self.found_inf("nearest_even")


class TestNoMasters:
    """Below 2^-12 of a weight, updates are lost in float16, however many there are."""

    def train(self, masters: MasterWeights) -> None:
        optimizer = SGD(masters.parameters(), lr=1.0)
        for _ in range(1000):
            for parameter in masters.parameters():
                parameter.grad = mp.full(1, -(2.0**-12), dtype=parameter.dtype)
            optimizer.step()
            masters.copy_weights()

    def test_the_mistake(self) -> None:
        w = mp.ones(1, dtype=mp.float16, requires_grad=True)
        self.train(MasterWeights([w], enabled=False))
        assert w.item() == 1.0

    def test_the_right_way(self) -> None:
        w = mp.ones(1, dtype=mp.float16, requires_grad=True)
        self.train(MasterWeights([w]))
        assert w.item() == 1.244140625  # 1 + 1000·2^-12, to the nearest float16


class TestAdamInFloat16:
    """In float16 Adam's ε of 1e-8 is zero, and second moments of small gradients underflow."""

    gradient, lr = 2.0**-10, 2.0**-6

    def change(self, masters: MasterWeights) -> float:
        """The first update, in units of the learning rate; Adam's is 1."""
        for parameter in masters.parameters():
            parameter.grad = mp.full(1, self.gradient, dtype=parameter.dtype)
        Adam(masters.parameters(), lr=self.lr).step()
        return abs(float(masters.parameters()[0].item())) / self.lr

    def test_epsilon_vanishes(self) -> None:
        assert mp.tensor(1e-8).half().item() == 0.0

    def test_the_mistake(self) -> None:
        w = mp.zeros(1, dtype=mp.float16, requires_grad=True)
        optimizer = Adam([w], lr=self.lr)
        w.grad = mp.full(1, self.gradient, dtype=mp.float16)
        optimizer.step()
        assert optimizer.state[w]["exp_avg_sq"].item() < 0.001 * self.gradient**2
        w.grad = mp.full(1, self.gradient, dtype=mp.float16)
        before = w.item()
        optimizer.step()
        assert abs(float(w.item()) - float(before)) > 1.2 * self.lr

    def test_the_right_way(self) -> None:
        masters = MasterWeights([mp.zeros(1, dtype=mp.float16, requires_grad=True)])
        assert self.change(masters) == pytest.approx(1.0, rel=1e-4)


class Run:
    """A float16 model with masters, Adam and dynamic scaling, that can be saved and resumed."""

    def __init__(self) -> None:
        mp.manual_seed(0)
        self.model = Sequential(Linear(3, 8), Tanh(), Linear(8, 1)).half()
        self.masters = MasterWeights(self.model.parameters())
        self.optimizer = Adam(self.masters.parameters(), lr=1e-3)
        self.scaler = GradScaler(init_scale=2.0**30, growth_interval=4)

    def steps(self, first: int, last: int) -> Run:
        for number in range(first, last):
            mp.manual_seed(number)
            self.optimizer.zero_grad()
            output = self.model(mp.randn(16, 3).half()).float()
            self.scaler.scale((output**2).mean()).backward()
            self.masters.copy_gradients()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.masters.copy_weights()
        return self

    def saved(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state_dict() for name in self.parts}
        return copy.deepcopy(parts)

    def resumed(self, saved: dict[str, Any], without: str = "") -> Run:
        for name in self.parts:
            if name != without:
                getattr(self, name).load_state_dict(saved[name])
        if without == "masters":  # what is left to start from: the rounded weights
            for master, p in zip(self.masters.parameters(), self.model.parameters(), strict=True):
                with mp.no_grad():
                    master.copy_(p)
        return self

    def result(self) -> list[Any]:
        return [m.numpy().tolist() for m in self.masters.parameters()]

    parts = ("model", "masters", "optimizer", "scaler")


class TestLostOnResume:
    """Masters or the scaler's state left out of a checkpoint: the run is another one."""

    def test_the_right_way(self) -> None:
        saved = Run().steps(0, 25).saved()
        assert Run().resumed(saved).steps(25, 40).result() == Run().steps(0, 40).result()

    @pytest.mark.parametrize("lost", ["masters", "scaler"])
    def test_the_mistake(self, lost: str) -> None:
        saved = Run().steps(0, 25).saved()
        assert Run().resumed(saved, lost).steps(25, 40).result() != Run().steps(0, 40).result()
