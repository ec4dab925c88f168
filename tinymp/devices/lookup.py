"""Which device is meant, and where an array lives."""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import Any

import numpy as np

from tinymp.devices.base import Array, Device
from tinymp.devices.cpu import CpuDevice

_CPU = CpuDevice()


def get_device(device: str | Device = "cpu") -> Device:
    """Return the device of a name: `"cpu"`, `"cuda"` (the first GPU), `"cuda:1"` …

    A `Device` is returned as it is. The same name always gives the same object.

    Raises:
        ValueError: for a name that is none of these.
        RuntimeError: for a CUDA device where CuPy or the GPU is missing; the message says which.
    """
    if isinstance(device, Device):
        return device
    if device == "cpu":
        return _CPU
    match = re.fullmatch(r"cuda(?::(\d+))?", str(device))
    if match is None:
        raise ValueError(
            f"no device is called {device!r}; expected 'cpu', 'cuda' or 'cuda:N' with N from 0"
        )
    return _cuda_device(int(match[1] or 0))


def device_of(array: Array) -> Device:
    """Return the device on which a NumPy or CuPy array lives.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(array, np.ndarray | np.generic):
        return _CPU
    # Whoever holds a CuPy array has imported CuPy already, so this never imports it.
    cupy: Any = sys.modules.get("cupy")
    if cupy is not None and isinstance(array, cupy.ndarray):
        return _cuda_device(int(array.device.id))
    raise TypeError(
        f"expected a NumPy or CuPy array, but got {type(array).__name__}; "
        "convert it first, for example with numpy.asarray"
    )


@cache
def _cuda_device(index: int) -> Device:
    from tinymp.devices.cuda import CudaDevice

    return CudaDevice(index)
