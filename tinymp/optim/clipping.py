"""Gradient clipping: gradients kept from being too large, by their norm or one by one.

Clip true gradients: with loss scaling that is after unscaling, with master weights on the masters.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

import numpy as np

from tinymp.autograd import Tensor
from tinymp.autograd.modes import not_for_capture
from tinymp.formats import float32, float64, unpack
from tinymp.numerics.kit import compute_type
from tinymp.ops import clamp
from tinymp.optim.blocks import blocks
from tinymp.optim.update import multiply

Array = Any


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients by min(1, max_norm / (norm + 1e-6)), in place; return the norm before.

    The norm is that of all gradients as one vector, ‖g‖_p = (Σ|g_i|^p)^(1/p) with p = `norm_type`,
    or the largest |g_i| for p = inf. It is computed in float64, in which no square of a float32 or
    narrower number overflows, and returned as float32 (float64 where a gradient is float64). Each
    gradient is rounded once to its dtype. Parameters without gradients are left out.

    An infinite norm turns finite gradients to 0 and infinite ones to NaN, a NaN norm all to NaN, as
    in PyTorch; `error_if_nonfinite` raises before anything is changed.

    Raises:
        ValueError: a max_norm that is not a number of at least 0, or a norm_type that is not above
            0.
        RuntimeError: the norm is infinite or NaN, with `error_if_nonfinite`.

    Source: Pascanu, Mikolov & Bengio, On the difficulty of training recurrent neural networks (ICML
    2013), section 3.2.
    """
    if not max_norm >= 0:
        raise ValueError(f"max_norm={max_norm} was given; it must be a number of at least 0")
    if not norm_type > 0:
        raise ValueError(f"norm_type={norm_type} was given; it must be above 0, inf included")
    gradients = _gradients(parameters)
    if not gradients:
        return Tensor(np.zeros((), np.float32), float32)
    xp = gradients[0]._device.xp
    with np.errstate(all="ignore"):
        norm = _total_norm(xp, gradients, norm_type)
        if error_if_nonfinite and not xp.isfinite(norm):
            raise RuntimeError(
                f"the norm of the gradients is {float(norm)}, so they cannot be clipped; find "
                "where the first NaN or infinity arises, or pass error_if_nonfinite=False"
            )
        scale = xp.minimum(max_norm / (norm + 1e-6), 1.0)  # where norm is NaN, NaN
        for gradient in gradients:
            multiply(gradient, scale.astype(compute_type(gradient.dtype)))
    dtype = float64 if any(gradient.dtype is float64 for gradient in gradients) else float32
    return Tensor(norm.astype(dtype.storage), dtype)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Cut every element of every gradient to [-clip_value, clip_value], in place; NaN stays NaN.

    Raises:
        ValueError: a clip_value that is not a number of at least 0.
    """
    if not clip_value >= 0:
        raise ValueError(f"clip_value={clip_value} was given; it must be a number of at least 0")
    for gradient in _gradients(parameters):
        gradient.copy_(clamp(gradient.detach(), -clip_value, clip_value))


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    not_for_capture("clipped gradients")
    given = [parameters] if isinstance(parameters, Tensor) else parameters
    return [parameter.grad for parameter in given if parameter.grad is not None]


def _total_norm(xp: Any, gradients: list[Tensor], p: float) -> Array:
    """The norm of the norms of the parts is the norm of the whole."""
    norms = [
        _norm(xp, unpack(gradient._array[block], gradient.dtype, np.float64), p)
        for gradient in gradients
        for block in blocks(gradient)
    ]
    return _norm(xp, xp.stack(norms), p) if norms else xp.zeros(())


def _norm(xp: Any, values: Array, p: float) -> Array:
    if p == 2:
        return xp.sqrt(xp.sum(xp.square(values)))
    magnitudes = xp.abs(values)
    if p == inf:
        return xp.asarray(magnitudes.max())
    return xp.asarray(xp.sum(magnitudes**p) ** (1 / p))
