"""How a small window goes over an image: for convolution and pooling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tinymp.autograd import Tensor
from tinymp.ops.dims import check_tensors
from tinymp.ops.shape import unsqueeze

Array = Any
Pair = tuple[int, int]
Pairs = int | Pair | list[int]


class Window(NamedTuple):
    """How a kernel goes over an image: each field for height and width.

    Attributes:
        kernel: its taps.
        stride: from one place to the next.
        padding: zeros (before, after) the image.
        dilation: from one tap to the next.
    """

    kernel: Pair
    stride: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair

    def places(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """In how many places the kernel fits on an image of `size`."""
        return tuple(
            (n + sum(p) - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(size, *self, strict=True)
        )

    def rounded_up(self, size: tuple[int, ...]) -> Window:
        """The window with padding for one place more, wherever that begins before the end.

        (A place that began in the padding behind the image would hold nothing of it.)
        """
        padding = []
        spans = zip(size, self.places(size), *self, strict=True)
        for n, places, k, s, (before, after), d in spans:
            missing = places * s + d * (k - 1) + 1 - (n + before + after)
            begins_on_image = places * s < n + before
            padding.append((before, after + missing if missing < s and begins_on_image else after))
        return self._replace(padding=(padding[0], padding[1]))

    def covered(self, places: tuple[int, ...]) -> tuple[int, ...]:
        """The size of the smallest image with that many places."""
        return tuple(
            (n - 1) * s + d * (k - 1) + 1 - sum(p)
            for n, k, s, p, d in zip(places, *self, strict=True)
        )

    def taps(self, image: Array, places: tuple[int, ...]) -> Iterator[Array]:
        """For each tap, a view of the elements of a padded image that it meets."""
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                rows, columns = (
                    slice(tap * d, tap * d + (n - 1) * s + 1, s)
                    for tap, d, n, s in zip((i, j), self.dilation, places, self.stride, strict=True)
                )
                yield image[..., rows, columns]

    def padded(self, xp: Any, image: Array, value: Any = 0) -> Array:
        """The image with `value` around it; the image itself if there is no padding."""
        (top, bottom), (left, right) = self.padding
        if top == bottom == left == right == 0:
            return image
        *front, height, width = image.shape
        out = xp.full((*front, height + top + bottom, width + left + right), value, image.dtype)
        out[..., top : top + height, left : left + width] = image
        return out

    def first_taps(self, xp: Any, places: tuple[int, ...]) -> Array:
        """For each place, the number of the first tap that meets the image, not what is around."""
        rows, columns = (
            xp.maximum(0, -((xp.arange(n) * s - before) // d))
            for n, s, (before, _), d in zip(
                places, self.stride, self.padding, self.dilation, strict=True
            )
        )
        return rows[:, None] * self.kernel[1] + columns

    def spread(self, xp: Any, taps: Iterator[Array], size: tuple[int, ...], like: Array) -> Array:
        """The reverse of `taps`: an image of `size` on which what each tap brings is added up.

        `like`: an array whose leading lengths and dtype the image gets; it has a place per result.
        """
        (top, bottom), (left, right) = self.padding
        height, width = size
        shape = (*like.shape[:-2], height + top + bottom, width + left + right)
        total = xp.zeros(shape, like.dtype)
        for under, brought in zip(self.taps(total, like.shape[-2:]), taps, strict=True):
            under += brought
        return total[..., top : top + height, left : left + width]


def pair(value: Pairs, name: str, option: str, least: int) -> Pair:
    """An option for height and width, given as two numbers or one for both.

    Raises:
        ValueError: another number of them, or one below `least`.
    """
    numbers = (value, value) if isinstance(value, int) else tuple(value)
    if len(numbers) != 2 or min(numbers) < least:
        raise ValueError(
            f"{name} was given {option}={value}; it must be a number of at least {least}, or one "
            "for height and one for width"
        )
    return numbers[0], numbers[1]


def both_sides(padding: Pair) -> tuple[Pair, Pair]:
    """The same padding before and after."""
    return (padding[0], padding[0]), (padding[1], padding[1])


def check_fit(name: str, x: Tensor, window: Window) -> None:
    """Refuse an image on which the window has no place.

    Raises:
        ValueError: there is none.
    """
    if min(window.places(x.shape[2:])) < 1:
        raise ValueError(
            f"{name} was given a tensor of shape {x.shape} for a kernel of {window.kernel}, which "
            f"with stride {window.stride}, padding {window.padding} and dilation "
            f"{window.dilation} fits nowhere"
        )


def as_image(name: str, x: Tensor) -> Tensor:
    """A signal (N, C, L) as an image of height 1: (N, C, 1, L).

    Raises:
        ValueError: not three dimensions.
    """
    check_tensors(name, x)
    if x.ndim != 3:
        raise ValueError(
            f"{name} was given a tensor of shape {x.shape}; signals are (N, C, L), and so are "
            "kernels"
        )
    return unsqueeze(x, 2)
