"""Dividing an optimizer's gradients by the loss scale, once a step, and looking for inf and NaN."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tinymp.autograd import Tensor
from tinymp.formats import float32
from tinymp.optim import Optimizer
from tinymp.optim.update import multiply


class ScalerOrderError(RuntimeError, AssertionError):
    """Calls in an order that makes no sense (PyTorch raises the one or the other)."""


# The calls that are errors, by the stage that an optimizer is in.
_WRONG_ORDER = {
    ("unscale_", "unscaled"): "would divide the gradients by the scale twice; call it once a step",
    ("unscale_", "stepped"): "comes after step(), which has unscaled the gradients; call it before",
    (
        "step",
        "stepped",
    ): "would be the second step on these gradients; call update() after the first",
}


@dataclass
class Check:
    """Where an optimizer stands since the last update, and what its gradients held."""

    stage: Literal["ready", "unscaled", "stepped"] = "ready"
    largest: float | None = None  # absolute value, still scaled; None: there was no gradient
    parameters: frozenset[Tensor] = frozenset()

    @property
    def found_inf(self) -> bool:
        return self.largest is not None and not math.isfinite(self.largest)

    def allow(self, call: str) -> None:
        """Raise a ScalerOrderError if `call` may not come at this stage."""
        if (call, self.stage) in _WRONG_ORDER:
            raise ScalerOrderError(
                f"{call}() was called for an optimizer that was {self.stage} since the last "
                f"update(): it {_WRONG_ORDER[call, self.stage]}"
            )


def with_gradients(optimizer: Optimizer) -> list[Tensor]:
    """The optimizer's parameters that have a gradient.

    Raises:
        ValueError: a gradient of narrower range than float32, which could underflow when divided.
    """
    found = []
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if (gradient := parameter.grad) is None:
                continue
            # bfloat16 passes: it has the exponents of float32.
            if gradient.dtype.exponent_bits < float32.exponent_bits:
                raise ValueError(
                    f"unscale_() was given the {gradient.dtype.name} gradient of a parameter of "
                    f"shape {parameter.shape}; divided by the scale, it could underflow again; use "
                    "autocast on a float32 model, or build the optimizer on "
                    "MasterWeights(model.parameters()).parameters() and call copy_gradients() first"
                )
            found.append(parameter)
    return found


def unscale(parameters: list[Tensor], scale: float) -> float | None:
    """Divide gradients in place. Returns their largest absolute value before; None without any."""
    extremes: list[Any] = []
    inverse = 1 / scale
    for parameter in parameters:
        if (gradient := parameter.grad) is not None and gradient._array.size:
            extremes += _extremes(gradient)
            multiply(gradient, inverse)
    return largest(extremes) if parameters else None


def _extremes(gradient: Tensor) -> tuple[Any, Any]:
    """The largest value, and the smallest with its sign turned: NaN, if there is one.

    So they look for inf and NaN as well. From a GPU they come as arrays, which stay there until all
    have been asked for. NumPy finds their places in a third of the time.
    """
    values = gradient._array if gradient.dtype is float32 else gradient._values()
    if isinstance(values, np.ndarray):
        return values.item(values.argmax()), -values.item(values.argmin())
    return values.max(), -values.min()


def largest(values: Sequence[Any]) -> float:
    """The largest value, NaN counting above all; 0 if there is none."""
    found = [*map(float, values)]
    return math.nan if any(map(math.isnan, found)) else max(found, default=0.0)
