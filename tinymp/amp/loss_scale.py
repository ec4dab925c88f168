"""How does a loss scale change from step to step? Each answer is a small immutable policy.

Gradients of a float16 network are often so small that they underflow. Multiplying the loss by S
multiplies every gradient by S (the chain rule is linear), which moves them up into float16's range;
too large an S makes them overflow. A policy looks for the largest S that does not: given the state
and what a step found, it returns the next state. It has no state of its own.

Scales are kept in float32. Powers of two are to be preferred: multiplying by one only moves the
exponent, which is exact unless something under- or overflows.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np


class ScaleState(NamedTuple):
    """What is remembered from step to step; each policy uses the part that it names.

    `scale`: the factor S. `clean_steps`: steps since it grew, or since inf or NaN was found (the
    growth counter). `overflows`: steps with inf or NaN, as the policy counts them. `measured`,
    `log2_mean`, `log2_variance`: how often log2 of the largest gradient was measured, its mean and
    its variance.
    """

    scale: float
    clean_steps: int = 0
    overflows: int = 0
    measured: int = 0
    log2_mean: float = 0.0
    log2_variance: float = 0.0


class SettingError(ValueError, AssertionError):
    """A setting that makes no sense (PyTorch raises AssertionError here)."""


# What a setting must lie strictly between; those not named here must be positive.
_BOUNDS = {"growth_factor": (1, math.inf), "backoff_factor": (0, 1), "decay": (0, 1)}
# Entries of a saved state that PyTorch calls otherwise.
_SAVED_AS = {"clean_steps": "_growth_tracker"}


@dataclass(frozen=True)
class LossScalePolicy(ABC):
    """A rule for the next loss scale; `init_scale` is the first.

    Raises:
        SettingError (a ValueError): a setting that makes no sense, such as a growth factor of 1.
    """

    init_scale: float = 2.0**16
    remembers: ClassVar[tuple[str, ...]] = ("scale",)

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            low, high = _BOUNDS.get(name, (0, math.inf))
            if not low < value < high:
                raise SettingError(
                    f"{type(self).__name__} was given {name}={value}; it must be above {low} and "
                    f"below {high}"
                )

    @property
    def start(self) -> ScaleState:
        """The state before the first step."""
        return ScaleState(in_float32(self.init_scale))

    @abstractmethod
    def next(self, state: ScaleState, found_inf: bool, largest: float = 0.0) -> ScaleState:
        """The state after a step.

        `found_inf`: whether a gradient held inf or NaN. `largest`: the largest absolute value among
        the unscaled gradients, which means something only where nothing was found.
        """

    def state_dict(self, state: ScaleState) -> dict[str, Any]:
        """State and settings as plain numbers, for a checkpoint; named as in PyTorch."""
        settings = {name: value for name, value in asdict(self).items() if name != "init_scale"}
        return {_SAVED_AS.get(n, n): getattr(state, n) for n in self.remembers} | settings

    def restored(self, saved: dict[str, Any]) -> tuple[Self, ScaleState]:
        """The policy with the saved settings, and the saved state.

        Raises:
            ValueError: the state of another policy, or an incomplete one.
        """
        expected = self.state_dict(self.start)
        if set(saved) != set(expected):
            raise ValueError(
                f"a loss scale was to be restored from {', '.join(saved)}, but a "
                f"{type(self).__name__} needs {', '.join(expected)}; use the policy that was saved"
            )
        state = {name: saved[_SAVED_AS.get(name, name)] for name in self.remembers}
        settings = {name: saved[name] for name in asdict(self) if name in saved}
        return replace(self, **settings), ScaleState(**state)


@dataclass(frozen=True)
class DynamicLossScale(LossScalePolicy):
    """PyTorch's policy: back off at once, grow after `growth_interval` clean steps in a row.

    It starts too high on purpose: some skipped steps find the right scale. Source of the idea:
    Micikevicius et al., Mixed Precision Training (ICLR 2018), sections 3.2 (skip the step) and 5;
    rule and defaults are those of `torch.amp.GradScaler`.
    """

    growth_factor: float = 2.0
    backoff_factor: float = 0.5
    growth_interval: int = 2000
    remembers = ("scale", "clean_steps")

    def next(self, state: ScaleState, found_inf: bool, largest: float = 0.0) -> ScaleState:
        if found_inf:
            return state._replace(
                scale=in_float32(state.scale * self.backoff_factor), clean_steps=0
            )
        # Exactly equal, as in PyTorch: an interval made shorter than the run of clean steps that is
        # under way counts from the next overflow on.
        if state.clean_steps + 1 != self.growth_interval:
            return state._replace(clean_steps=state.clean_steps + 1)
        grown = in_float32(state.scale * self.growth_factor)
        return state._replace(scale=grown if math.isfinite(grown) else state.scale, clean_steps=0)


@dataclass(frozen=True)
class StaticLossScale(LossScalePolicy):
    """A fixed scale: steps with inf or NaN are skipped, and that is all."""

    def next(self, state: ScaleState, found_inf: bool, largest: float = 0.0) -> ScaleState:
        return state


@dataclass(frozen=True)
class GradualLossScale(LossScalePolicy):
    """Chainer's policy: double every step until the first overflow, then grow a little every step.

    From then on a clean step multiplies by 2^(1/`growth_interval`), and an overflow halves. The
    scale stays within 1 and `max_scale`, and is rarely a power of two: scaling rounds. Source:
    `Optimizer.loss_scaling` and `update_loss_scale` of Chainer 7 (chainer/optimizer.py).
    """

    init_scale: float = 1.0
    growth_interval: int = 1000
    max_scale: float = 65504.0
    remembers = ("scale", "overflows")

    def next(self, state: ScaleState, found_inf: bool, largest: float = 0.0) -> ScaleState:
        growth = 2.0 ** (1 / self.growth_interval) if state.overflows else 2.0
        scale = state.scale * (0.5 if found_inf else growth)
        scale = in_float32(max(1.0, min(self.max_scale, scale)))
        return state._replace(scale=scale, overflows=state.overflows + found_inf)


@dataclass(frozen=True)
class HysteresisLossScale(LossScalePolicy):
    """Megatron's and DeepSpeed's policy: forgive some overflows, and never go below a floor.

    The first `hysteresis` - 1 overflows since the scale last grew leave it as it is: an odd batch
    should not cost `growth_interval` steps at half the scale. The others halve it, down to
    `min_scale`. Source: `DynamicGradScaler` of Megatron-LM
    (megatron/core/optimizer/grad_scaler.py); the same rule in DeepSpeed's `DynamicLossScaler`, with
    the options `hysteresis`, `loss_scale_window` and `min_loss_scale` and these defaults.
    """

    growth_interval: int = 1000
    hysteresis: int = 2
    min_scale: float = 1.0
    remembers = ("scale", "clean_steps", "overflows")

    def next(self, state: ScaleState, found_inf: bool, largest: float = 0.0) -> ScaleState:
        scale, overflows = state.scale, state.overflows + found_inf
        if found_inf:
            if overflows >= self.hysteresis:
                scale = max(scale / 2, min(scale, self.min_scale))
            return state._replace(scale=in_float32(scale), clean_steps=0, overflows=overflows)
        if state.clean_steps + 1 == self.growth_interval:
            scale = min(scale * 2, 2.0**127)  # float32's largest power of two
            return state._replace(scale=scale, clean_steps=0, overflows=0)
        return state._replace(clean_steps=state.clean_steps + 1)


@dataclass(frozen=True)
class LogMaxLossScale(LossScalePolicy):
    """Choose the scale from the measured exponents of the gradients, before they overflow.

    The largest gradient g of a step is taken as log-normal over the steps: with running mean m and
    standard deviation s of log2 g, the scale is the largest power of two that keeps
    m + `deviations`·s under float16's limit 2^16; beyond 3.09 deviations is one step in a thousand.
    Inside the network gradients may be larger than those of parameters, the only ones measured. So
    an overflow takes one bit of headroom, and `growth_interval` clean steps give one back. Source:
    LogMax of OpenSeq2Seq (Kuchaiev et al., arXiv 1805.10387); the headroom is ours.
    """

    init_scale: float = 1.0
    deviations: float = 3.09
    decay: float = 0.99
    growth_interval: int = 1000
    max_scale: float = 2.0**24
    remembers = ScaleState._fields

    def next(self, state: ScaleState, found_inf: bool, largest: float = 0.0) -> ScaleState:
        if found_inf:
            scale = max(1.0, state.scale / 2)
            return state._replace(scale=scale, clean_steps=0, overflows=state.overflows + 1)
        clean, headroom = state.clean_steps + 1, state.overflows
        if clean == self.growth_interval:
            clean, headroom = 0, max(0, headroom - 1)
        state = state._replace(clean_steps=clean, overflows=headroom)
        if largest == 0:
            return state  # no exponent to learn from
        # Plain averages at first; later the past has the share `decay`.
        past = min(self.decay, state.measured / (state.measured + 1))
        distance = math.log2(largest) - state.log2_mean
        mean = state.log2_mean + (1 - past) * distance
        variance = past * (state.log2_variance + (1 - past) * distance**2)
        exponent = math.floor(16 - mean - self.deviations * math.sqrt(variance)) - headroom
        return state._replace(
            scale=2.0 ** max(0, min(exponent, math.floor(math.log2(self.max_scale)))),
            measured=state.measured + 1,
            log2_mean=mean,
            log2_variance=variance,
        )


def in_float32(value: float) -> float:
    """`value` rounded to float32; infinity where it is too large."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))
