"""The kit a rule works with: an array module whose sums and products are the accumulator's."""

from __future__ import annotations

from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from tinymp.devices import Generator, get_device
from tinymp.numerics.accumulators import FLOAT32, Accumulator
from tinymp.numerics.packed import Packed, compute_type, values_of
from tinymp.numerics.reductions import max_along
from tinymp.numerics.select import maximum, where

__all__ = ["Packed", "compute_type", "kit"]


@cache
def kit(device: str, accumulator: Accumulator = FLOAT32) -> Any:
    """The array module of `device` with an accumulator's accumulations in place of its own.

    `sum(x, axis, keepdims)`
        sum of values.
    `cumsum(x, axis)`
        sums of the values so far.
    `segment_sums(x, first)`
        sums of runs of rows, which begin at the positions `first`.
    `matmul(x, y)`
        product of two matrices (or stacks of them), `Packed` or values, as values: float32, or
        float64 for float64 matrices.
    `values(x)`
        the values of what is `Packed`, and of others themselves.
    elementary functions
        the array module's, unless the accumulator brings its own.
    `where(condition, x, y)`, `maximum(x, y)`, `max(x, axis, keepdims)`
        on the CPU faster spellings of NumPy's (`numerics.select`, `numerics.reductions`).
    `uniform(shape, seed, draw)`
        the numbers in [0, 1) of a draw of a seed: the same on every device.
    """
    on = get_device(device)
    xp = SimpleNamespace(**vars(on.xp))
    xp.sum = accumulator.sum
    xp.cumsum = accumulator.cumsum
    xp.segment_sums = accumulator.segment_sums
    xp.matmul = partial(accumulator.packed_matmul, on)
    xp.values = values_of
    xp.uniform = lambda shape, seed, draw: Generator(seed).uniform(on, shape, draw)
    vars(xp).update(accumulator.functions(on.xp))
    if on.xp is np:
        xp.where, xp.maximum, xp.max = where, maximum, max_along
    return xp
