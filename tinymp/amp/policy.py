"""What is stored, computed and updated in which format? A policy answers for a whole run.

    policy = get_policy("fp16")
    policy.cast_model(model)
    masters, scaler = policy.make_masters(model), policy.make_scaler()
    optimizer = AdamW(masters.parameters(), lr=1e-3, **policy.optimizer_options())

    with policy.rounding_context():                    # a step, in its only right order
        optimizer.zero_grad()
        with policy.autocast_context():
            loss = cross_entropy(policy.cast_output(model(policy.cast_input(inputs))), labels)
        scaler.scale(loss).backward()
        masters.copy_gradients()
        scaler.unscale_(optimizer)
        clip_grad_norm_(masters.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        masters.copy_weights()

The same lines serve every policy: where there is no scaler or master, the call does nothing.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from tinymp.amp.autocast import autocast
from tinymp.amp.grad_scaler import GradScaler
from tinymp.amp.loss_scale import DynamicLossScale, LossScalePolicy
from tinymp.amp.master_weights import MasterWeights
from tinymp.autograd import Tensor
from tinymp.formats import DType, bfloat16, dtype_of, float16, float32, float64, rounding
from tinymp.formats.rounding import check_mode
from tinymp.nn import Module

AnyModule = TypeVar("AnyModule", bound=Module)


@dataclass(frozen=True)
class Policy:
    """A choice of formats for a run.

    `param`: format in which the model stores its parameters.
    `compute`: format of activations and products, that of the parameters if left out; float16 or
        bfloat16 over float32 parameters means autocast.
    `output`: format in which the model's output reaches the loss.
    `masters`: whether the optimizer works on float32 master weights.
    `scaler`: how the loss scale changes; None for no loss scaling.
    `rounding`: mode of every rounding to a format below float32.
    `update_rounding`: mode for updated weights alone, without masters; None for `rounding`.
    `compensated`: Kahan-compensated updates, without masters.

    Raises:
        TypeError: a format that is not a floating-point one.
        ValueError: an unknown rounding mode, or a combination that makes no sense.
    """

    param: DType = float32
    compute: DType = None  # type: ignore[assignment]  # becomes param
    output: DType = float32
    masters: bool = False
    scaler: LossScalePolicy | None = None
    rounding: str = "nearest_even"
    update_rounding: str | None = None
    compensated: bool = False
    name: str = "custom"

    def __post_init__(self) -> None:
        for role in ("param", "compute", "output"):
            # How a frozen dataclass fills in its own defaults.
            object.__setattr__(self, role, _format(role, getattr(self, role) or self.param))
        check_mode(self.rounding)
        check_mode(self.update_rounding or self.rounding)
        own_update = self.compensated or self.update_rounding is not None
        scales = self.scaler is not None
        senseless = {
            "compute must be param, or float16 or bfloat16 over float32 parameters (autocast)": (
                self.compute is not self.param and not self.autocasts
            ),
            "masters, update_rounding and compensated are for 2-byte parameters": (
                (self.masters or own_update) and self.param.itemsize != 2
            ),
            "update_rounding and compensated are for updates without masters": (
                self.masters and own_update
            ),
            "gradients cannot be unscaled in float16, so a scaler needs masters here": (
                scales and self.param is float16 and not self.masters
            ),
            "rounded toward zero nothing overflows to infinity, which a scaler waits for": (
                scales and self.rounding == "toward_zero"
            ),
        }
        reasons = [reason for reason, holds in senseless.items() if holds]
        if reasons:
            raise ValueError(f"{self} makes no sense: {'; '.join(reasons)}")

    @property
    def autocasts(self) -> bool:
        """Whether products are computed in a lower precision than parameters are stored in."""
        return self.param is float32 and self.compute in (float16, bfloat16)

    # For the lines of a training loop

    def cast_model(self, model: AnyModule) -> AnyModule:
        """Convert a model's parameters and buffers, in place; returns it."""
        with self.rounding_context():
            return model.to(self.param)

    def make_masters(self, model: Module) -> MasterWeights:
        """Masters of the converted model; without `masters` each parameter is its own."""
        return MasterWeights(model.parameters(), enabled=self.masters)

    def make_scaler(self) -> GradScaler:
        """A scaler, disabled where the policy has none."""
        return GradScaler(policy=self.scaler, enabled=self.scaler is not None)

    def optimizer_options(self) -> dict[str, Any]:
        """Keywords for the optimizer: how it writes updated weights."""
        return {"rounding": self.update_rounding, "compensated": self.compensated}

    def rounding_context(self) -> AbstractContextManager[Any]:
        """Context in which all rounding to formats below float32 follows the policy."""
        return rounding(self.rounding)

    def autocast_context(self) -> AbstractContextManager[Any]:
        """Context of the forward pass and the loss: autocast, switched off where there is none."""
        return autocast(self.compute if self.autocasts else float16, enabled=self.autocasts)

    def loss_context(self) -> AbstractContextManager[Any]:
        """Context in which losses of the model's output have the policy's output format.

        What `cast_output` does with a copy of the output, losses do as they compute: autocast's
        category float32 sets the format of their result. Under autocast nothing is left to do.
        """
        narrow = self.output is float32 and self.param in (float16, bfloat16)
        return autocast(self.param, enabled=True) if narrow else nullcontext()

    def cast_input(self, x: Tensor) -> Tensor:
        """A floating-point input in the format of the parameters; integers pass."""
        return x.to(self.param) if x.dtype.kind == "float" else x

    def cast_output(self, x: Tensor) -> Tensor:
        """The model's output in the format in which the loss is computed."""
        return x.to(self.output)


def _format(role: str, given: Any) -> DType:
    dtype: DType = dtype_of(given)
    if dtype not in (float64, float32, float16, bfloat16):
        raise (ValueError if dtype.kind == "float" else TypeError)(
            f"a policy was given {dtype.name} as its {role} format, in which no model can be "
            "trained; it takes float64, float32, float16 or bfloat16"
        )
    return dtype


#: The named policies. "naive" has neither loss scaling nor masters; "bf16-naive" truncates.
#: "fp16-unscaled" lacks the scaling alone; the masters alone cannot be left out (see `Policy`).
POLICIES = {
    policy.name: policy
    for policy in (
        Policy(name="fp32"),
        Policy(compute=float16, scaler=DynamicLossScale(), name="autocast-fp16"),
        Policy(compute=bfloat16, name="autocast-bf16"),
        Policy(float16, masters=True, scaler=DynamicLossScale(), name="fp16"),
        Policy(bfloat16, masters=True, name="bf16"),
        Policy(float16, masters=True, name="fp16-unscaled"),
        Policy(float16, name="fp16-naive"),
        Policy(float16, rounding="stochastic", name="fp16-naive-stochastic"),
        Policy(bfloat16, rounding="toward_zero", name="bf16-naive"),
        Policy(bfloat16, name="bf16-naive-nearest"),
        Policy(bfloat16, rounding="stochastic", name="bf16-naive-stochastic"),
        Policy(bfloat16, update_rounding="stochastic", name="bf16-stochastic"),
        Policy(bfloat16, compensated=True, name="bf16-kahan"),
    )
}


def get_policy(name: str) -> Policy:
    """The named policy. Raises a ValueError that lists the names for an unknown one."""
    if name not in POLICIES:
        raise ValueError(f"unknown policy {name!r}; expected one of {', '.join(POLICIES)}")
    return POLICIES[name]
