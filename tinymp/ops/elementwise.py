"""Simple functions of each element, choices between elements, and rounding to another dtype."""

from __future__ import annotations

from typing import Any

from tinymp.autograd import Op, Tensor, apply
from tinymp.formats import DType, float32
from tinymp.ops.arithmetic import Operand
from tinymp.ops.dims import check_tensors

Array = Any

ABS = Op("abs", lambda xp, x: xp.abs(x), x=lambda xp, g, x: g * xp.sign(x))
SIGN = Op("sign", lambda xp, x: xp.sign(x), x=lambda xp, g: xp.zeros_like(g))
FLOOR = Op("floor", lambda xp, x: xp.floor(x), x=lambda xp, g: xp.zeros_like(g))
CEIL = Op("ceil", lambda xp, x: xp.ceil(x), x=lambda xp, g: xp.zeros_like(g))
ROUND = Op("round", lambda xp, x: xp.rint(x), x=lambda xp, g: xp.zeros_like(g))
TRUNC = Op("trunc", lambda xp, x: xp.trunc(x), x=lambda xp, g: xp.zeros_like(g))

# Where both are equal each gets half of the gradient, where one is NaN each gets all of it.
MAXIMUM = Op(
    "maximum",
    lambda xp, x, y: xp.maximum(x, y),
    x=lambda xp, g, x, y: xp.where(x == y, g / 2, xp.where(x < y, 0, g)),
    y=lambda xp, g, x, y: xp.where(x == y, g / 2, xp.where(x > y, 0, g)),
)
MINIMUM = Op(
    "minimum",
    lambda xp, x, y: xp.minimum(x, y),
    x=lambda xp, g, x, y: xp.where(x == y, g / 2, xp.where(x > y, 0, g)),
    y=lambda xp, g, x, y: xp.where(x == y, g / 2, xp.where(x < y, 0, g)),
)


def _clamp_x(xp: Any, g: Any, x: Any, low: float | None, high: float | None) -> Any:
    if low is not None:
        g = xp.where(x >= low, g, 0)
    return g if high is None else xp.where(x <= high, g, 0)


CLAMP = Op("clamp", lambda xp, x, *, low, high: xp.clip(x, low, high), x=_clamp_x)
WHERE = Op(
    "where",
    lambda xp, condition, x, y: xp.where(condition, x, y),
    x=lambda xp, g, condition: xp.where(condition, g, 0),
    y=lambda xp, g, condition: xp.where(condition, 0, g),
    undecoded=("condition",),
)


def _dropout(xp: Any, x: Array, *, p: float, seed: int, draw: int) -> Any:
    """What is kept is named by a seed and a draw, so it can be drawn again."""
    keep = xp.uniform(x.shape, seed, draw) >= p
    return xp.where(keep, x / (1 - p), 0), keep


DROPOUT = Op(
    "dropout",
    _dropout,
    x=lambda xp, g, keep, p: xp.where(keep, g / (1 - p), 0),
    residuals=("keep",),
)
# Rounding to another dtype: the value passes, the dispatcher rounds it. Backward rounds the
# gradient to the dtype of the input.
CAST = Op("cast", lambda xp, x, *, dtype: x, x=lambda xp, g: g, result="attribute")


def cast(x: Tensor, dtype: DType) -> Tensor:
    """`x` rounded to `dtype` by the active rounding mode; `x` itself where it is of that dtype.

    Backward rounds the gradient to the dtype of `x`.
    """
    check_tensors("cast", x)
    return x if x.dtype is dtype else apply(CAST, x, dtype=dtype)


def abs(x: Tensor) -> Tensor:
    """Absolute value of x; its gradient at 0 is 0."""
    return apply(ABS, x)


def sign(x: Tensor) -> Tensor:
    """-1, 0 or 1 as x is below, at or above 0; NaN of NaN, where PyTorch has 0. No slope."""
    check_tensors("sign", x)
    return x if x.dtype.kind == "bool" else apply(SIGN, x)


def floor(x: Tensor) -> Tensor:
    """The largest integer not above x; its gradient is 0. Integers are returned as they are."""
    return _to_integers(FLOOR, x)


def ceil(x: Tensor) -> Tensor:
    """The smallest integer not below x; its gradient is 0. Integers are returned as they are."""
    return _to_integers(CEIL, x)


def round(x: Tensor) -> Tensor:
    """The integer nearest to x, the even one of two; its gradient is 0. Integers stay as they are.

    How results are rounded to their *format* is another matter: see `tinymp.rounding`.
    """
    return _to_integers(ROUND, x)


def trunc(x: Tensor) -> Tensor:
    """x without its fraction; its gradient is 0. Integers are returned as they are."""
    return _to_integers(TRUNC, x)


def _to_integers(op: Op, x: Tensor) -> Tensor:
    check_tensors(op.name, x)
    return apply(op, x) if x.dtype.is_float else x


def maximum(x: Operand, y: Operand) -> Tensor:
    """The larger of x and y; NaN where either is NaN. Equal elements share the gradient."""
    return apply(MAXIMUM, x, y)


def minimum(x: Operand, y: Operand) -> Tensor:
    """The smaller of x and y; NaN where either is NaN. Equal elements share the gradient."""
    return apply(MINIMUM, x, y)


def clamp(x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """x cut to the interval [min, max]; its gradient is 0 outside.

    Integers with a bound that is a float give float32.

    Raises:
        TypeError: a bound that is not a number.
        ValueError: neither bound was given.
    """
    check_tensors("clamp", x)
    if min is None and max is None:
        raise ValueError("clamp was given neither min nor max; give at least one of them")
    for bound in (min, max):
        if not isinstance(bound, int | float | None):
            raise TypeError(
                f"clamp was given a {type(bound).__name__} as a bound; it takes numbers; use "
                "maximum and minimum for tensors"
            )
    if not x.dtype.is_float and (isinstance(min, float) or isinstance(max, float)):
        x = cast(x, float32)
    return apply(CLAMP, x, low=min, high=max)


clip = clamp


def where(condition: Tensor, x: Operand, y: Operand) -> Tensor:
    """x where `condition` (bool) is true, y elsewhere.

    Raises:
        TypeError: `condition` is not a bool tensor.
    """
    _check_mask(condition, "condition", "where")
    return apply(WHERE, condition, x, y)


def masked_fill(x: Tensor, mask: Tensor, value: Operand) -> Tensor:
    """x with `value` where `mask` (bool, of a shape that broadcasts to that of x) is true.

    The result has the dtype of `x`.

    Raises:
        TypeError: `mask` is not a bool tensor.
        ValueError: `value` is a tensor with dimensions.
    """
    check_tensors("masked_fill", x)
    _check_mask(mask, "mask", "masked_fill")
    if isinstance(value, Tensor):
        if value.ndim:
            raise ValueError(
                f"masked_fill was given values of shape {value.shape}; it takes one value; use "
                "where for many"
            )
        return where(mask, cast(value, x.dtype), x)
    if not x.dtype.is_float:
        value = bool(value) if x.dtype.kind == "bool" else int(value)
    return where(mask, value, x)


def _check_mask(mask: Any, role: str, name: str) -> None:
    if not isinstance(mask, Tensor) or mask.dtype.kind != "bool":
        given = mask.dtype.name if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"{name} was given a {given} {role}; it must be a bool tensor, e.g. x > 0")
