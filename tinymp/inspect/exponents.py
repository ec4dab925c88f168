"""Where do values lie in the range of a format? Classes of values, and a histogram of exponents."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinymp.autograd import Tensor
from tinymp.devices import device_of
from tinymp.formats import DType, active_rounding, dtype_of, unpack
from tinymp.formats.rounding import check_mode
from tinymp.inspect.text import percent, table
from tinymp.nn import Module

Array = Any

#: The classes, from small to large; NaN last. Every value is in exactly one.
CLASSES = ("zero", "underflow", "subnormal", "normal", "overflow", "nan")


@dataclass(frozen=True)
class Boundaries:
    """Smallest magnitudes of three classes of a format, exact in float64.

    Attributes:
        survives: smallest magnitude that does not become zero.
        normal: smallest that becomes a normal number.
        overflows: smallest that is out of range.
    """

    survives: float
    normal: float
    overflows: float


def boundaries(dtype: DType, mode: str) -> Boundaries:
    """Where rounding to `dtype` by `mode` changes from one class to the next.

    To nearest even, half the smallest subnormal still becomes zero, and the largest finite value
    plus half a unit in the last place is out of range (in range if that value is even, as in
    E4M3FN). Toward zero, everything below the smallest subnormal becomes zero, and what is a whole
    unit above the largest finite value is out of range, although it is cut to that value.
    Stochastic rounding goes both ways; it counts as rounding toward zero.
    """
    tiny, normal, largest = dtype.smallest_subnormal, dtype.smallest_normal, dtype.max
    ulp = math.ldexp(1.0, dtype.emax - dtype.significand_bits)
    if mode != "nearest_even":
        return Boundaries(tiny, normal, largest + ulp)
    beyond = largest + ulp / 2
    if dtype.max_word % 2 == 0:
        beyond = math.nextafter(beyond, math.inf)
    return Boundaries(math.nextafter(tiny / 2, math.inf), normal - tiny / 2, beyond)


@dataclass(frozen=True)
class Histogram:
    """How many values have which exponent, and which class they have in a format.

    A zero is a value that is zero before it is rounded to the format: what ReLU cut is no
    underflow.

    Attributes:
        dtype: the format.
        rounding: the mode by which values would be rounded to it.
        classes: number of values in each of `CLASSES`.
        exponents: number of finite values other than zero with exponent e, 2^e ≤ |x| < 2^(e+1).
    """

    dtype: DType
    rounding: str
    classes: dict[str, int]
    exponents: dict[int, int]

    @property
    def total(self) -> int:
        """Number of values."""
        return sum(self.classes.values())

    def share(self, name: str) -> float:
        """Share of one class in the values other than zero; 0 where there are none."""
        present = self.total - self.classes["zero"]
        return self.classes[name] / present if present else 0.0

    def __add__(self, other: Histogram) -> Histogram:
        if (self.dtype, self.rounding) != (other.dtype, other.rounding):
            raise ValueError(
                f"a histogram for {self.dtype.name} ({self.rounding}) cannot be added to one for "
                f"{other.dtype.name} ({other.rounding}); count both against the same format"
            )
        exponents = sorted(self.exponents.keys() | other.exponents.keys())
        return Histogram(
            self.dtype,
            self.rounding,
            {name: self.classes[name] + other.classes[name] for name in CLASSES},
            {e: self.exponents.get(e, 0) + other.exponents.get(e, 0) for e in exponents},
        )

    def __str__(self) -> str:
        lines = [(name, f"{n:,}", percent(n, self.total)) for name, n in self.classes.items()]
        title = f"{self.total:,} values against {self.dtype.name}, {self.rounding}"
        return f"{title}\n{table(('class', 'values', 'share'), lines, right=(1, 2))}"


def histogram(
    values: Tensor | Array | Iterable[Tensor | Array],
    dtype: DType | str,
    *,
    scale: float = 1.0,
    rounding: str | None = None,
) -> Histogram:
    """Exponents and classes of values against a format's range.

    Args:
        values: a floating-point tensor or array, or several.
        dtype: the format to compare with; the values may be wider, and usually are.
        scale: factor on the values first, such as a loss scale for gradients of a float32 run.
            It is applied in float64; a power of two is exact.
        rounding: a mode; None takes the one in force for the format.

    Raises:
        TypeError: values or a dtype that are not floating-point.
        ValueError: an unknown rounding mode.
    """
    dtype = dtype_of(dtype)
    mode = active_rounding().mode(dtype) if rounding is None else rounding
    check_mode(mode)
    limits = boundaries(dtype, mode)
    is_one = isinstance(values, Tensor) or hasattr(values, "dtype")
    counted = Histogram(dtype, mode, dict.fromkeys(CLASSES, 0), {})
    for some in [values] if is_one else values:
        with np.errstate(all="ignore"):
            magnitudes = np.abs(_float64(some) * scale)
        counted += _count(magnitudes, limits, dtype, mode)
    return counted


def histograms(
    model: Module,
    dtype: DType | str,
    of: str = "weights",
    *,
    scale: float = 1.0,
    rounding: str | None = None,
) -> dict[str, Histogram]:
    """A histogram for each parameter of a model by its name; `of` "weights" or "gradients".

    Parameters without a gradient are left out of the gradients. Other arguments: see `histogram`.

    Raises:
        ValueError: another `of`, or an unknown rounding mode.
    """
    if of not in ("weights", "gradients"):
        raise ValueError(f"of={of!r} was given to histograms; it must be 'weights' or 'gradients'")
    tensors = {
        name: parameter if of == "weights" else parameter.grad
        for name, parameter in model.named_parameters()
    }
    return {
        name: histogram(tensor, dtype, scale=scale, rounding=rounding)
        for name, tensor in tensors.items()
        if tensor is not None
    }


def _float64(values: Tensor | Array) -> Array:
    if isinstance(values, Tensor):
        values = values._device.to_numpy(unpack(values._array, values.dtype))
    elif hasattr(values, "dtype") and not isinstance(values, np.generic):
        values = device_of(values).to_numpy(values)
    values = np.asarray(values)
    if values.dtype.kind != "f":
        raise TypeError(
            f"histogram was given values of {values.dtype}; only floating-point values have an "
            "exponent; convert them first"
        )
    return values.astype(np.float64, copy=False)


def _count(magnitudes: Array, limits: Boundaries, dtype: DType, mode: str) -> Histogram:
    edges = [0, math.ulp(0), limits.survives, limits.normal, limits.overflows]
    finite = magnitudes[np.isfinite(magnitudes) & (magnitudes > 0)]
    # NaN sorts above everything, so the fifth edge counts it too; it is taken out again.
    position = np.searchsorted(edges, magnitudes.reshape(-1), side="right")
    counts = [int(n) for n in np.bincount(position, minlength=len(edges) + 1)[1:]]
    nan = int(np.isnan(magnitudes).sum())
    counts[-1] -= nan
    exponents, times = np.unique(np.frexp(finite)[1] - 1, return_counts=True)
    return Histogram(
        dtype,
        mode,
        dict(zip(CLASSES, [*counts, nan], strict=True)),
        {int(e): int(n) for e, n in zip(exponents, times, strict=True)},
    )
