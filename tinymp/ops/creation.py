"""Making tensors: from values, filled, and random."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np

from tinymp.autograd import Tensor
from tinymp.autograd.modes import not_for_capture
from tinymp.devices import default_generator, get_device
from tinymp.formats import DType, active_rounding, bool_, dtype_of, float32, int64, pack, unpack
from tinymp.ops.conversion import transferred
from tinymp.ops.dims import check_tensors

Array = Any
Shape = tuple[int, ...]
DTypeLike = DType | str | None


def tensor(
    values: Any, dtype: DTypeLike = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A leaf with a copy of `values`: numbers, nested lists, a NumPy or CuPy array, a tensor.

    `dtype`: by default float32 for Python floats, an array's own float type, int64 for every
    integer type, bool for booleans. Values are rounded to it once, by the active rounding mode.
    `device`: by default where `values` is, "cpu" for lists.

    Raises:
        TypeError: values that are not numbers (such as strings), or an unknown dtype.
        ValueError: nested lists of different lengths.
    """
    if isinstance(values, Tensor):
        values = values._values() if dtype is not None else values
    if isinstance(values, Tensor):
        not_for_capture("copied a tensor with tinymp.tensor instead of .clone()")
        storage, dtype = values._array.copy(), values.dtype
    else:
        storage, dtype = _storage(values, dtype)
    if device is not None:
        storage = transferred(storage, device)
    return Tensor(storage, dtype, requires_grad=requires_grad)


def _storage(values: Any, dtype: DTypeLike) -> tuple[Array, DType]:
    """A fresh packed array of `values`, and its dtype."""
    given = values
    if isinstance(values, np.generic):
        values = np.asarray(values)
    if not hasattr(values, "dtype"):
        try:
            values = np.asarray(values)
        except ValueError:
            raise ValueError(
                "tensor was given nested lists of different lengths; every row must have the same "
                "length"
            ) from None
        if values.dtype == np.float64:
            dtype = dtype or float32
    if (own := _own_words(values)) is not None:
        storage, held = own
        if dtype is None or dtype_of(dtype) is held:
            return storage.copy(), held
        values = unpack(storage, held)
    if values.dtype.kind not in "biuf":
        raise TypeError(
            f"tensor was given {type(given).__name__} values of NumPy type {values.dtype}; it "
            "takes numbers and booleans"
        )
    dtype = dtype_of(values.dtype) if dtype is None else dtype_of(dtype)
    if dtype.kind != "float":
        return values.astype(dtype.storage), dtype
    if values.dtype.kind == "f" and values.dtype.itemsize < 4:
        values = values.astype(np.float32)
    storage = pack(values, dtype, active_rounding().mode(dtype))
    return (storage.copy() if storage is values else storage), dtype


def _own_words(array: Array) -> tuple[Array, DType] | None:
    """Words and dtype of an array that holds a dtype of ours by another name, as ml_dtypes' do."""
    if array.dtype.isbuiltin != 2:  # 2: a type that another package has registered
        return None
    try:
        dtype = dtype_of(array.dtype)
    except TypeError:
        return None
    same = dtype.itemsize == array.dtype.itemsize
    return (array.view(dtype.storage), dtype) if same else None


def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor on the memory of a NumPy array: changes to one show in the other.

    An array of one of ml_dtypes' floats (bfloat16, float8_e4m3fn, ...) serves as well.

    Raises:
        TypeError: not an array, or of a type that no dtype of tinymp stores.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(
            f"from_numpy was given a {type(array).__name__}; it takes a NumPy array; use "
            "tinymp.tensor"
        )
    if (own := _own_words(array)) is not None:
        return Tensor(*own)
    dtype = dtype_of(array.dtype)
    if dtype.storage != array.dtype:
        raise TypeError(
            f"from_numpy was given an array of {array.dtype}, which no dtype stores as it is; "
            f"tinymp.tensor converts it to {dtype.name}"
        )
    return Tensor(array, dtype)


def full(
    shape: int | Shape,
    value: float,
    dtype: DTypeLike = None,
    device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """`value` everywhere; by default float32 for floats, int64 for integers, bool for booleans.

    Raises:
        ValueError: a length below 0.
    """
    lengths = lengths_of((shape,))
    if dtype is None:
        dtype = bool_ if isinstance(value, bool) else int64 if isinstance(value, int) else float32
    word, dtype = _storage(np.asarray(value), dtype)
    storage = get_device(device).xp.full(lengths, word.item(), word.dtype)
    return Tensor(storage, dtype, requires_grad=requires_grad)


def zeros(
    *shape: int | Shape,
    dtype: DTypeLike = float32,
    device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of zeros."""
    return full(lengths_of(shape), 0, dtype, device, requires_grad)


def ones(
    *shape: int | Shape,
    dtype: DTypeLike = float32,
    device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of ones."""
    return full(lengths_of(shape), 1, dtype, device, requires_grad)


def zeros_like(x: Tensor) -> Tensor:
    """Zeros of the shape and dtype, and on the device, of `x`."""
    check_tensors("zeros_like", x)
    return zeros(x.shape, dtype=x.dtype, device=x.device)


def ones_like(x: Tensor) -> Tensor:
    """Ones of the shape and dtype, and on the device, of `x`."""
    check_tensors("ones_like", x)
    return ones(x.shape, dtype=x.dtype, device=x.device)


def full_like(x: Tensor, value: float) -> Tensor:
    """`value` everywhere, of the shape and dtype, and on the device, of `x`."""
    check_tensors("full_like", x)
    return full(x.shape, value, x.dtype, x.device)


def eye(n: int, m: int | None = None, dtype: DTypeLike = float32, device: str = "cpu") -> Tensor:
    """A matrix (n, m), square by default, with ones on its diagonal and zeros elsewhere."""
    return tensor(np.eye(*lengths_of((n, n if m is None else m)), dtype=np.float32), dtype, device)


def linspace(
    start: float, end: float, steps: int, dtype: DTypeLike = float32, device: str = "cpu"
) -> Tensor:
    """`steps` numbers at equal distances from `start` to `end`, both included.

    Computed in float64 and rounded once.

    Raises:
        ValueError: a negative number of steps, or ends that are not finite.
    """
    if steps < 0 or not isfinite(start) or not isfinite(end):
        raise ValueError(
            f"linspace was given start={start}, end={end} and steps={steps}; the first two must be "
            "finite, the last at least 0"
        )
    return tensor(np.linspace(start, end, steps), dtype or float32, device)


def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    dtype: DTypeLike = None,
    device: str = "cpu",
) -> Tensor:
    """`start`, `start + step`, ... up to but without `stop`; one argument counts from 0.

    int64 if all arguments are integers, else float32.

    Raises:
        ValueError: a step of 0, or an argument that is not finite.
    """
    if stop is None:
        start, stop = 0, start
    if not all(map(isfinite, (start, stop, step))) or step == 0:
        raise ValueError(
            f"arange was given start={start}, stop={stop} and step={step}; they must be finite, "
            "and the step not 0"
        )
    counts = all(isinstance(v, int) for v in (start, stop, step))
    if dtype is None:
        dtype = int64 if counts else float32
    # Integers are the same everywhere, and made on a GPU they need no copy that waits for it.
    xp = get_device(device).xp if counts else np
    return tensor(xp.arange(start, stop, step), dtype, device)


def rand(
    *shape: int | Shape,
    dtype: DTypeLike = float32,
    device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """Numbers uniform on the multiples of 2^-24 in [0, 1), rounded to `dtype`."""
    values = default_generator().uniform(get_device(device), lengths_of(shape))
    return tensor(values, dtype, requires_grad=requires_grad)


def randn(
    *shape: int | Shape,
    dtype: DTypeLike = float32,
    device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """Numbers from the standard normal distribution, rounded to `dtype`."""
    values = default_generator().normal(get_device(device), lengths_of(shape))
    return tensor(values, dtype, requires_grad=requires_grad)


def lengths_of(shape: tuple[int | Shape, ...]) -> Shape:
    """Lengths given one by one or as one tuple.

    Raises:
        ValueError: one is below 0.
    """
    given: Shape = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape  # type: ignore[assignment]
    if any(n < 0 for n in given):
        raise ValueError(f"a shape {tuple(given)} was given; its lengths must be at least 0")
    return tuple(given)
