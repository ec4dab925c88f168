"""Adam, and AdamW, which keeps weight decay out of the gradient's statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from tinymp.optim.checks import at_least
from tinymp.optim.optimizer import Group, Optimizer, Parameters
from tinymp.optim.update import Rule, Step

Array = Any


def adamw(
    xp: Any,
    number: Callable[[Any], Any],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> Step:
    """Adam with decoupled weight decay.

    Source: Loshchilov & Hutter, Decoupled Weight Decay Regularization (arXiv 1711.05101), algorithm
    2, with the decay multiplied by the learning rate.
    """
    beta1, beta2 = betas
    kept1, entering1, kept2, entering2 = map(number, (beta1, 1 - beta1, beta2, 1 - beta2))
    rate, decay, epsilon = map(number, (lr, lr * weight_decay, eps))

    def step(t: int, w: Array, g: Array, m: Array, v: Array) -> Array:
        m *= kept1
        m += entering1 * g
        v *= kept2
        square = g * g
        square *= entering2
        v += square
        step = m / (1 - beta1**t)
        step *= rate
        scale = xp.sqrt(v / (1 - beta2**t))
        scale += epsilon
        step /= scale
        if weight_decay:
            step += decay * w
        return step

    return step


def adam(xp: Any, number: Callable[[Any], Any], *, weight_decay: float, **options: Any) -> Step:
    """Adam; weight decay, if any, is added to the gradient.

    Source: Kingma & Ba, Adam: A Method for Stochastic Optimization (arXiv 1412.6980), algorithm 1.
    """
    step = adamw(xp, number, weight_decay=0, **options)
    decay = number(weight_decay)
    return lambda t, w, g, m, v: step(t, w, g + decay * w if weight_decay else g, m, v)


class Adam(Optimizer):
    """Adam with PyTorch's formulas and defaults.

    Args:
        params: parameters, or groups of them (see `Optimizer`).
        lr: learning rate, about the size of each element's step.
        betas: shares of the running means of the gradient and of its square that stay at each step.
        eps: added to the root of the mean square, in the compute dtype.
        weight_decay: adds this share of the parameter to its gradient.
        rounding, compensated: how the update reaches a 2-byte parameter (see `Optimizer`).

    Raises:
        ValueError: a negative option, or a beta outside [0, 1).
    """

    rule: ClassVar[Rule] = staticmethod(adam)

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        rounding: str | None = None,
        compensated: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, options, rounding=rounding, compensated=compensated)

    def slots(self, group: Group) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def check(self, group: Group) -> None:
        super().check(group)
        at_least(group, "eps", 0)
        betas = group["betas"]
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(
                f"betas={betas} was given; it must be two numbers, each at least 0 and below 1"
            )


class AdamW(Adam):
    """Adam with decoupled weight decay, with PyTorch's formulas and defaults.

    Each step subtracts lr·weight_decay·w from a parameter w beside Adam's step: the decay does not
    pass through the running means. Arguments and errors are those of `Adam`.
    """

    rule = staticmethod(adamw)

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        rounding: str | None = None,
        compensated: bool = False,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, rounding=rounding, compensated=compensated
        )
