from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp.amp import POLICIES, DynamicLossScale, Policy, StaticLossScale, get_policy
from tinymp.nn import Linear, Sequential, Tanh
from tinymp.nn import functional as F
from tinymp.optim import AdamW, clip_grad_norm_


def train(policy: Policy, steps: int = 40, device: str = "cpu") -> tuple[list[float], Any]:
    """The loop of policy.py's docstring on a small classification; losses and the model."""
    mp.manual_seed(1)
    model = policy.cast_model(Sequential(Linear(4, 16), Tanh(), Linear(16, 3)).to(device))
    masters = policy.make_masters(model)
    optimizer = AdamW(masters.parameters(), lr=3e-2, **policy.optimizer_options())
    scaler = policy.make_scaler()
    inputs = mp.randn(48, 4, device=device)
    labels = mp.tensor(inputs.numpy()[:, :3].argmax(1), device=device)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        with policy.rounding_context():
            with policy.autocast_context():
                output = policy.cast_output(model(policy.cast_input(inputs)))
                loss = F.cross_entropy(output, labels)
            scaler.scale(loss).backward()
            masters.copy_gradients()
            scaler.unscale_(optimizer)
            clip_grad_norm_(masters.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            masters.copy_weights()
        assert output.dtype is policy.output
        assert loss.dtype is mp.float32
        losses.append(loss.item())
    return losses, model


@pytest.mark.parametrize("name", POLICIES)
def test_one_loop_trains_under_every_policy(name: str, device: str) -> None:
    losses, model = train(get_policy(name), device=device)
    assert losses[-1] < 0.6 * losses[0]
    assert {p.dtype for p in model.parameters()} == {get_policy(name).param}


@pytest.mark.parametrize("name", ["fp16", "bf16", "autocast-fp16", "autocast-bf16"])
def test_mixed_precision_follows_float32(name: str) -> None:
    reference, _ = train(get_policy("fp32"))
    losses, _ = train(get_policy(name))
    # Not a bound of rounding theory: forty steps of a contracting iteration whose relative errors
    # are of the unit roundoff (2^-8 at worst) each; a wrong scale or order is off by factors.
    np.testing.assert_allclose(losses, reference, rtol=40 * 2.0**-8, atol=0.01)


def test_every_policy_that_rounds_says_how() -> None:
    modes = {name: policy.rounding for name, policy in POLICIES.items()}
    assert modes["bf16"] == modes["fp16"] == modes["bf16-kahan"] == "nearest_even"
    assert modes["bf16-naive"] == "toward_zero"
    assert modes["bf16-naive-nearest"] == "nearest_even"
    assert modes["bf16-naive-stochastic"] == "stochastic"


def test_alternatives_to_masters_are_optimizer_options() -> None:
    options = {name: policy.optimizer_options() for name, policy in POLICIES.items()}
    assert options["bf16-stochastic"] == {"rounding": "stochastic", "compensated": False}
    assert options["bf16-kahan"] == {"rounding": None, "compensated": True}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("fp32", mp.float32), ("autocast-fp16", mp.float16), ("autocast-bf16", mp.bfloat16)],
)
def test_products_are_computed_in_the_policys_format(name: str, dtype: mp.DType) -> None:
    with get_policy(name).autocast_context():
        assert (mp.ones(2, 2) @ mp.ones(2, 2)).dtype is dtype


def test_the_active_rounding_of_a_policy_is_its_own() -> None:
    with mp.rounding("stochastic"), get_policy("bf16-naive").rounding_context():
        assert mp.tensor([1.998046875]).bfloat16().item() == 1.9921875  # cut, not rounded to 2


def test_a_model_is_converted_by_the_policys_rounding() -> None:
    for name, rounded in (("bf16", 2.0), ("bf16-naive", 1.9921875)):
        model = Linear(1, 1)
        model.weight.data.copy_(mp.tensor([[1.998046875]]))
        assert get_policy(name).cast_model(model).weight.item() == rounded


def test_policies_are_values_with_formats_by_name() -> None:
    assert Policy("float16", masters=True) == Policy(mp.float16, mp.float16, masters=True)
    with pytest.raises(FrozenInstanceError):
        get_policy("fp16").masters = False  # type: ignore[misc]


def test_a_policy_without_scaler_or_masters_makes_ones_that_do_nothing() -> None:
    policy = get_policy("fp16-naive")
    model = policy.cast_model(Linear(2, 2))
    assert not policy.make_scaler().is_enabled()
    assert policy.make_masters(model).parameters() == list(model.parameters())


def test_inputs_go_to_the_models_format_and_integers_pass() -> None:
    policy = get_policy("fp16")
    assert policy.cast_input(mp.ones(2)).dtype is mp.float16
    assert policy.cast_input(mp.tensor([1, 2])).dtype is mp.int64


def test_error_unknown_name_lists_the_known() -> None:
    with pytest.raises(
        ValueError, match="unknown policy 'fp17'; expected one of fp32, autocast-fp16"
    ):
        get_policy("fp17")


@pytest.mark.parametrize("role", ["param", "compute", "output"])
def test_error_an_integer_format(role: str) -> None:
    with pytest.raises(TypeError, match=f"int64 as its {role} format, in which no model can be"):
        Policy(**{role: mp.int64})


def test_error_a_float8_format() -> None:
    with pytest.raises(
        ValueError, match=r"float8_e5m2 as its param format.*takes float64, float32"
    ):
        Policy(mp.float8_e5m2)


def test_error_unknown_rounding() -> None:
    with pytest.raises(ValueError, match="unknown rounding mode 'up'"):
        Policy(rounding="up")
    with pytest.raises(ValueError, match="unknown rounding mode 'up'"):
        Policy(mp.float16, update_rounding="up")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"param": mp.float16, "compute": mp.float32},
            "compute must be param, or float16 or bfloat16",
        ),
        (
            {"param": mp.float16, "compute": mp.bfloat16},
            "compute must be param, or float16 or bfloat16",
        ),
        ({"masters": True}, "are for 2-byte parameters"),
        ({"compensated": True}, "are for 2-byte parameters"),
        ({"param": mp.float64, "update_rounding": "stochastic"}, "are for 2-byte parameters"),
        ({"param": mp.bfloat16, "masters": True, "compensated": True}, "updates without masters"),
        ({"param": mp.float16, "scaler": StaticLossScale()}, "a scaler needs masters here"),
        (
            {"compute": mp.float16, "scaler": DynamicLossScale(), "rounding": "toward_zero"},
            "nothing overflows to infinity, which a scaler waits for",
        ),
    ],
)
def test_error_a_combination_that_makes_no_sense(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Policy(**settings)
