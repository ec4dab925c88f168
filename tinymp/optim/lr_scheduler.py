"""Learning-rate schedules: the rate as a function of the steps taken, under PyTorch's names.

Every schedule is a formula of the step's number and the first rate alone, so it can be plotted,
tested and resumed at any step. Call `step()` after each step (or epoch) that the optimizer really
took.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from math import cos, pi
from typing import Any

from tinymp.optim.optimizer import Optimizer


class LRScheduler(ABC):
    """Base class of the schedules. A subclass defines `rate`.

    A schedule sets the rates of its optimizer's groups when it is made, and at each `step()`. The
    rates that the groups had before any schedule are kept in their `initial_lr`, from which all
    schedules start.

    Attributes:
        optimizer: whose rates it sets.
        base_lrs: the first rate of each parameter group.
        last_epoch: how often `step` was called.

    Raises:
        TypeError: `optimizer` is not an Optimizer.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        _check_optimizer(optimizer, type(self).__name__)
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = 0
        self._set()

    @abstractmethod
    def rate(self, step: int, base_lr: float, group: int) -> float:
        """Rate of parameter group number `group` after `step` steps; `base_lr` is its first."""

    def step(self) -> None:
        """Count one step and set the rates that belong to it."""
        self.last_epoch += 1
        self._set()

    def get_last_lr(self) -> list[float]:
        """The rates this schedule set last, one for each parameter group."""
        return [self.rate(self.last_epoch, lr, i) for i, lr in enumerate(self.base_lrs)]

    def state_dict(self) -> dict[str, Any]:
        """How far the schedule is, as JSON can hold it. Its settings are not in it."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where the schedule that gave `state_dict` was, and set the rates of that step.

        Raises:
            ValueError: the state is that of an optimizer with another number of groups.
        """
        if len(state_dict["base_lrs"]) != len(self.base_lrs):
            raise ValueError(
                f"the state was saved with {len(state_dict['base_lrs'])} parameter groups, but "
                f"this optimizer has {len(self.base_lrs)}; build it as it was then"
            )
        self.last_epoch = state_dict["last_epoch"]
        self.base_lrs = list(state_dict["base_lrs"])
        self._set()

    def _set(self) -> None:
        for group, lr in zip(self.optimizer.param_groups, self.get_last_lr(), strict=True):
            group["lr"] = lr


class LambdaLR(LRScheduler):
    """The first rate times `lr_lambda(step)`: any function, or one for each parameter group."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
    ) -> None:
        _check_optimizer(optimizer, "LambdaLR")
        groups = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != groups:
            raise ValueError(
                f"LambdaLR was given {len(self.lr_lambdas)} functions for an optimizer of {groups} "
                "parameter groups; give one for each, or one for all"
            )
        super().__init__(optimizer)

    def rate(self, step: int, base_lr: float, group: int) -> float:
        return base_lr * self.lr_lambdas[group](step)


class StepLR(LRScheduler):
    """The rate multiplied by `gamma` every `step_size` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        if step_size < 1:
            raise ValueError(f"step_size={step_size} was given to StepLR; it must be at least 1")
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer)

    def rate(self, step: int, base_lr: float, group: int) -> float:
        return base_lr * self.gamma ** (step // self.step_size)


class LinearLR(LRScheduler):
    """Warm-up: a factor that runs straight from `start_factor` to `end_factor` in `total_iters`."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ) -> None:
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValueError(
                f"start_factor={start_factor} and end_factor={end_factor} were given to LinearLR; "
                "the first must be above 0, and both at most 1"
            )
        if total_iters < 1:
            raise ValueError(
                f"total_iters={total_iters} was given to LinearLR; it must be at least 1"
            )
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer)

    def rate(self, step: int, base_lr: float, group: int) -> float:
        done = min(step / self.total_iters, 1)
        return base_lr * (self.start_factor + (self.end_factor - self.start_factor) * done)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the first rate to `eta_min` in `T_max` steps; then up again, as PyTorch.

    Source: Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts (arXiv
    1608.03983), equation 5, without restarts.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        if T_max < 1:
            raise ValueError(f"T_max={T_max} was given to CosineAnnealingLR; it must be at least 1")
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer)

    def rate(self, step: int, base_lr: float, group: int) -> float:
        return self.eta_min + (base_lr - self.eta_min) * (1 + cos(pi * step / self.T_max)) / 2


class SequentialLR(LRScheduler):
    """One schedule after the other: at each of `milestones` the next begins, at its own step 0.

    Warm-up and then a cosine:

        warm_up = LinearLR(optimizer, start_factor=0.01, total_iters=100)
        cosine = CosineAnnealingLR(optimizer, T_max=900)
        schedule = SequentialLR(optimizer, [warm_up, cosine], milestones=[100])
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
    ) -> None:
        self.schedulers = list(schedulers)
        self.milestones = list(milestones)
        if len(self.milestones) != len(self.schedulers) - 1:
            raise ValueError(
                f"SequentialLR was given {len(self.schedulers)} schedules and "
                f"{len(self.milestones)} milestones; there must be one milestone fewer than "
                "schedules"
            )
        if any(a >= b for a, b in zip([0, *self.milestones], self.milestones)):
            raise ValueError(
                f"SequentialLR was given milestones {self.milestones}; they must be above 0 and "
                "rise"
            )
        for number, schedule in enumerate(self.schedulers):
            if schedule.optimizer is not optimizer:
                raise ValueError(
                    f"SequentialLR was given a schedule (number {number}) of another optimizer; "
                    "make all of them for the same one"
                )
        super().__init__(optimizer)

    def rate(self, step: int, base_lr: float, group: int) -> float:
        number = bisect_right(self.milestones, step)
        begun = self.milestones[number - 1] if number else 0
        return self.schedulers[number].rate(step - begun, base_lr, group)


def _check_optimizer(optimizer: Any, name: str) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{name} was given a {type(optimizer).__name__}; it takes the optimizer whose learning "
            "rate it sets, such as tinymp.optim.SGD(...)"
        )
