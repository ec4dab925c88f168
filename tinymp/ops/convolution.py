"""Convolutions, as matrix products of the kernel with the columns of all its places.

The elements under a kernel of K taps, at each of P places, make a matrix of C·K rows and P columns
(im2col: Chellapilla, Puri & Simard, High Performance Convolutional Neural Networks for Document
Processing, 2006). Columns are copies of stored words, so 2-byte inputs stay 2-byte and
meet the kernel in one product, accumulated in float32. They are made again in backward, not kept.
"""

from __future__ import annotations

from math import prod
from typing import Any

from tinymp.autograd import Op, Tensor, apply
from tinymp.numerics.kit import Packed
from tinymp.ops.linear_algebra import check_floats
from tinymp.ops.shape import squeeze
from tinymp.ops.windows import Pair, Pairs, Window, as_image, both_sides, check_fit, pair

Array = Any


def _columns(xp: Any, x: Packed, window: Window, groups: int, places: tuple[int, ...]) -> Packed:
    """(groups, C/groups·K, N·P), from images (N, C, H, W) and the first of their places."""
    n, c = x.shape[:2]
    image = window.padded(xp, x.storage.swapaxes(0, 1))
    columns = xp.empty((c, prod(window.kernel), n, *places), image.dtype)
    for tap, under in enumerate(window.taps(image, places)):
        columns[:, tap] = under
    shape = (groups, c // groups * prod(window.kernel), n * prod(places))
    return Packed(columns.reshape(shape), x.dtype)


def _images(
    xp: Any, columns: Array, window: Window, n: int, places: tuple[int, ...], size: tuple[int, ...]
) -> Array:
    """(N, C, H, W), from columns (groups, C/groups·K, N·P): elements of one place are added up."""
    taps = prod(window.kernel)
    c = columns.shape[0] * columns.shape[1] // taps
    columns = columns.reshape(c, taps, n, *places)
    image = window.spread(xp, (columns[:, tap] for tap in range(taps)), size, columns[:, 0])
    return image.swapaxes(0, 1)


def _channels(x: Packed, groups: int) -> Packed:
    """(groups, C/groups, N·P), from images (N, C, H, W)."""
    n, c = x.shape[:2]
    storage = x.storage.swapaxes(0, 1)
    return Packed(storage.reshape(groups, c // groups, n * prod(x.shape[2:])), x.dtype)


def _kernels(weight: Packed, groups: int) -> Packed:
    """(groups, first length/groups, the rest), of a kernel."""
    first, *rest = weight.shape
    return weight.reshape(groups, first // groups, prod(rest))


def _with_bias(out: Array, bias: Packed | None) -> Array:
    if bias is not None:
        out += bias.values().reshape(-1, 1, 1)  # in place: the product is nobody else's
    return out


def _under(
    xp: Any, x: Packed, weight: Packed, window: Window, groups: int, places: tuple[int, ...]
) -> Array:
    """(N, O, *places): what meets each kernel in each place, multiplied and added up."""
    out = xp.matmul(_kernels(weight, groups), _columns(xp, x, window, groups, places))
    return out.reshape(weight.shape[0], x.shape[0], *places).swapaxes(0, 1)


def _conv(
    xp: Any, x: Packed, weight: Packed, bias: Packed | None = None, *, window: Window, groups: int
) -> Array:
    return _with_bias(_under(xp, x, weight, window, groups, window.places(x.shape[2:])), bias)


def _conv_x(
    xp: Any, g: Packed, weight: Packed, x_shape: tuple[int, ...], window: Window, groups: int
) -> Array:
    columns = xp.matmul(_kernels(weight, groups).mT, _channels(g, groups))
    return _images(xp, columns, window, g.shape[0], g.shape[2:], x_shape[2:])


def _conv_weight(
    xp: Any, g: Packed, x: Packed, weight_shape: tuple[int, ...], window: Window, groups: int
) -> Array:
    product = xp.matmul(_channels(g, groups), _columns(xp, x, window, groups, g.shape[2:]).mT)
    return product.reshape(weight_shape)


CONV = Op(
    "conv2d",
    _conv,
    x=_conv_x,
    weight=_conv_weight,
    bias=lambda xp, g: xp.sum(g.values(), (0, 2, 3)),
    forward_on="packed",
    autocast="lower",
    accumulates="both",
)


def _transposed(
    xp: Any,
    x: Packed,
    weight: Packed,
    bias: Packed | None = None,
    *,
    window: Window,
    groups: int,
    size: tuple[int, ...],
) -> Array:
    return _with_bias(_conv_x(xp, x, weight, (*x.shape[:2], *size), window, groups), bias)


# Forward is the gradient of a convolution with respect to its input, and the reverse: what is x to
# the one is g to the other.
CONV_TRANSPOSE = Op(
    "conv_transpose2d",
    _transposed,
    # With output padding the gradient may have room for more places than x has elements.
    x=lambda xp, g, weight, x_shape, window, groups: _under(
        xp, g, weight, window, groups, x_shape[2:]
    ),
    weight=lambda xp, g, x, weight_shape, window, groups: _conv_weight(
        xp, x, g, weight_shape, window, groups
    ),
    bias=lambda xp, g: xp.sum(g.values(), (0, 2, 3)),
    forward_on="packed",
    autocast="lower",
    accumulates="both",
)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pairs = 1,
    padding: Pairs | str = 0,
    dilation: Pairs = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of images (N, C, H, W) with kernels (O, C/groups, h, w), plus bias (O,).

    The result is (N, O, H', W'), H' = ⌊(H + 2·padding - dilation·(h - 1) - 1) / stride⌋ + 1.
    `padding`: zeros on both sides, "valid" (none) or "same" (H' = H, for stride 1). The other
    options are one number, or one for height and one for width. `groups`: input and output channels
    fall into that many parts that do not see each other.

    Accumulated in float32 and rounded once.

    Raises:
        TypeError: an integer or boolean tensor.
        ValueError: shapes and options that do not fit.
    """
    kernel = _kernel("conv2d", x, weight, bias, groups, transposed=False)
    step = pair(stride, "conv2d", "stride", 1)
    spacing = pair(dilation, "conv2d", "dilation", 1)
    window = Window(kernel, step, _padding(padding, kernel, step, spacing), spacing)
    check_fit("conv2d", x, window)
    return apply(CONV, x, weight, bias, window=window, groups=groups)


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pairs = 1,
    padding: Pairs = 0,
    output_padding: Pairs = 0,
    groups: int = 1,
    dilation: Pairs = 1,
) -> Tensor:
    """The transposed map of `conv2d`: images (N, C, H, W), kernels (C, O/groups, h, w), bias (O,).

    The result is (N, O, H', W'), H' = (H - 1)·stride - 2·padding + dilation·(h - 1) +
    output_padding + 1: the size from which `conv2d` with these options comes back to H.

    Raises:
        TypeError: an integer or boolean tensor.
        ValueError: shapes and options that do not fit.
    """
    name = "conv_transpose2d"
    kernel = _kernel(name, x, weight, bias, groups, transposed=True)
    step = pair(stride, name, "stride", 1)
    spacing = pair(dilation, name, "dilation", 1)
    window = Window(kernel, step, both_sides(pair(padding, name, "padding", 0)), spacing)
    extra = pair(output_padding, name, "output_padding", 0)
    size = tuple(n + e for n, e in zip(window.covered(x.shape[2:]), extra, strict=True))
    if any(e >= max(s, d) for e, s, d in zip(extra, step, spacing, strict=True)) or min(size) < 1:
        raise ValueError(
            f"{name} was given output_padding={output_padding} for stride={stride} and "
            f"dilation={dilation}, and a result of size {size}; the first must be smaller than one "
            "of the others, and the size at least 1"
        )
    return apply(CONV_TRANSPOSE, x, weight, bias, window=window, groups=groups, size=size)


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int | str = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """`conv2d` for signals (N, C, L) and kernels (O, C/groups, l): images of height 1."""
    around: Pairs | str = padding if isinstance(padding, str) else (0, padding)
    image, kernel = as_image("conv1d", x), as_image("conv1d", weight)
    return squeeze(conv2d(image, kernel, bias, (1, stride), around, (1, dilation), groups), 2)


def conv_transpose1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    groups: int = 1,
    dilation: int = 1,
) -> Tensor:
    """`conv_transpose2d` for signals (N, C, L) and kernels (C, O/groups, l): images of height 1."""
    image, kernel = as_image("conv_transpose1d", x), as_image("conv_transpose1d", weight)
    options = ((1, stride), (0, padding), (0, output_padding), groups, (1, dilation))
    return squeeze(conv_transpose2d(image, kernel, bias, *options), 2)


def _kernel(
    name: str, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int, transposed: bool
) -> Pair:
    """The taps of a kernel that fits the images.

    The weight's first length counts the channels that come out (`transposed`: that go in), its
    second those on the other side, of one group.
    """
    check_floats(name, x, weight, *([] if bias is None else [bias]))
    if x.ndim != 4 or weight.ndim != 4:
        raise ValueError(
            f"{name} was given images of shape {x.shape} and kernels of shape {weight.shape}; both "
            "have four dimensions: (N, C, H, W) and channels, channels, h, w"
        )
    first, second = weight.shape[0], weight.shape[1] * groups
    entering, leaving = (first, second) if transposed else (second, first)
    if groups < 1 or first % groups or entering != x.shape[1]:
        raise ValueError(
            f"{name} was given images of shape {x.shape}, kernels of shape {weight.shape} and "
            f"groups={groups}: kernels for {entering} channels; it must be those of the images, "
            "and groups must divide the channels"
        )
    if bias is not None and bias.shape != (leaving,):
        raise ValueError(
            f"{name} was given a bias of shape {bias.shape}; with {leaving} channels that come out "
            f"it must be ({leaving},)"
        )
    return weight.shape[2], weight.shape[3]


def _padding(padding: Pairs | str, kernel: Pair, stride: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    if not isinstance(padding, str):
        return both_sides(pair(padding, "conv2d", "padding", 0))
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding != "same" or stride != (1, 1):
        raise ValueError(
            f"a convolution was given padding={padding!r} with stride={stride}; a word is 'valid', "
            "or, for stride 1, 'same'"
        )
    height, width = (d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    return (height // 2, height - height // 2), (width // 2, width - width // 2)
