"""Scans: running sums and products along a dimension."""

from __future__ import annotations

from typing import Any

from tinymp.autograd import Op, Tensor, apply
from tinymp.formats import int64
from tinymp.ops.dims import one_dim
from tinymp.ops.elementwise import cast

Array = Any

# An element is in its own sum and in all later ones: the gradient is a running sum from the end.
CUMSUM = Op(
    "cumsum",
    lambda xp, x, *, dim: xp.cumsum(x, axis=dim),
    x=lambda xp, g, dim: xp.flip(xp.cumsum(xp.flip(g, dim), axis=dim), dim),
    autocast="float32",
    accumulates="both",
)


def _cumprod_x(xp: Any, g: Array, x: Array, dim: int) -> Array:
    """Before x_i the product of those in front of it, behind it a sum that Horner's rule adds up:

        ∂L/∂x_i = (x_1 ⋯ x_{i-1}) · s_i,    s_i = g_i + x_{i+1} · s_{i+1}

    No division, so zeros need no care.
    """
    x, g = xp.moveaxis(x, dim, 0), xp.moveaxis(g, dim, 0)
    gradient = xp.empty_like(g)
    gradient[1:] = xp.cumprod(x, axis=0)[:-1]
    gradient[:1] = 1
    total = 0
    for i in reversed(range(len(x))):
        total = g[i] + (x[i + 1] * total if i + 1 < len(x) else 0)
        gradient[i] *= total
    return xp.moveaxis(gradient, 0, dim)


CUMPROD = Op(
    "cumprod",
    lambda xp, x, *, dim: xp.cumprod(x, axis=dim),
    x=_cumprod_x,
    autocast="float32",
)


def cumsum(x: Tensor, dim: int) -> Tensor:
    """Sums of the elements so far along `dim`; booleans are counted."""
    dim = one_dim(dim, x, "cumsum")
    x = cast(x, int64) if x.dtype.kind == "bool" else x
    return apply(CUMSUM, x, dim=dim)


def cumprod(x: Tensor, dim: int) -> Tensor:
    """Products of the elements so far along `dim`."""
    dim = one_dim(dim, x, "cumprod")
    x = cast(x, int64) if x.dtype.kind == "bool" else x
    return apply(CUMPROD, x, dim=dim)
