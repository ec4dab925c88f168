"""The second half of a mixed-precision step on a GPU, in which the host waits for nothing.

Whether a step is skipped is known on the GPU first. So everything that depends on it lives there:
the loss scale and its counter, the number of steps, the learning rate. Three kernels over all
parameters at once do what `train.loop` spells out line by line, with the same formulas:

    check   unscale; is there an inf or a NaN; the norm, and the factor that clips it
    step    unscale, clip, the optimizer's rule on the float32 masters, the rounded copy
    scale   the next loss scale
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np

from tinymp.amp.grad_scaler import GradScaler
from tinymp.amp.loss_scale import DynamicLossScale, StaticLossScale
from tinymp.amp.master_weights import MasterWeights
from tinymp.autograd import Tensor
from tinymp.formats import active_rounding, float32
from tinymp.optim.adam import Adam, AdamW
from tinymp.optim.optimizer import Optimizer


class DeviceStep:
    """Steps of Adam or AdamW on a GPU: unscale, check, clip, update, round, choose the next scale.

    `lr_of_step`: the learning rate of each step that is not skipped, for so many steps; after them
    the last one stays. Between calls the state on the GPU is ahead of the optimizer's and the
    scaler's; `settle` brings it back to them, for a checkpoint or a look.

    Raises:
        ValueError: what these kernels do not do; `refusal` says it beforehand.
    """

    def __init__(
        self,
        masters: MasterWeights,
        optimizer: Optimizer,
        scaler: GradScaler,
        lr_of_step: Callable[[int], float],
        steps: int,
        max_norm: float = inf,
    ) -> None:
        if (reason := refusal(masters, optimizer, scaler)) is not None:
            raise ValueError(f"a DeviceStep cannot be made: {reason}")
        from tinymp.devices.kernels.adam import AdamStep
        from tinymp.devices.kernels.gradient_check import GradientCheck

        self._optimizer, self._scaler, self._max_norm = optimizer, scaler, max_norm
        self._group = optimizer.param_groups[0]
        of_master = {id(master): p for p, master in masters.pairs()}
        self._masters: list[Tensor] = self._group["params"]
        self._model = [of_master[id(master)] for master in self._masters]
        names = optimizer.state_names(self._group)
        states = [optimizer.state_of(p, names) for p in self._masters]
        self._own = all(p is m for p, m in zip(self._model, self._masters, strict=True))
        self._adam = AdamStep(
            [m._array for m in self._masters],
            [state["exp_avg"]._array for state in states],
            [state["exp_avg_sq"]._array for state in states],
            None if self._own else [p._array for p in self._model],
            None if self._own else self._model[0].dtype,
        )
        sizes = [m.size for m in self._masters]
        self._check_model = GradientCheck(sizes, [p.dtype for p in self._model])
        self._check_masters = GradientCheck(sizes, [float32] * len(sizes))
        self.xp = xp = self._masters[0]._device.xp
        done = states[0]["step"]
        self._adam.steps.fill(done)
        self._scale = xp.full(1, scaler.get_scale(), np.float64)
        self._clean = xp.full(1, scaler.clean_steps, np.float64)
        table = [lr_of_step(i) for i in range(done, max(steps, done + 1))]
        self._lrs, self._first = xp.asarray(table, np.float64), done
        self._lr = xp.empty(1, np.float64)
        self._used = self._scale.copy()  # the scale of the last step, before it was changed
        #: The gradient of the scaled loss with respect to the loss: the scale, in float32.
        self.gradient = Tensor(self._scale.astype(np.float32).reshape(()), float32)

    def zero_grad(self) -> None:
        """Forget the gradients of the model and of the masters."""
        for tensor in (*self._model, *self._masters):
            tensor.grad = None

    def note(self, log: Any, line: Any, loss: Any, check: Any) -> None:
        """Write a line of a log on the GPU: see `kernels.notes`."""
        from tinymp.devices.kernels.notes import note

        note(log, line, loss, self._used, check)

    def __call__(self) -> Any:
        """Take a step with the gradients that backward left, in the model or in the masters.

        Returns what was found, a float64 array on the GPU: see `kernels.gradient_check`.

        Raises:
            RuntimeError: a parameter without a gradient.
        """
        from tinymp.devices.kernels.loss_scale import next_scale
        from tinymp.devices.kernels.notes import pick

        in_model = self._model[0].grad is not None
        holders = self._model if in_model else self._masters
        gradients = [holder.grad for holder in holders]
        if any(gradient is None for gradient in gradients):
            raise RuntimeError(
                "a parameter has no gradient, and a step on the GPU takes all parameters at once; "
                "leave those that the loss does not depend on out of the optimizer"
            )
        scaled = self._scaler.is_enabled()
        scale = self._scale if scaled else None
        arrays = [gradient._array for gradient in gradients if gradient is not None]
        check = (self._check_model if in_model else self._check_masters)(
            arrays, scale, self._max_norm
        )
        pick(self._lrs, self._adam.steps, self._first, self._lr)
        self._adam(
            arrays,
            holders[0].dtype,
            lr=self._lr,
            betas=self._group["betas"],
            eps=self._group["eps"],
            weight_decay=self._group["weight_decay"],
            decoupled=isinstance(self._optimizer, AdamW),
            mode=active_rounding().mode(self._model[0].dtype),
            check=check,
            scale=scale,
            skips=scaled,
        )
        policy = self._scaler.policy
        if scaled and isinstance(policy, DynamicLossScale):
            next_scale(
                check,
                self._scale,
                self._clean,
                self._used,
                self.gradient._array,
                growth=policy.growth_factor,
                backoff=policy.backoff_factor,
                interval=policy.growth_interval,
            )
        for tensor in {*self._model, *self._masters}:
            tensor.version.count += 1
        return check

    def settle(self) -> int:
        """Wait for the GPU, and bring its state back to optimizer and scaler.

        Returns the number of steps that were taken so far, skipped ones not counted.
        """
        steps = int(self._adam.steps.get()[0])
        for master in self._masters:
            self._optimizer.state[master]["step"] = steps
        self._scaler.resume(float(self._scale.get()[0]), int(self._clean.get()[0]))
        return steps


def refusal(masters: MasterWeights, optimizer: Optimizer, scaler: GradScaler) -> str | None:
    """Why a DeviceStep cannot serve, None if it can."""
    pairs = masters.pairs()
    if any(p._device.kernels is None for p, _ in pairs):
        return "the parameters are not on a GPU"
    if type(optimizer) not in (Adam, AdamW) or len(optimizer.param_groups) != 1:
        return "it serves Adam and AdamW with one group of parameters"
    group = optimizer.param_groups[0]
    if group["compensated"] or group["rounding"] is not None:
        return "the optimizer rounds or compensates in a way of its own"
    if {id(m) for _, m in pairs} != {id(p) for p in group["params"]}:
        return "the optimizer is not that of the masters"
    if any(m.dtype is not float32 for _, m in pairs):
        return "it updates float32 parameters, or float32 masters"
    if len({p.dtype for p, _ in pairs}) != 1:
        return "the parameters of the model have several dtypes"
    if active_rounding().mode(pairs[0][0].dtype) == "stochastic":
        return "weights are rounded stochastically"
    if scaler.is_enabled() and type(scaler.policy) not in (DynamicLossScale, StaticLossScale):
        return f"the loss scale follows {type(scaler.policy).__name__}"
    return None
