"""Random numbers that depend on a seed, the number of the draw, and a position: nothing else.

Each draw is a stream of its own, so it can be repeated later (recomputation does so) and comes out
the same on every device. The state of a generator is two integers: its seed, and how many draws
it has made.
"""

from __future__ import annotations

from math import prod

import numpy as np

from tinymp.devices.base import Array, Device
from tinymp.devices.lookup import get_device


class Generator:
    """A source of random numbers: a seed, and the number of draws made so far.

    Args:
        seed: an integer from 0 to 2**64 - 1.
        draws: where to go on; 0 is the beginning.
    """

    __slots__ = ("draws", "seed")

    def __init__(self, seed: int = 0, draws: int = 0) -> None:
        for name, value in (("seed", seed), ("draws", draws)):
            if not 0 <= value < 2**64:
                raise ValueError(
                    f"{name} must be an integer from 0 to 2**64 - 1, but {value} was given"
                )
        self.seed = int(seed)
        self.draws = int(draws)

    def __repr__(self) -> str:
        return f"Generator(seed={self.seed}, draws={self.draws})"

    def next_draw(self) -> int:
        """Count a draw as made, and return its number, by which it can be had."""
        self.draws += 1
        return self.draws - 1

    def words(self, device: Device, count: int, draw: int | None = None) -> Array:
        """Return `count` random words, uint32, on `device`.

        `draw` repeats the draw of that number; None makes the next one.
        """
        if draw is None:
            draw = self.next_draw()
        return device.philox_words(count, self.seed, draw)

    def uniform(self, device: Device, shape: tuple[int, ...], draw: int | None = None) -> Array:
        """Return float32 numbers, uniform on the multiples of 2**-24 in [0, 1), on `device`.

        Both steps are exact, because float32 has 24 bits: every device gives the same bits.
        """
        words = self.words(device, prod(shape), draw)
        values = (words >> device.xp.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
        return values.reshape(shape)

    def normal(self, device: Device, shape: tuple[int, ...], draw: int | None = None) -> Array:
        """Return float32 numbers of the standard normal distribution on `device`.

        Box and Muller's transform (Annals of Mathematical Statistics 29, 1958), in float64, rounded
        once. It is always computed on the CPU and then moved, because logarithm and cosine of two
        devices differ in their last bits: so every device gets the same numbers. This costs time,
        but normal numbers serve to initialise models, which happens once. |z| stays below 6.67.
        """
        count = prod(shape)
        pairs = self.words(get_device("cpu"), count + count % 2, draw).reshape(-1, 2)
        in_0_1 = (pairs[:, 0] + 1.0) * 2.0**-32  # zero excluded, one included: the logarithm exists
        radius = np.sqrt(-2.0 * np.log(in_0_1))
        angle = pairs[:, 1] * (2.0 * np.pi * 2.0**-32)
        values = np.stack(
            [radius * np.cos(angle), radius * np.sin(angle)], axis=1, dtype=np.float32
        )
        return device.asarray(values.reshape(-1)[:count].reshape(shape))


_default = Generator()


def default_generator() -> Generator:
    """Return the generator that everything draws from unless it is given another."""
    return _default


def manual_seed(seed: int) -> Generator:
    """Start the default generator anew from `seed` (0 to 2**64 - 1), and return it."""
    set_rng_state((seed, 0))
    return _default


def get_rng_state() -> tuple[int, int]:
    """Return the default generator's seed and number of draws."""
    return _default.seed, _default.draws


def set_rng_state(state: tuple[int, int]) -> None:
    """Put the default generator into a state that `get_rng_state` returned."""
    checked = Generator(*state)
    _default.seed, _default.draws = checked.seed, checked.draws


def random_words(device: Device, count: int, draw: int | None = None) -> Array:
    """Return `count` uint32 words of the default generator: see `Generator.words`."""
    return _default.words(device, count, draw)


def uniform(device: Device, shape: tuple[int, ...], draw: int | None = None) -> Array:
    """Return float32 numbers in [0, 1) of the default generator: see `Generator.uniform`."""
    return _default.uniform(device, shape, draw)


def normal(device: Device, shape: tuple[int, ...], draw: int | None = None) -> Array:
    """Return float32 normal numbers of the default generator: see `Generator.normal`."""
    return _default.normal(device, shape, draw)
