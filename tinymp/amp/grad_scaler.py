"""Loss scaling: keep float16 gradients from underflowing, and skip the steps where they overflow.

    scaler.scale(loss).backward()       gradients arrive multiplied by the scale S
    scaler.unscale_(optimizer)          divide them by S in float32, and look for inf and NaN
    clip_grad_norm_(parameters, 1.0)    clip, if at all, the true gradients
    scaler.step(optimizer)              step, unless an inf or a NaN was found
    scaler.update()                     choose the next S

Between two updates an optimizer goes from ready to unscaled to stepped, once; calls in another
order are errors. What `unscale_` found is what `step` and `update` go by, whatever happens to the
gradients in between. All of it is the behaviour of `torch.amp.GradScaler`.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tinymp.amp.diagnosis import LossScaleWarning, ScaleRecord, diagnose
from tinymp.amp.loss_scale import DynamicLossScale, LossScalePolicy, SettingError, in_float32
from tinymp.amp.unscale import Check, ScalerOrderError, largest, unscale, with_gradients
from tinymp.autograd import Tensor
from tinymp.autograd.modes import not_for_capture
from tinymp.formats import DType
from tinymp.optim import Optimizer

_SETTINGS = ("init_scale", "growth_factor", "backoff_factor", "growth_interval", "enabled")


class GradScaler:
    """Scales losses up and gradients down again, and adapts the scale.

    `GradScaler(init_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000,
    enabled=True)`, or as in PyTorch with a device first, which makes no difference here;
    `GradScaler(policy=...)` for another `LossScalePolicy`. With `enabled=False` all is as if there
    were no scaler. `trace` has a `ScaleRecord` of each update.

    Raises:
        SettingError (a ValueError): a growth factor not above 1, a backoff factor not below 1, ...
        TypeError: an unknown setting, or settings beside a policy.
    """

    def __init__(
        self, *arguments: Any, policy: LossScalePolicy | None = None, **options: Any
    ) -> None:
        if arguments and isinstance(arguments[0], str):
            arguments = arguments[1:]
        options.pop("device", None)
        settings = {**dict(zip(_SETTINGS, arguments, strict=False)), **options}
        self._enabled = bool(settings.pop("enabled", True))
        unknown = [name for name in settings if name not in _SETTINGS]
        if unknown or len(arguments) > len(_SETTINGS) or (policy and settings):
            raise TypeError(
                f"GradScaler was given {', '.join(unknown or settings)}"
                f"{' beside a policy, which has its own settings' if policy else ''}; it takes "
                f"{', '.join(_SETTINGS)}, or a policy and enabled"
            )
        self._policy = policy or DynamicLossScale(**settings)
        self._state = self._policy.start
        self._scaled = False  # whether scale() was ever called
        self._checks: dict[Optimizer, Check] = {}
        # Losses before scaling, for a diagnosis: storage and dtype, so without their graph. A loop
        # that never updates must not pile them up.
        self._losses: deque[tuple[Any, DType]] = deque(maxlen=16)
        self.trace: list[ScaleRecord] = []

    # A step, in the order of its calls

    def scale(self, outputs: Any) -> Any:
        """A loss, or nested lists and tuples of losses, multiplied by the scale.

        The product has the dtype of the loss. Compute losses in float32: the gradient of a float16
        loss is the scale itself in float16, where 2^16 is infinite. Raises a ValueError for
        anything that is neither a tensor nor an iterable of tensors.
        """
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self.scale_of(outputs)
        if isinstance(outputs, list | tuple):
            return type(outputs)(self.scale(output) for output in outputs)
        if isinstance(outputs, Iterable) and not isinstance(outputs, str):
            return map(self.scale, outputs)
        raise ValueError(
            f"scale() was given a {type(outputs).__name__}; it takes a tensor, or an iterable of "
            "tensors"
        )

    def scale_of(self, loss: Tensor) -> float:
        """The factor for a loss, for those who scale it, or its gradient, themselves."""
        not_for_capture("used a GradScaler, whose scale changes")
        self._scaled = True
        if self._enabled and loss._array.size == 1:
            self._losses.append((loss._array, loss.dtype))
        return self.get_scale()

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of the optimizer's parameters by the scale; look for inf and NaN.

        Call it once a step, after the last backward, to see or clip the true gradients; otherwise
        `step` does.

        Raises:
            ValueError: gradients with a narrower range than float32, such as float16.
            ScalerOrderError (a RuntimeError): called twice, after `step`, or before any `scale`; or
                another optimizer holds one of the parameters.
        """
        if not self._enabled:
            return
        check = self._check_of(optimizer, "unscale_")
        parameters = with_gradients(optimizer)
        check.parameters = frozenset(parameters)
        if any(c is not check and c.parameters & check.parameters for c in self._checks.values()):
            raise ScalerOrderError(
                "unscale_() was called for two optimizers that share a parameter, and would divide "
                "its gradient by the scale twice; give each parameter to one optimizer"
            )
        check.largest = unscale(parameters, self._state.scale)
        check.stage = "unscaled"

    def step(self, optimizer: Optimizer, *arguments: Any, **options: Any) -> Any:
        """`optimizer.step()`, unless its gradients held inf or NaN; unscales them if need be.

        Returns what `optimizer.step()` does, None where it was skipped.

        Raises:
            ScalerOrderError (a RuntimeError): called twice since the last `update`, before any
                `scale`, or without any gradient.
            RuntimeError: called with a closure.
        """
        if not self._enabled:
            return optimizer.step(*arguments, **options)
        if arguments or "closure" in options:
            raise RuntimeError(
                "step() was given a closure, whose gradients would be neither unscaled nor "
                "checked; call backward before step()"
            )
        check = self._check_of(optimizer, "step")
        if check.stage == "ready":
            self.unscale_(optimizer)
        if check.largest is None:
            raise ScalerOrderError(
                "step() found no gradient in the optimizer's parameters; call backward on the "
                "scaled loss first, then copy_gradients() if these are MasterWeights, and build "
                "the optimizer on the parameters that the loss depends on"
            )
        result = None if check.found_inf else optimizer.step(**options)
        check.stage = "stepped"
        return result

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """End a step: choose the next scale by the policy, or take `new_scale` where given.

        Raises:
            ScalerOrderError (a RuntimeError): nothing was checked since the last update.
            SettingError (a ValueError): a `new_scale` that is not one positive finite number.
            FloatingPointError: the scale has fallen to zero.

        Warns:
            LossScaleWarning: steps are skipped for a reason that no scale can mend.
        """
        if not self._enabled:
            return
        self._require_scaled("update")
        if new_scale is not None:
            self._state = self._state._replace(scale=_as_scale(new_scale))
            message = None
        else:
            message = self._follow_policy()
        self._checks.clear()
        self._losses.clear()
        if self._state.scale == 0:
            raise FloatingPointError(message)
        if message is not None:
            warnings.warn(message, LossScaleWarning, stacklevel=2)

    # Settings and state

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def get_scale(self) -> float:
        """The scale, 1.0 if disabled."""
        return self._state.scale if self._enabled else 1.0

    @property
    def policy(self) -> LossScalePolicy:
        """How the scale is chosen."""
        return self._policy

    @property
    def clean_steps(self) -> int:
        """Number of steps without inf or NaN in a row, as the policy counts them."""
        return self._state.clean_steps

    def resume(self, scale: float, clean_steps: int) -> None:
        """Go on from a scale and a number of clean steps that were worked out elsewhere."""
        if self._enabled:
            self._state = self._state._replace(scale=scale, clean_steps=clean_steps)

    def get_growth_factor(self) -> float:
        """Factor by which the scale grows."""
        return self._dynamic().growth_factor

    def get_backoff_factor(self) -> float:
        """Factor by which the scale falls."""
        return self._dynamic().backoff_factor

    def get_growth_interval(self) -> int:
        """Number of clean steps in a row that let the scale grow."""
        return self._dynamic().growth_interval

    def set_growth_factor(self, new_factor: float) -> None:
        """Set the factor by which the scale grows."""
        self._policy = replace(self._dynamic(), growth_factor=new_factor)

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set the factor by which the scale falls."""
        self._policy = replace(self._dynamic(), backoff_factor=new_factor)

    def set_growth_interval(self, new_interval: int) -> None:
        """Set the number of clean steps in a row that let the scale grow."""
        self._policy = replace(self._dynamic(), growth_interval=new_interval)

    def state_dict(self) -> dict[str, Any]:
        """Scale, counter and settings as plain numbers, named as in PyTorch; empty if disabled."""
        return self._policy.state_dict(self._state) if self._enabled else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state; does nothing if disabled.

        Raises:
            RuntimeError: an empty state, as a disabled scaler saves it.
            ValueError: the state of another policy, or an incomplete one.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "load_state_dict() was given an empty state, as a disabled GradScaler saves it; "
                "make this one with enabled=False too, or let it start afresh"
            )
        self._policy, self._state = self._policy.restored(state_dict)

    def __getstate__(self) -> dict[str, Any]:
        if self._checks:
            raise ScalerOrderError(
                "a GradScaler was copied or pickled in the middle of a step, while it refers to "
                "optimizers; do so after update()"
            )
        return {**vars(self), "_scaled": False}  # the copy has not scaled anything

    # Inside

    def _check_of(self, optimizer: Optimizer, call: str) -> Check:
        if not hasattr(optimizer, "param_groups"):
            raise TypeError(
                f"{call}() was given a {type(optimizer).__name__}, which has no param_groups; it "
                "takes the optimizer"
            )
        self._require_scaled(call)
        check = self._checks.setdefault(optimizer, Check())
        check.allow(call)
        return check

    def _require_scaled(self, call: str) -> None:
        if not self._scaled:
            raise ScalerOrderError(
                f"{call}() was called on a scaler that never scaled a loss; call "
                "scale(loss).backward() on this same scaler first"
            )

    def _follow_policy(self) -> str | None:
        """Choose the next scale and record the step; what is wrong, if something is."""
        checks = [check for check in self._checks.values() if check.largest is not None]
        if not checks:
            raise ScalerOrderError(
                "update() was called, but no gradient was checked for inf and NaN since the last "
                "one; call step(optimizer) first"
            )
        overflown = [check.stage for check in checks if check.found_inf]
        record = ScaleRecord(
            step=len(self.trace),
            scale=self._state.scale,
            largest=largest([check.largest or 0.0 for check in checks]) / self._state.scale,
            found_inf=bool(overflown),
            skipped="stepped" in overflown,
        )
        self._state = self._policy.next(self._state, record.found_inf, record.largest)
        self.trace.append(record)
        if not record.found_inf:
            return None  # without a look at the losses, which may be on a GPU
        losses = [float(Tensor(*loss)) for loss in self._losses]
        return diagnose(self.trace, self._state.scale, losses)

    def _dynamic(self) -> DynamicLossScale:
        if not isinstance(self._policy, DynamicLossScale):
            raise TypeError(
                "growth and backoff were asked for, which only a DynamicLossScale has; this "
                f"scaler's policy is {self._policy}"
            )
        return self._policy


def _as_scale(new_scale: float | Tensor) -> float:
    """The number that a user sets as the scale."""
    unfit = isinstance(new_scale, Tensor) and (new_scale.size != 1 or new_scale.requires_grad)
    scale = math.nan if unfit else in_float32(float(new_scale))
    if not 0 < scale < math.inf:
        raise SettingError(
            f"update() was given {new_scale!r} as new scale; it takes a positive finite number, or "
            "a tensor with one that requires no gradient"
        )
    return scale
