from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinymp as mp
from tinymp.amp import GradScaler, GradualLossScale, LogMaxLossScale, MasterWeights, StaticLossScale
from tinymp.nn import Linear, Sequential, Tanh
from tinymp.optim import SGD, AdamW


def one(value: float = 0.0, device: str = "cpu") -> tuple[mp.Tensor, SGD]:
    """A parameter of one element and an optimizer that subtracts its gradient."""
    parameter = mp.tensor([value], device=device, requires_grad=True)
    return parameter, SGD([parameter], lr=1.0)


def give(parameter: mp.Tensor, gradient: float) -> None:
    parameter.grad = mp.tensor([gradient], device=parameter.device)


FACTORS = {"growth_factor": 3.0, "backoff_factor": 0.25}


def ready(**options: Any) -> GradScaler:
    """A scaler that has scaled a loss."""
    scaler = GradScaler(**options)
    scaler.scale(mp.tensor(1.0))
    return scaler


class TestOneStep:
    def test_backward_unscale_step_update(self, device: str) -> None:
        w, optimizer = one(2.0, device)
        scaler = GradScaler(init_scale=1024.0, growth_interval=1)
        scaler.scale((w * w).sum()).backward()
        assert w.grad is not None
        assert w.grad.item() == 4096.0
        scaler.unscale_(optimizer)
        assert w.grad.item() == 4.0
        scaler.step(optimizer)
        assert w.item() == -2.0
        scaler.update()
        assert scaler.get_scale() == 2048.0

    @pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
    def test_inf_or_nan_anywhere_skips_the_step(self, bad: float, device: str) -> None:
        parameters = [mp.zeros(3, 5, device=device, requires_grad=True) for _ in range(3)]
        optimizer = SGD(parameters, lr=1.0)
        scaler = ready()
        for parameter in parameters:
            parameter.grad = mp.ones(3, 5, device=device)
        assert parameters[1].grad is not None
        parameters[1].grad[2, 4] = bad
        assert scaler.step(optimizer) is None
        scaler.update()
        assert scaler.get_scale() == 2.0**15
        assert all(not parameter.numpy().any() for parameter in parameters)

    def test_step_returns_what_the_optimizer_does(self) -> None:
        w, optimizer = one()
        optimizer.step = lambda: 7.0  # type: ignore[method-assign,assignment,misc]
        scaler = ready()
        give(w, 1.0)
        assert scaler.step(optimizer) == 7.0

    def test_a_gradient_without_elements_is_no_obstacle(self) -> None:
        w = mp.zeros(0, requires_grad=True)
        w.grad = mp.zeros(0)
        scaler = ready()
        scaler.step(SGD([w], lr=1.0))
        scaler.update()
        assert scaler.trace[0].largest == 0.0


class TestLosses:
    def test_several_and_nested_losses(self) -> None:
        scaler = GradScaler(init_scale=4.0)
        a, (b, [c]) = scaler.scale([mp.tensor(1.0), (mp.tensor(2.0), [mp.tensor(3.0)])])
        assert [a.item(), b.item(), c.item()] == [4.0, 8.0, 12.0]
        assert [x.item() for x in scaler.scale(iter([mp.tensor(1.0)]))] == [4.0]

    def test_gradients_of_several_losses_add_up(self) -> None:
        w, optimizer = one(3.0)
        scaler = GradScaler(init_scale=8.0)
        for loss in scaler.scale([(w * 2).sum(), (w * w).sum()]):
            loss.backward()
        scaler.unscale_(optimizer)
        assert w.grad is not None
        assert w.grad.item() == 2.0 + 6.0

    def test_a_product_has_the_dtype_of_its_loss(self) -> None:
        for dtype in (mp.float64, mp.float32, mp.bfloat16, mp.float16):
            assert GradScaler().scale(mp.tensor(0.5, dtype=dtype)).dtype is dtype

    def test_a_float16_loss_overflows_by_its_gradient_and_float32_helps(self) -> None:
        """The gradient of a float16 loss is the scale, and 2^16 is above 65504."""
        for to_float32 in (False, True):
            w, optimizer = one(2.0**-10)
            scaler = GradScaler()
            loss = w.half().sum()
            scaler.scale(loss.float() if to_float32 else loss).backward()
            scaler.step(optimizer)
            scaler.update()
            assert scaler.trace[0].found_inf  # float() rounds its gradient to float16 as well
        # What helps is a loss computed in float32, so that only smaller numbers reach float16.
        w, optimizer = one(2.0**-10)
        scaler = GradScaler()
        scaler.scale((w.half().float() * 0.25).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        assert not scaler.trace[0].found_inf


class TestSeveralOptimizers:
    def test_each_skips_for_its_own_gradients_and_all_share_the_scale(self) -> None:
        (a, first), (b, second) = one(), one()
        scaler = ready(growth_interval=1)
        give(a, 65536.0)
        give(b, math.inf)
        scaler.step(first)
        scaler.step(second)
        scaler.update()
        assert (a.item(), b.item()) == (-1.0, 0.0)
        assert scaler.get_scale() == 2.0**15

    def test_one_may_rest(self) -> None:
        (a, first), (b, second) = one(), one()
        scaler = ready()
        give(a, math.inf)
        scaler.step(first)
        scaler.update()
        give(b, 2.0**15)
        scaler.step(second)
        scaler.update()
        assert (a.item(), b.item()) == (0.0, -1.0)


class TestLaws:
    @given(
        gradients=st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=8),
        exponent=st.integers(-30, 30),
    )
    def test_powers_of_two_come_off_exactly_unless_something_under_or_overflows(
        self, gradients: list[float], exponent: int
    ) -> None:
        with np.errstate(over="ignore", under="ignore"):
            scaled = np.array(gradients, np.float32) * np.float32(2.0**exponent)
        w = mp.zeros(len(gradients), requires_grad=True)
        w.grad = mp.tensor(scaled)
        scaler = ready(init_scale=2.0**exponent)
        scaler.unscale_(SGD([w], lr=1.0))
        normal = np.isfinite(scaled) & ((np.abs(scaled) >= 2.0**-126) | (scaled == 0))
        lossless = normal & ((scaled != 0) | (np.array(gradients) == 0))
        np.testing.assert_array_equal(w.grad.numpy()[lossless], np.float32(gradients)[lossless])

    @pytest.mark.parametrize("make", [SGD, AdamW])
    def test_a_skipped_step_changes_nothing_but_the_scaler(self, make: Any) -> None:
        model = Sequential(Linear(3, 4), Tanh(), Linear(4, 2))
        optimizer = make(model.parameters(), lr=0.1)
        scaler = GradScaler()
        self.backward(model, scaler)
        scaler.step(optimizer)
        scaler.update()
        before = self.everything(model, optimizer)
        optimizer.zero_grad()
        self.backward(model, scaler)
        assert model[0].weight.grad is not None
        model[0].weight.grad[0, 0] = math.inf
        scaler.step(optimizer)
        scaler.update()
        assert scaler.trace[-1].skipped
        assert self.everything(model, optimizer) == before

    @pytest.mark.parametrize("make", [SGD, AdamW])
    def test_disabled_is_absent_bit_for_bit(self, make: Any) -> None:
        results = []
        for scaler in (None, GradScaler(enabled=False)):
            mp.manual_seed(0)
            model = Sequential(Linear(3, 4), Tanh(), Linear(4, 2))
            optimizer = make(model.parameters(), lr=0.1)
            for _ in range(5):
                optimizer.zero_grad()
                self.backward(model, scaler)
                if scaler is None:
                    optimizer.step()
                else:
                    scaler.unscale_(optimizer)
                    scaler.step(optimizer)
                    scaler.update()
            results.append(self.everything(model, optimizer))
        assert results[0] == results[1]

    def test_disabled_does_nothing(self) -> None:
        scaler = GradScaler(enabled=False)
        loss = mp.tensor(1.0)
        assert scaler.scale(loss) is loss
        w, optimizer = one()
        give(w, math.nan)
        scaler.step(optimizer)  # no check: as if there were no scaler
        assert math.isnan(w.item())
        scaler.update()
        scaler.load_state_dict({"scale": 3.0})
        assert (scaler.get_scale(), scaler.state_dict(), scaler.trace) == (1.0, {}, [])
        assert not scaler.is_enabled()

    def backward(self, model: Any, scaler: GradScaler | None) -> None:
        loss = (model(mp.randn(6, 3)) ** 2).mean()
        (loss if scaler is None else scaler.scale(loss)).backward()

    def everything(self, model: Any, optimizer: Any) -> bytes:
        """Every bit of parameters and optimizer state."""
        tensors = list(model.parameters())
        steps = []
        for state in optimizer.state.values():
            tensors += [value for value in state.values() if isinstance(value, mp.Tensor)]
            steps += [value for value in state.values() if not isinstance(value, mp.Tensor)]
        return repr(steps).encode() + b"".join(tensor.storage.tobytes() for tensor in tensors)


class TestTrace:
    def test_tells_each_step(self) -> None:
        w, optimizer = one()
        scaler = GradScaler(init_scale=8.0)
        for gradient in (4.0, math.inf, 2.0):
            scaler.scale(mp.tensor(1.0))
            give(w, gradient)
            scaler.step(optimizer)
            scaler.update()
        assert [record.step for record in scaler.trace] == [0, 1, 2]
        assert [record.scale for record in scaler.trace] == [8.0, 8.0, 4.0]
        assert [record.largest for record in scaler.trace] == [0.5, math.inf, 0.5]
        assert [record.found_inf for record in scaler.trace] == [False, True, False]
        assert [record.skipped for record in scaler.trace] == [False, True, False]

    def test_a_check_without_a_step_skips_nothing(self) -> None:
        w, optimizer = one()
        scaler = ready()
        give(w, math.inf)
        scaler.unscale_(optimizer)
        scaler.update()
        assert (scaler.trace[0].found_inf, scaler.trace[0].skipped) == (True, False)

    def test_nan_counts_above_inf_and_the_sign_does_not_count(self) -> None:
        (a, first), (b, second) = one(), one()
        scaler = ready(init_scale=8.0)
        for gradients in ((-12.0, 2.0), (math.nan, math.inf)):
            give(a, gradients[0])
            give(b, gradients[1])
            scaler.step(first)
            scaler.step(second)
            scaler.update()
        assert scaler.trace[0].largest == 1.5
        assert math.isnan(scaler.trace[1].largest)


class TestPolicies:
    def test_a_policy_of_measured_gradients_is_given_the_unscaled_largest(self) -> None:
        w, optimizer = one()
        scaler = GradScaler(policy=LogMaxLossScale(init_scale=4.0))
        scaler.scale(mp.tensor(1.0))
        give(w, -4.0 * 2.0**-5)
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() == 2.0 ** (16 + 5)

    def test_state_of_any_policy_is_saved_and_restored(self) -> None:
        w, optimizer = one()
        scaler = GradScaler(policy=GradualLossScale(growth_interval=4))
        for gradient in (1.0, 1.0, math.inf, 1.0):
            scaler.scale(mp.tensor(1.0))
            give(w, gradient)
            scaler.step(optimizer)
            scaler.update()
        other = GradScaler(policy=GradualLossScale())
        other.load_state_dict(scaler.state_dict())
        assert other.state_dict() == scaler.state_dict()

    def test_growth_settings_belong_to_the_dynamic_policy(self) -> None:
        scaler = GradScaler()
        scaler.set_growth_factor(3.0)
        scaler.set_backoff_factor(0.25)
        scaler.set_growth_interval(7)
        found = (
            scaler.get_growth_factor(),
            scaler.get_backoff_factor(),
            scaler.get_growth_interval(),
        )
        assert found == (3.0, 0.25, 7)
        with pytest.raises(TypeError, match=r"only a DynamicLossScale has; .* StaticLossScale"):
            GradScaler(policy=StaticLossScale()).get_growth_factor()


class TestConstruction:
    @pytest.mark.parametrize(
        "scaler",
        [
            GradScaler(1024.0, 3.0, 0.25, 10),
            GradScaler("cuda", 1024.0, 3.0, 0.25, 10, True),
            GradScaler("cpu", init_scale=1024.0, **FACTORS, growth_interval=10),
            GradScaler("cpu", 1024.0, growth_interval=10, growth_factor=3.0, backoff_factor=0.25),
            GradScaler(1024.0, device="cuda", **FACTORS, growth_interval=10),
        ],
    )
    def test_call_forms_of_pytorch(self, scaler: GradScaler) -> None:
        assert scaler.state_dict() == {
            "scale": 1024.0,
            "growth_factor": 3.0,
            "backoff_factor": 0.25,
            "growth_interval": 10,
            "_growth_tracker": 0,
        }

    def test_enabled_by_position(self) -> None:
        assert not GradScaler("cuda", 1024.0, 2.0, 0.5, 10, False).is_enabled()

    def test_unknown_setting(self) -> None:
        with pytest.raises(TypeError, match="was given grow; it takes init_scale, growth_factor"):
            GradScaler(grow=2.0)
        with pytest.raises(TypeError, match="it takes init_scale"):
            GradScaler(1.0, 2.0, 0.5, 10, True, 3)

    def test_settings_beside_a_policy(self) -> None:
        with pytest.raises(TypeError, match="was given init_scale beside a policy"):
            GradScaler(2.0, policy=StaticLossScale())

    def test_copies_and_pickles_between_steps_only(self) -> None:
        w, optimizer = one()
        scaler = ready(init_scale=32.0)
        for made in (copy.deepcopy(scaler), pickle.loads(pickle.dumps(scaler))):
            assert made.state_dict() == scaler.state_dict()
        give(w, 1.0)
        scaler.unscale_(optimizer)
        with pytest.raises(RuntimeError, match="copied or pickled in the middle of a step"):
            copy.deepcopy(scaler)


class TestErrors:
    """Each says what was given or done, what was expected, and what to do."""

    def test_unscaled_twice(self) -> None:
        w, optimizer = one()
        scaler = ready()
        give(w, 1.0)
        scaler.unscale_(optimizer)
        with pytest.raises(
            RuntimeError, match=r"was unscaled since the last update\(\): .* twice; call"
        ):
            scaler.unscale_(optimizer)

    def test_unscaled_after_step(self) -> None:
        w, optimizer = one()
        scaler = ready()
        give(w, 1.0)
        scaler.step(optimizer)
        with pytest.raises(RuntimeError, match=r"comes after step\(\), .* call it before"):
            scaler.unscale_(optimizer)

    def test_stepped_twice(self) -> None:
        w, optimizer = one()
        scaler = ready()
        give(w, 1.0)
        scaler.step(optimizer)
        with pytest.raises(RuntimeError, match=r"second step on these gradients; call update\(\)"):
            scaler.step(optimizer)

    @pytest.mark.parametrize("call", ["unscale_", "step", "update"])
    def test_before_any_scale(self, call: str) -> None:
        w, optimizer = one()
        give(w, 1.0)
        scaler = GradScaler()
        arguments = [] if call == "update" else [optimizer]
        with pytest.raises(
            RuntimeError, match=rf"{call}\(\) was called on a scaler that never .* call"
        ):
            getattr(scaler, call)(*arguments)

    def test_updated_without_a_check(self) -> None:
        with pytest.raises(
            RuntimeError, match=r"no gradient was checked for inf and NaN .* call step"
        ):
            ready().update()

    def test_no_gradients(self) -> None:
        _, optimizer = one()
        scaler = ready()
        with pytest.raises(
            RuntimeError, match=r"no gradient .* then copy_gradients\(\) if these are"
        ):
            scaler.step(optimizer)

    @pytest.mark.parametrize("dtype", [mp.float16, mp.float8_e5m2])
    def test_narrow_gradients_are_left_as_they_are(self, dtype: mp.DType) -> None:
        w = mp.tensor([1.0], dtype=dtype, requires_grad=True)
        w.grad = mp.tensor([2.0], dtype=dtype)
        v, _ = one()
        give(v, 1.0)
        scaler = ready()
        with pytest.raises(
            ValueError, match=rf"{dtype.name} gradient .* MasterWeights\(model.param"
        ):
            scaler.unscale_(SGD([v, w], lr=1.0))
        assert (v.grad.item(), w.grad.item()) == (1.0, 2.0)  # type: ignore[union-attr]

    def test_bfloat16_gradients_may_be_unscaled(self) -> None:
        w = mp.tensor([1.0], dtype=mp.bfloat16, requires_grad=True)
        w.grad = mp.tensor([3.0 * 65536], dtype=mp.bfloat16)
        ready().unscale_(SGD([w], lr=1.0))
        assert w.grad.item() == 3.0

    def test_a_closure(self) -> None:
        _, optimizer = one()
        for arguments, options in (([lambda: 1.0], {}), ([], {"closure": lambda: 1.0})):
            with pytest.raises(
                RuntimeError, match=r"given a closure.*call backward before step\(\)"
            ):
                ready().step(optimizer, *arguments, **options)

    def test_something_else_than_an_optimizer(self) -> None:
        masters = MasterWeights([mp.zeros(1, dtype=mp.float16, requires_grad=True)])
        with pytest.raises(
            TypeError, match="given a MasterWeights, which has no param_groups; it takes"
        ):
            ready().unscale_(masters)  # type: ignore[arg-type]

    def test_two_optimizers_with_one_parameter(self) -> None:
        w, first = one()
        second = SGD([w], lr=1.0)
        scaler = ready()
        give(w, 1.0)
        scaler.unscale_(first)
        with pytest.raises(
            RuntimeError, match=r"two optimizers that share a parameter.*to one optimizer"
        ):
            scaler.step(second)

    @pytest.mark.parametrize("given", [1.0, "loss", None])
    def test_something_else_than_a_loss(self, given: object) -> None:
        with pytest.raises(ValueError, match=f"given a {type(given).__name__}; it takes a tensor"):
            GradScaler().scale(given)

    @pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan, 1e39])
    def test_a_new_scale_that_is_none(self, scale: float) -> None:
        with pytest.raises(ValueError, match="as new scale; it takes a positive finite number"):
            ready().update(scale)

    def test_a_new_scale_of_several_elements(self) -> None:
        with pytest.raises(
            ValueError,
            match=r"given tensor\(.* as new scale; it takes .* or a tensor with one that",
        ):
            ready().update(mp.ones(2))

    def test_an_empty_state(self) -> None:
        with pytest.raises(
            RuntimeError, match="empty state, as a disabled GradScaler saves it; make"
        ):
            GradScaler().load_state_dict(GradScaler(enabled=False).state_dict())
