"""Dividing gradients by the loss scale, and looking for inf and NaN on the way."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tinymp.autograd import Tensor, no_grad
from tinymp.formats import float32
from tinymp.optim import Optimizer


def with_gradients(optimizer: Optimizer) -> list[Tensor]:
    """The optimizer's parameters that have a gradient.

    Raises:
        ValueError: a gradient of narrower range than float32, which could underflow when divided.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    found = [p for p in parameters if p.grad is not None]
    for parameter in found:
        # bfloat16 passes: it has the exponents of float32.
        if parameter.grad.dtype.exponent_bits < float32.exponent_bits:
            raise ValueError(
                f"unscale_() was given the {parameter.grad.dtype.name} gradient of a parameter of "
                f"shape {parameter.shape}; divided by the scale, it could underflow again; use "
                "autocast on a float32 model, or build the optimizer on "
                "MasterWeights(model.parameters()).parameters() and call copy_gradients() first"
            )
    return found


def unscale(parameters: list[Tensor], scale: float) -> float | None:
    """Divide the parameters' gradients by `scale`, in place.

    Returns the largest absolute value that they had before; inf or NaN if there was one, None if
    there are no parameters.
    """
    extremes = []
    with no_grad():
        for parameter in parameters:
            if parameter.grad is not None and parameter.grad.size:
                values = parameter.grad._values()
                # A maximum hands NaN on, so these two look for inf and NaN as well. They stay on
                # their device until all have been asked for.
                extremes += [values.max(), -values.min()]
                parameter.grad.mul_(1 / scale)
    return largest(float(extreme) for extreme in extremes) if parameters else None


def largest(values: Iterable[float]) -> float:
    """The largest value, NaN counting above all; 0 if there is none."""
    return max(values, key=lambda value: (math.isnan(value), value), default=0.0)
