"""Adam, and AdamW, which keeps weight decay out of the gradient's statistics."""

from __future__ import annotations

from typing import Any, ClassVar

from tinymp.optim.checks import at_least
from tinymp.optim.optimizer import Group, Optimizer, Parameters
from tinymp.optim.update import Rule

Array = Any


def adamw(
    xp: Any,
    t: int,
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> tuple[Array, Array, Array]:
    """Step t of Adam with decoupled weight decay.

    Source: Loshchilov & Hutter, Decoupled Weight Decay Regularization (arXiv 1711.05101), algorithm
    2, with the decay multiplied by the learning rate.
    """
    beta1, beta2 = betas
    m *= beta1
    m += (1 - beta1) * g
    v *= beta2
    square = g * g
    square *= 1 - beta2
    v += square
    step = m / (1 - beta1**t)
    step *= lr
    scale = xp.sqrt(v / (1 - beta2**t))
    scale += eps
    step /= scale
    if weight_decay:
        step += lr * weight_decay * w
    return step, m, v


def adam(
    xp: Any, t: int, w: Array, g: Array, m: Array, v: Array, *, weight_decay: float, **options: Any
) -> tuple[Array, Array, Array]:
    """Step t of Adam; weight decay, if any, is added to the gradient.

    Source: Kingma & Ba, Adam: A Method for Stochastic Optimization (arXiv 1412.6980), algorithm 1.
    """
    if weight_decay:
        g = g + weight_decay * w
    return adamw(xp, t, w, g, m, v, weight_decay=0, **options)


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
