"""Values that aim at trouble: where encoders go wrong, and random floats hardly ever fall."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.formats import DType, float32, float64

Array = np.ndarray[Any, Any]

# Words that have caught encoders of float32. The first truncates to infinity if the NaN's payload,
# all in the lower half, is cut off; the second carries into the sign if half a unit is added.
_NAMED_FLOAT32 = (0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F7FFFFF, 0x00000001, 0x80000000)


def aimed_values(seed: int, dtype: DType, source: DType = float32, count: int = 1000) -> Array:
    """Values of `source` (float32 or float64) that are hard to round to `dtype`.

    Among them, in proportions that depend on the seed alone: every exponent that the format has,
    and some beyond at both ends; values of the format, ties between two of them, and the nearest
    neighbours of both; powers of two; subnormals; the thresholds of overflow and underflow;
    infinities, NaNs with every kind of payload, zeros of both signs; arbitrary bits.
    """
    rng = np.random.default_rng(seed)
    named = _named(dtype, source)[: count // 4]
    words = rng.integers(0, 1 << source.bits, count - len(named), dtype=source.words)
    # Most fall into the format's range and a little beyond.
    exponents = rng.integers(dtype.emin - dtype.precision - 2, dtype.emax + 3, len(words))
    fields = np.clip(exponents + source.bias, 0, 2 * source.bias).astype(source.words)
    fields <<= source.words.type(source.significand_bits)
    moved = (words & ~source.words.type(source.exponent_mask)) | fields
    words = np.where(rng.random(len(words)) < 0.75, moved, words)
    # Half get a significand as short as the format's, one bit longer (a tie), or a neighbour's.
    subnormal = np.clip(dtype.emin - exponents, 0, dtype.precision)
    cut = source.significand_bits - dtype.significand_bits + subnormal
    cut = np.maximum(cut - rng.integers(0, 3, len(words)), 0).astype(source.words)
    short = words >> cut << cut
    near = short + rng.integers(-1, 2, len(words)).astype(source.words)
    words = np.where(rng.random(len(words)) < 0.5, near, words)
    values = np.concatenate([words.astype(source.words).view(source.storage), named])
    return rng.permutation(values)


def _named(dtype: DType, source: DType) -> Array:
    """The same few for every seed: thresholds with their neighbours, and words that are known."""
    top = 2.0 ** (dtype.emax - dtype.precision)  # half a unit of the largest values
    points = [dtype.max, dtype.max + top, dtype.smallest_normal, dtype.smallest_subnormal, 1.0]
    points += [dtype.smallest_subnormal / 2, dtype.smallest_normal - dtype.smallest_subnormal]
    points += [1 + dtype.eps / 2, 1 + 3 * dtype.eps / 2, np.inf, 0.0]
    with np.errstate(over="ignore", under="ignore"):
        middle = np.array(points, np.float64).astype(source.storage)
        finite = middle[np.isfinite(middle)]
        infinity = source.storage.type(np.inf)
        known = np.concatenate(
            [middle, np.nextafter(finite, infinity), np.nextafter(finite, -infinity)]
        )
    if source is float64:
        # Rounded to float32 first, these become ties, or cross the threshold of overflow.
        known = np.concatenate([known, finite * (1 + 2.0**-40), finite * (1 - 2.0**-40)])
        nans = np.array([0x7FF0000000000001, 0x7FFFFFFFFFFFFFFF, 0x7FF0000020000000], np.uint64)
        return np.concatenate([known, -known, nans.view(np.float64)])
    return np.concatenate([known, -known, np.array(_NAMED_FLOAT32, np.uint32).view(np.float32)])
