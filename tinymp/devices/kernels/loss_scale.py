"""The dynamic loss scale on the device: `DynamicLossScale.next`, for a step that never waits.

    found:      scale = scale·backoff,   clean = 0
    otherwise:  clean + 1; when that reaches the interval, scale = scale·growth and clean = 0

Scale and clean, the number of clean steps in a row, are float64 in device memory; the scale is
rounded to float32 each time, and does not grow to infinity. Two places get copies: the scale that
this step used, and the next one as the float32 gradient from which backward starts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.devices.kernels.template import instance, once_a_device

SOURCE = r"""
extern "C" __global__ void next_scale(const double *check, double *scale, double *clean,
                                      double *used, float *gradient,
                                      double growth, double backoff, double interval) {
    *used = *scale;
    if (check[1] != 0) {
        *scale = (float)(*scale * backoff);
        *clean = 0;
    } else if (++*clean == interval) {
        const float grown = (float)(*scale * growth);
        if (isfinite(grown)) *scale = grown;
        *clean = 0;
    }
    *gradient = (float)*scale;
}
"""


@once_a_device
def _kernel() -> Any:
    return instance("next_scale", SOURCE)


def next_scale(
    check: Any,
    scale: Any,
    clean: Any,
    used: Any,
    gradient: Any,
    *,
    growth: float,
    backoff: float,
    interval: int,
) -> None:
    """Change `scale` and `clean`, CuPy arrays of one float64, by what `check` found.

    `used`, float64, gets the scale that was, `gradient`, float32, the one that is next.
    """
    settings = (np.float64(growth), np.float64(backoff), np.float64(interval))
    _kernel()((1,), (1,), (check, scale, clean, used, gradient, *settings))
