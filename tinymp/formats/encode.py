"""How is an array of real values rounded to a format? The public ``encode``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.devices import default_generator, device_of
from tinymp.formats.dtype import DTYPES, DType, dtype_of
from tinymp.formats.fast import encode_fast
from tinymp.formats.rounding import active_rounding, check_mode
from tinymp.formats.rule import Array, encode_rule


def encode(
    values: Any,
    dtype: DType | str,
    rounding: str | None = None,
    saturate: bool = False,
    *,
    random_words: Array | None = None,
) -> Array:
    """Round values to ``dtype``, once, and return the words.

    NaN stays NaN and keeps its sign (a format has one NaN word that encoders write). What rounds to
    more than the largest finite value becomes infinity, or NaN in a format without infinities;
    rounding toward zero stops finite values at the largest finite one. Signed zeros are kept.

    Args:
        values: NumPy or CuPy array of float16, float32 or float64, any shape and strides; or a
            Python number or nested list of numbers, which are taken as float64 values.
        dtype: a floating-point format, or its name.
        rounding: ``"toward_zero"``, ``"nearest_even"`` or ``"stochastic"``; None takes the mode in
            force for this format.
        saturate: turn all that is too large, infinity included, into the largest finite value.
        random_words: for stochastic rounding, unsigned integers of the shape of ``values``. A word
            of w bits is read as the fraction word / 2**w of one unit in the last place. None draws
            from the default generator: 32 bits for a float32 value, 64 for a float64 value.

    Returns:
        Unsigned words of type ``dtype.words``, of the shape of ``values``, on the same device.
        Float32 values encoded as float32 (float64 as float64) are not copied: the words are a view.

    Raises:
        TypeError: for integer or boolean arrays, and for a ``dtype`` that is not floating-point.
        ValueError: for an unknown rounding mode, or random words of another shape.
    """
    dtype = dtype_of(dtype)
    if not dtype.is_float:
        raise TypeError(
            f"encode rounds to floating-point formats, and {dtype.name} is none; use one of "
            f"{', '.join(d.name for d in DTYPES if d.is_float)}"
        )
    mode = active_rounding().mode(dtype) if rounding is None else rounding
    check_mode(mode)
    values = _float_array(values)
    if random_words is not None:
        _check_random_words(random_words, values)
    return round_to_storage(values, dtype, mode, saturate, random_words).view(dtype.words)


def round_to_storage(
    values: Array,
    dtype: DType,
    mode: str,
    saturate: bool = False,
    random_words: Array | None = None,
) -> Array:
    """Return ``encode`` of a float32 or float64 array as it is stored, without the checks."""
    if values.dtype == dtype.storage:
        return values
    drawn = None
    if mode == "stochastic" and random_words is None:
        drawn = default_generator().seed, default_generator().next_draw()
    if isinstance(values, np.ndarray | np.generic):
        if drawn is not None:
            random_words = _draw_random_words(values, drawn)
        return encode_fast(np.asarray(values), dtype, mode, saturate, random_words)
    encode_words = device_of(values).kernels.encode_words
    words = encode_words(values, dtype, mode, saturate, random_words, drawn)
    if words is NotImplemented:
        if drawn is not None:
            random_words = _draw_random_words(values, drawn)
        words = encode_rule(values, dtype, mode, saturate, random_words)
    return words.view(dtype.storage)


def _draw_random_words(values: Array, drawn: tuple[int, int]) -> Array:
    """Return one random word a value, as wide as the value, of this seed's draw of that number."""
    per_value = values.dtype.itemsize // 4
    words = device_of(values).philox_words(per_value * values.size, *drawn)
    return words.view(f"uint{32 * per_value}").reshape(values.shape)


def _float_array(values: Any) -> Array:
    """Return ``values`` as a float32 or float64 array, refusing what that would change."""
    if not hasattr(values, "dtype"):
        return np.asarray(values, dtype=np.float64)
    if values.dtype.kind == "f" and values.dtype.itemsize <= 8:
        values = np.asarray(values) if isinstance(values, np.generic) else values
        # A no-op but for float16, which widens, and for foreign byte orders.
        return values.astype("f8" if values.dtype.itemsize == 8 else "f4", copy=False)
    raise TypeError(
        f"encode takes float32 or float64 values, but {values.dtype} was given; "
        "convert them first, for example with values.astype(numpy.float64)"
    )


def _check_random_words(random_words: Array, values: Array) -> None:
    if random_words.dtype.kind != "u" or random_words.shape != values.shape:
        raise ValueError(
            f"random_words must be unsigned integers of the values' shape {values.shape}, but "
            f"{random_words.dtype} of shape {random_words.shape} was given"
        )
