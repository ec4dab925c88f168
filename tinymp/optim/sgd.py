"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinymp.optim.checks import at_least
from tinymp.optim.optimizer import Group, Optimizer, Parameters
from tinymp.optim.update import Step

Array = Any


def sgd(
    xp: Any,
    number: Callable[[Any], Any],
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
) -> Step:
    """Gradient descent, with momentum where there is a buffer b.

    Source: Sutskever, Martens, Dahl & Hinton, On the importance of initialization and momentum in
    deep learning (ICML 2013), section 2, in the variant that most libraries use: the learning rate
    multiplies the buffer, not what enters it.
    """
    rate = number(lr)
    if momentum:
        kept, entering = number(momentum), number(1 - dampening)

    def step(t: int, w: Array, g: Array, b: Array | None = None) -> Array:
        if weight_decay:
            g = g + weight_decay * w
        if b is None:
            return rate * g
        if t == 1:
            b[...] = g
        else:
            b *= kept
            b += entering * g
        return rate * (g + kept * b if nesterov else b)

    return step


class SGD(Optimizer):
    """Stochastic gradient descent with PyTorch's formulas and defaults.

    Args:
        params: parameters, or groups of them (see `Optimizer`).
        lr: learning rate.
        momentum: share of the buffer that stays at each step; 0 keeps no buffer.
        dampening: share of the gradient that does not enter the buffer; the first one enters whole.
        weight_decay: adds this share of the parameter to its gradient.
        nesterov: look ahead along the buffer.
        rounding, compensated: how the update reaches a 2-byte parameter (see `Optimizer`).

    Raises:
        ValueError: a negative option, or `nesterov` without momentum or with dampening.
    """

    rule = staticmethod(sgd)

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        rounding: str | None = None,
        compensated: bool = False,
    ) -> None:
        options = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        super().__init__(params, options, rounding=rounding, compensated=compensated)

    def slots(self, group: Group) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def check(self, group: Group) -> None:
        super().check(group)
        at_least(group, "momentum", 0)
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(
                f"nesterov=True was given with momentum={group['momentum']} and "
                f"dampening={group['dampening']}; it needs momentum above 0 and dampening 0"
            )
