"""Which GPU, and which versions? What a figure means nothing without."""

from __future__ import annotations

import platform
from typing import Any

from tinymp.bench.machine import package_version, processor

_LIBRARIES = ("tinymp", "numpy", "cupy", "cupy-cuda12x", "cupy-cuda13x", "torch")


def describe() -> dict[str, Any]:
    """The first GPU, the machine around it, and the versions of what is measured."""
    import cupy

    runtime = cupy.cuda.runtime
    about = runtime.getDeviceProperties(0)
    return {
        "gpu": about["name"].decode(),
        "compute_capability": f"{about['major']}.{about['minor']}",
        "memory_bytes": int(about["totalGlobalMem"]),
        "driver_cuda": _dotted(runtime.driverGetVersion()),
        "cuda": _dotted(runtime.runtimeGetVersion()),
        "processor": processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: package_version(name) for name in _LIBRARIES},
    }


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
