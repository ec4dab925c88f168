"""What does NVIDIA's driver say of itself? Asked directly: CuPy need not be installed for that."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

_CUDA = ("libcuda.so.1", "nvcuda.dll")
_MANAGEMENT = ("libnvidia-ml.so.1", "nvml.dll")
_NAME_LENGTH = 100


@dataclass(frozen=True)
class Driver:
    """An installed driver.

    Attributes:
        cuda: the newest CUDA version that it serves, (major, minor).
        version: its own version, empty where it does not say.
        gpus: names of the GPUs that it reaches.
    """

    cuda: tuple[int, int]
    version: str
    gpus: tuple[str, ...]


def find_driver() -> Driver | None:
    """The driver of this machine, None where there is none."""
    library = _loaded(_CUDA)
    if library is None:
        return None
    number = ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(number))
    cuda = (number.value // 1000, number.value % 1000 // 10)
    return Driver(cuda, _own_version(), _gpus(library))


def _gpus(library: Any) -> tuple[str, ...]:
    count, device, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(_NAME_LENGTH)
    if library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(count)):
        return ()  # a driver without a GPU
    names = []
    for index in range(count.value):
        library.cuDeviceGet(ctypes.byref(device), index)
        library.cuDeviceGetName(name, _NAME_LENGTH, device)
        names.append(name.value.decode())
    return tuple(names)


def _own_version() -> str:
    library = _loaded(_MANAGEMENT)
    version = ctypes.create_string_buffer(_NAME_LENGTH)
    if library is None or library.nvmlInit_v2():
        return ""
    failed = library.nvmlSystemGetDriverVersion(version, _NAME_LENGTH)
    library.nvmlShutdown()
    return "" if failed else version.value.decode()


def _loaded(names: tuple[str, ...]) -> Any:
    """The first library of these names that is there, None without any."""
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None
