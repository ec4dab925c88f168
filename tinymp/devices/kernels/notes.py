"""Small kernels of a step that never waits: the learning rate of this step, and a line of its log.

    pick    rate = table[steps - first], the last one after the end of the table
    note    log[line] = (loss, scale, found),   line + 1

All arguments are in device memory, so that a CUDA graph can replay them. One thread each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.devices.kernels.compiler import kernel

SOURCE = r"""
extern "C" __global__ void pick(const double *table, long long length, const double *steps,
                                double first, double *rate) {
    const long long place = (long long)(*steps - first);
    *rate = table[place < length ? place : length - 1];
}

extern "C" __global__ void note(double *log, long long length, long long *line, const float *loss,
                                const double *scale, const double *check) {
    if (*line >= length) return;
    double *own = log + 3 * *line;
    own[0] = *loss;
    own[1] = scale ? *scale : 1.0;
    own[2] = check[1];
    ++*line;
}
"""


def pick(table: Any, steps: Any, first: int, rate: Any) -> None:
    """Set `rate` to what `table` holds for a number of steps; all float64 CuPy arrays."""
    arguments = (table, np.int64(table.size), steps, np.float64(first), rate)
    kernel("notes", SOURCE, "pick")((1,), (1,), arguments)


def note(log: Any, line: Any, loss: Any, scale: Any, check: Any) -> None:
    """Write the next line of `log`, float64 (lines, 3), and count it in `line`, int64.

    `loss`: float32, one element; `scale`: float64, one element, or None; `check`: see
    `gradient_check`.
    """
    arguments = (log, np.int64(len(log)), line, loss, 0 if scale is None else scale, check)
    kernel("notes", SOURCE, "note")((1,), (1,), arguments)
