"""Are indices and labels in range? Asked on the GPU, answered when its results are fetched.

To know at once, the host would have to wait for the GPU at every operation. So a kernel looks at
the numbers and leaves a wrong one in device memory; it is found, and becomes the error, when the
host waits for the GPU anyway. Until then operations take some number in range for the wrong one, or
give NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.devices.base import Array

_SOURCE = r"""
extern "C" __global__ void find_outside(const long long *numbers, long long count, long long low,
                                        long long high, long long allowed, long long *found) {
    const long long i = blockIdx.x * 256ll + threadIdx.x;
    if (i >= count) return;
    const long long number = numbers[i];
    // Of several threads that find one, whichever comes last is reported; any will do.
    if ((number < low || number >= high) && number != allowed) {
        found[1] = number;
        found[0] = 1;
    }
}
"""
_PLACES = 64  # different checks that are kept apart; more share the last place's message


class RangeChecks:
    """The checks of one GPU that were started and not yet looked at."""

    def __init__(self) -> None:
        self._complaints: dict[tuple[type[Exception], str], int] = {}
        self._found: Any = None
        self._places: list[Any] = []
        self._pending = False

    def start(
        self,
        numbers: Array,
        low: int,
        high: int,
        error: type[Exception],
        complaint: str,
        allowed: int | None,
    ) -> None:
        """Look, on the GPU, whether all `numbers` are in range; see `Device.check_range`."""
        import cupy

        from tinymp.devices.kernels.compiler import kernel

        if numbers.size == 0:
            return
        if self._found is None:
            self._found = cupy.zeros((_PLACES, 2), np.int64)
            self._places = list(self._found)  # taking one out anew would cost the host more
        place = self._complaints.setdefault(
            (error, complaint), min(len(self._complaints), _PLACES - 1)
        )
        numbers = cupy.ascontiguousarray(numbers)
        own = low if allowed is None else allowed  # what is in range may be allowed, too
        bounds = [np.int64(n) for n in (numbers.size, low, high, own)]
        blocks = -(-numbers.size // 256)
        kernel("find_outside", _SOURCE)((blocks,), (256,), (numbers, *bounds, self._places[place]))
        self._pending = True

    def raise_found(self) -> None:
        """Raise the error of a check that found a wrong number since this was last asked."""
        if not self._pending:
            return
        self._pending = False
        found = self._found.get()
        if not found[:, 0].any():
            return
        self._found.fill(0)
        place = int(found[:, 0].argmax())
        for (error, complaint), own in self._complaints.items():
            if own == place:
                raise error(
                    complaint.format(int(found[place, 1]))
                    + " (found when results of the GPU were asked for: the operation ran before)"
                )
