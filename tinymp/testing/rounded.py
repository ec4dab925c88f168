"""Is a result the rounding of what it should be?"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.autograd import Tensor
from tinymp.formats import DType, active_rounding, float64, pack, unpack
from tinymp.numerics.kit import compute_type

Array = np.ndarray[Any, Any]


def unit_roundoff(dtype: DType) -> float:
    """Unit roundoff of the type in which operations on `dtype` compute: 2^-24, or 2^-53."""
    return float(np.finfo(compute_type(dtype)).eps) / 2


def assert_rounded(
    actual: Tensor, exact: Array, dtype: DType, error: float | Array = 0.0, name: str = "result"
) -> None:
    """Check shape and dtype of `actual`, and that it is `exact` computed and then rounded once.

    Computing may be off by `error`, rounding not at all. Rounding is monotonic, so whatever a
    number within `error` of `exact` rounds to lies between the roundings of the two ends:

        round(exact - error) ≤ actual ≤ round(exact + error)

    That holds in every deterministic mode, at overflow and among subnormals; with `error` 0 it asks
    for the correctly rounded result, bit for bit but for the sign of zero. The mode is the active
    one.

    Args:
        actual: the tensor to check.
        exact: float64 values, exact or nearly so.
        dtype: what the dtype of `actual` must be.
        error: bound on the error before rounding, absolute; of a shape that broadcasts to `exact`.
        name: what to call `actual` in a complaint.

    Raises:
        AssertionError: says what differs, and where most.
    """
    assert actual.dtype is dtype, f"{name} is {actual.dtype.name}, expected {dtype.name}"
    assert actual._array.dtype == dtype.storage, f"{name} is stored as {actual._array.dtype}"
    assert actual.shape == exact.shape, f"{name} has shape {actual.shape}, expected {exact.shape}"
    values = actual.numpy().astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        margin = np.where(np.isfinite(exact), error, 0.0)
        low, high = _round(exact - margin, dtype), _round(exact + margin, dtype)
        right = ((low <= values) & (values <= high)) | (np.isnan(values) & np.isnan(exact))
    if right.all():
        return
    place = tuple(int(i) for i in np.argwhere(~right)[0])
    raise AssertionError(
        f"{name} ({dtype.name}, {active_rounding().mode(dtype)}) is {values[place]!r} at {place}, "
        f"expected {low[place]!r} to {high[place]!r}, from {exact[place]!r}; {(~right).sum()} of "
        f"{right.size} elements are wrong"
    )


def _round(values: Array, dtype: DType) -> Array:
    """Float64 values rounded once to `dtype`, as float64."""
    packed = pack(np.asarray(values, np.float64), dtype, active_rounding().mode(dtype))
    return np.asarray(unpack(packed, dtype, compute_type(float64)), np.float64)
