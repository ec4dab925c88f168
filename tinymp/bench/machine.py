"""Which machine, and which versions? What a figure means nothing without."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

LIBRARIES = ("numpy", "ml_dtypes", "torch", "jax", "mygrad", "autograd")

# What the libraries read when they are loaded; later it is too late.
_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def thread_variables(threads: int) -> dict[str, str]:
    """Environment variables that give every library's products so many threads."""
    return dict.fromkeys(_VARIABLES, str(threads))


def threads_are(threads: int) -> bool:
    """Whether this process was started under `thread_variables(threads)`."""
    return all(os.environ.get(name) == str(threads) for name in _VARIABLES)


def installed(library: str) -> bool:
    """Whether a library is there to be imported."""
    return find_spec(library) is not None


def describe(threads: int) -> dict[str, object]:
    """The machine and the versions of what is measured."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "versions": {"tinymp": package_version("tinymp")}
        | {x: package_version(x) for x in LIBRARIES},
    }


def package_version(library: str) -> str | None:
    """Of an installed package, None for one that is not."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's name, by Linux, or as the platform module has it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
