"""Pooling: the largest or the mean element under a window that goes over an image."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, prod
from typing import Any

from tinymp.autograd import Op, Tensor, apply
from tinymp.numerics.blockwise import rowwise
from tinymp.ops.indexing import getitem
from tinymp.ops.linear_algebra import check_floats
from tinymp.ops.order import max
from tinymp.ops.reductions import mean
from tinymp.ops.shape import flatten, reshape, squeeze, stack
from tinymp.ops.windows import Pair, Pairs, Window, as_image, both_sides, check_fit, pair

Array = Any


@rowwise("x")
def _max_pool(xp: Any, x: Array, *, window: Window) -> Any:
    places = window.places(x.shape[2:])
    out = xp.full((*x.shape[:2], *places), -inf, x.dtype)
    # The number of the tap that won: one byte suffices for most windows.
    chosen = xp.empty(out.shape, xp.uint8 if prod(window.kernel) <= 256 else xp.int64)
    chosen[...] = window.first_taps(xp, places)  # where there is nothing above -inf
    for tap, under in enumerate(window.taps(window.padded(xp, x, -inf), places)):
        under = xp.ascontiguousarray(under)  # it is read four times
        better = (under > out) | (under != under)  # the first of equal ones, or a NaN
        out = xp.where(better, under, out)
        chosen = xp.where(better, xp.asarray(tap, chosen.dtype), chosen)
    return out, chosen


@rowwise("g", "chosen")
def _max_pool_x(
    xp: Any, g: Array, x_shape: tuple[int, ...], chosen: Array, window: Window
) -> Array:
    taps = (xp.where(chosen == tap, g, 0) for tap in range(prod(window.kernel)))
    return window.spread(xp, taps, x_shape[2:], g)


MAX_POOL = Op("max_pool2d", _max_pool, x=_max_pool_x, residuals=("chosen",), accumulates="backward")


def _total(xp: Any, image: Array, window: Window) -> Array:
    taps = window.taps(window.padded(xp, image), window.places(image.shape[-2:]))
    return xp.sum(xp.stack(list(taps)), 0)


def _counts(
    xp: Any, size: tuple[int, ...], window: Window, counted: tuple[Pair, Pair], like: Array
) -> Array:
    """How many elements each mean is made of; of the padding only `counted` counts."""
    if counted == window.padding:
        return prod(window.kernel)
    whole = [n + sum(around) for n, around in zip(size, counted, strict=True)]
    (top, bottom), (left, right) = (
        (before - near, after - far)
        for (before, after), (near, far) in zip(window.padding, counted, strict=True)
    )
    beyond = window._replace(padding=((top, bottom), (left, right)))
    return _total(xp, xp.ones(whole, like.dtype), beyond)


def _avg_pool(xp: Any, x: Array, *, window: Window, counted: tuple[Pair, Pair]) -> Array:
    return _total(xp, x, window) / _counts(xp, x.shape[2:], window, counted, x)


def _avg_pool_x(
    xp: Any, g: Array, x_shape: tuple[int, ...], window: Window, counted: tuple[Pair, Pair]
) -> Array:
    each = g / _counts(xp, x_shape[2:], window, counted, g)
    return window.spread(xp, (each for _ in range(prod(window.kernel))), x_shape[2:], g)


AVG_POOL = Op("avg_pool2d", _avg_pool, x=_avg_pool_x, result="float", accumulates="both")


def max_pool2d(
    x: Tensor,
    kernel_size: Pairs,
    stride: Pairs | None = None,
    padding: Pairs = 0,
    dilation: Pairs = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The largest element under each place of a window: (N, C, H, W) gives (N, C, H', W').

    H' = ⌊(H + 2·padding - dilation·(h - 1) - 1) / stride⌋ + 1; `stride` is by default the window's
    size. `ceil_mode` rounds up: a window that begins on the image may reach over its end. Padding
    never wins. The gradient goes to the first of equal elements.

    Raises:
        TypeError: an integer or boolean tensor.
        ValueError: shapes and options that do not fit.
    """
    window, _ = _window("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
    return apply(MAX_POOL, x, window=window)


def avg_pool2d(
    x: Tensor,
    kernel_size: Pairs,
    stride: Pairs | None = None,
    padding: Pairs = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of the elements under each place of a window; see `max_pool2d`.

    Zeros from the padding count, unless `count_include_pad` is false; what `ceil_mode` reaches
    beyond does not.

    Raises:
        TypeError: an integer or boolean tensor.
        ValueError: shapes and options that do not fit.
    """
    window, around = _window("avg_pool2d", x, kernel_size, stride, padding, 1, ceil_mode)
    counted = around if count_include_pad else both_sides((0, 0))
    return apply(AVG_POOL, x, window=window, counted=counted)


def adaptive_avg_pool2d(x: Tensor, output_size: Pairs) -> Tensor:
    """(N, C, H, W) to (N, C, *output_size): the mean of each of that many parts of the image.

    Part i of n goes from element ⌊i·H/n⌋ to ⌈(i + 1)·H/n⌉, so that parts may share elements.

    Raises:
        TypeError: an integer or boolean tensor.
        ValueError: not four dimensions, or a size below 1.
    """
    return _adaptive(
        "adaptive_avg_pool2d", x, output_size, avg_pool2d, lambda part: mean(part, (2, 3))
    )


def adaptive_max_pool2d(x: Tensor, output_size: Pairs) -> Tensor:
    """(N, C, H, W) to (N, C, *output_size): the largest element of each of that many parts.

    For the parts see `adaptive_avg_pool2d`.

    Raises:
        TypeError: an integer or boolean tensor.
        ValueError: not four dimensions, or a size below 1.
    """
    return _adaptive(
        "adaptive_max_pool2d", x, output_size, max_pool2d, lambda part: max(flatten(part, 2), 2)[0]
    )


def _adaptive(
    name: str,
    x: Tensor,
    output_size: Pairs,
    pool: Callable[..., Tensor],
    reduce: Callable[[Tensor], Tensor],
) -> Tensor:
    """Each part reduced; where all parts are of one size, they are a pool's windows."""
    _check_images(name, x)
    rows, columns = pair(output_size, name, "output_size", 1)
    height, width = x.shape[2:]
    if height % rows == 0 and width % columns == 0:
        return pool(x, (height // rows, width // columns))

    def parts(length: int, n: int) -> list[slice]:
        return [slice(i * length // n, -(-(i + 1) * length // n)) for i in range(n)]

    reduced = [
        reduce(getitem(x, (..., vertical, horizontal)))
        for vertical in parts(height, rows)
        for horizontal in parts(width, columns)
    ]
    return reshape(stack(reduced, -1), (*x.shape[:2], rows, columns))


def max_pool1d(
    x: Tensor,
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """`max_pool2d` for signals (N, C, L)."""
    step = kernel_size if stride is None else stride
    image = as_image("max_pool1d", x)
    options = ((1, kernel_size), (1, step), (0, padding), (1, dilation), ceil_mode)
    return squeeze(max_pool2d(image, *options), 2)


def avg_pool1d(
    x: Tensor,
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """`avg_pool2d` for signals (N, C, L)."""
    step = kernel_size if stride is None else stride
    image = as_image("avg_pool1d", x)
    options = ((1, kernel_size), (1, step), (0, padding), ceil_mode, count_include_pad)
    return squeeze(avg_pool2d(image, *options), 2)


def adaptive_avg_pool1d(x: Tensor, output_size: int) -> Tensor:
    """`adaptive_avg_pool2d` for signals (N, C, L)."""
    return squeeze(adaptive_avg_pool2d(as_image("adaptive_avg_pool1d", x), (1, output_size)), 2)


def adaptive_max_pool1d(x: Tensor, output_size: int) -> Tensor:
    """`adaptive_max_pool2d` for signals (N, C, L)."""
    return squeeze(adaptive_max_pool2d(as_image("adaptive_max_pool1d", x), (1, output_size)), 2)


def _window(
    name: str,
    x: Tensor,
    size: Pairs,
    stride: Pairs | None,
    padding: Pairs,
    dilation: Pairs,
    ceil_mode: bool,
) -> tuple[Window, tuple[Pair, Pair]]:
    """The window, and the padding that was asked for: `ceil_mode` adds to it at the end."""
    _check_images(name, x)
    kernel = pair(size, name, "kernel_size", 1)
    around = pair(padding, name, "padding", 0)
    if any(2 * p > k for p, k in zip(around, kernel, strict=True)):
        raise ValueError(
            f"{name} was given padding={padding} for kernel_size={size}; more than half of the "
            "window would be padding"
        )
    window = Window(
        kernel,
        kernel if stride is None else pair(stride, name, "stride", 1),
        both_sides(around),
        pair(dilation, name, "dilation", 1),
    )
    check_fit(name, x, window)
    if not ceil_mode:
        return window, window.padding
    return window.rounded_up(x.shape[2:]), window.padding


def _check_images(name: str, x: Tensor) -> None:
    check_floats(name, x)
    if x.ndim != 4:
        raise ValueError(f"{name} was given a tensor of shape {x.shape}; images are (N, C, H, W)")
