"""The CPU: NumPy's arrays. What it computes is the specification for every other device."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.devices.base import Array, Device, Format, widen


class CpuDevice(Device):
    """Arrays in the computer's own memory."""

    def __init__(self) -> None:
        self.name = "cpu"
        self.xp = np

    def asarray(self, values: Any, dtype: Any = None) -> Array:
        return np.asarray(values, dtype)

    def to_numpy(self, array: Array) -> Array:
        return np.asarray(array)

    def check_range(
        self,
        numbers: Array,
        low: int,
        high: int,
        error: type[Exception],
        complaint: str,
        allowed: int | None = None,
    ) -> None:
        # Numbers below 0, read as unsigned, are larger than all others.
        if numbers.size == 0 or (low == 0 and numbers.view(np.uint64).max() < high):
            return
        wrong = ((numbers < low) | (numbers >= high)) & (numbers != allowed)
        if wrong.any():
            raise error(complaint.format(int(numbers[wrong][0])))

    def synchronize(self) -> None:
        """Return at once: NumPy has finished when its calls return."""

    def matmul(self, a: Array, b: Array) -> Array:
        if a.ndim == 2 and b.ndim == 2:
            return np.dot(a, b)  # the same call of BLAS, which it reaches sooner
        return np.matmul(a, b)

    def matmul_words(self, a: Array, b: Array, dtype: Format) -> Array:
        return np.matmul(widen(a, dtype), widen(b, dtype))

    def philox_words(self, count: int, seed: int, draw: int) -> Array:
        """Return words of the Philox4x64-10 stream that NumPy implements.

        The generator turns a 128-bit key and a 256-bit counter into 256 random bits (Salmon,
        Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3, SC 2011). The seed is the
        key; the draw is the counter's upper half, and the lower half counts blocks of eight words,
        so no two draws overlap.
        """
        stream = np.random.Philox(key=seed, counter=draw << 128)
        return stream.random_raw((count + 1) // 2).view(np.uint32)[:count]
