"""What is there to compute with, does it work, and what is missing? Found out for `tinymp doctor`.

Nothing here needs CuPy or a GPU; where they are, they are asked and tried.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from typing import Any

import numpy as np

from tinymp.bench.driver import Driver, find_driver
from tinymp.bench.machine import installed, processor

THERE, MISSING, BROKEN = "there", "missing", "broken"

_OLDEST_CUDA = 12  # of which there is a CuPy that serves
_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class Finding:
    """Something that was looked at.

    Attributes:
        subject: what.
        text: what is the matter with it.
        state: "there", "missing" (tinymp does without), or "broken" (installed, but fails).
        advice: what to do, where something is to be done.
    """

    subject: str
    text: str
    state: str = THERE
    advice: str = ""


@dataclass(frozen=True)
class Rate:
    """What a GPU reaches in one format.

    Attributes:
        format: of the operands of a product.
        tensor_cores: whether the GPU has tensor cores for it.
        flops: operations a second, measured; None where tinymp does not multiply in it.
        text: how tinymp multiplies in it.
    """

    format: str
    tensor_cores: bool
    flops: float | None
    text: str


@dataclass(frozen=True)
class Checkup:
    """All findings.

    Attributes:
        findings: in the order in which they are read.
        rates: of the first GPU, by format; empty without one.
        copy: bytes a second that a copy on that GPU reads and writes; None without one.
    """

    findings: tuple[Finding, ...]
    rates: tuple[Rate, ...] = ()
    copy: float | None = None

    @property
    def is_broken(self) -> bool:
        """Whether something that is installed does not work."""
        return any(finding.state == BROKEN for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """All of it as plain numbers and names, in operations and bytes a second."""
        return {**asdict(self), "broken": self.is_broken}


def checkup() -> Checkup:
    """Look at everything, and measure what the first GPU reaches: a few seconds."""
    findings = [_python(), _numpy()]
    driver = find_driver()
    findings.append(_driver(driver))
    cupy, found = _cupy(driver)
    findings.append(found)
    if cupy is None:
        return Checkup(tuple(findings))
    capability = _capability(cupy)
    findings += _gpus(cupy)
    for subject, look in (("cuBLAS", _cublas), ("NVRTC", _nvrtc)):
        findings.append(_tried(subject, lambda look=look: look(cupy)))  # type: ignore[misc]
    if any(finding.state == BROKEN for finding in findings):
        return Checkup(tuple(findings))
    try:
        rates, copy = tuple(_rates(cupy, capability)), _copy(cupy)
    except Exception as error:  # a broken driver or library raises errors of its own kinds
        findings.append(Finding("first product", _first_line(error), BROKEN, _REINSTALL))
        return Checkup(tuple(findings))
    return Checkup(tuple(findings), rates, copy)


_REINSTALL = (
    "install CuPy again with its CUDA libraries, and have one CuPy only: `python -m pip list` "
    "must name a single cupy"
)


def _python() -> Finding:
    implementation = f"{platform.python_implementation()} {platform.python_version()}"
    return Finding("Python", f"{implementation}, {sys.executable}, {platform.platform()}")


def _numpy() -> Finding:
    built: Any = np.show_config(mode="dicts")
    blas = built.get("Build Dependencies", {}).get("blas", {})
    name = f"{blas.get('name', 'an unknown BLAS')} {blas.get('version', '')}".strip()
    text = f"{np.__version__}, products by {name}, {_threads()}; {processor()}"
    return Finding("NumPy", text)


def _threads() -> str:
    cores = os.cpu_count() or 1
    for variable in _THREAD_VARIABLES:
        if value := os.environ.get(variable):
            return f"{variable}={value} threads on {cores} cores"
    return f"as many threads as cores, {cores}"


def _driver(driver: Driver | None) -> Finding:
    if driver is None:
        return Finding(
            "NVIDIA driver",
            "none: no GPU can be used, all runs on the CPU",
            MISSING,
            "nothing is needed for device='cpu'; on a machine with an NVIDIA GPU install its "
            "driver, from https://www.nvidia.com/drivers",
        )
    major, minor = driver.cuda
    text = f"{driver.version or 'of unknown version'}, serves CUDA up to {major}.{minor}"
    if not driver.gpus:
        text += ", but it reaches no GPU"
        return Finding("NVIDIA driver", text, MISSING, "`nvidia-smi` says why, if there is a GPU")
    if major < _OLDEST_CUDA:
        advice = f"update the driver to one that serves CUDA {_OLDEST_CUDA} or later"
        return Finding("NVIDIA driver", text, MISSING, advice)
    return Finding("NVIDIA driver", f"{text}; {', '.join(driver.gpus)}")


def install_command(driver: Driver) -> str:
    """What installs the CuPy that this driver serves, with CUDA's libraries."""
    major = 13 if driver.cuda[0] >= 13 else 12
    return f'python -m pip install "cupy-cuda{major}x[ctk]>=14.0"'


def _cupy(driver: Driver | None) -> tuple[Any, Finding]:
    """The module, if it works with a GPU, and what was found."""
    usable = driver is not None and driver.gpus and driver.cuda[0] >= _OLDEST_CUDA
    if not installed("cupy"):
        advice = "" if driver is None or not usable else f"run: {install_command(driver)}"
        needed = "not installed" if usable else "not installed, and of no use without a GPU"
        return None, Finding("CuPy", needed, MISSING, advice)
    packages = ", ".join(_cupy_packages()) or "of unknown origin"
    try:
        import cupy

        number = cupy.__version__  # a folder that happens to be called cupy has none
        count = cupy.cuda.runtime.getDeviceCount() if usable else 0
    except Exception as error:  # a broken CuPy or driver raises errors of its own kinds
        text = f"{packages}, but it fails: {_first_line(error)}"
        advice = _REINSTALL if driver is None else f"run: {install_command(driver)}"
        return None, Finding("CuPy", text, BROKEN, advice)
    if count == 0:
        return None, Finding("CuPy", f"{number} ({packages}), without a GPU", MISSING)
    runtime = cupy.cuda.runtime.runtimeGetVersion()
    text = f"{number} ({packages}), CUDA {runtime // 1000}.{runtime % 1000 // 10}"
    return cupy, Finding("CuPy", text)


def _cupy_packages() -> list[str]:
    names = {distribution.metadata["Name"] or "" for distribution in distributions()}
    return sorted(name for name in names if name.lower().partition("-")[0] == "cupy")


def _gpus(cupy: Any) -> Iterator[Finding]:
    runtime = cupy.cuda.runtime
    for index in range(runtime.getDeviceCount()):
        about = runtime.getDeviceProperties(index)
        name = about["name"].decode()
        memory = about["totalGlobalMem"] / 2**30
        text = (
            f"{name}, {memory:.1f} GiB, compute capability {about['major']}.{about['minor']}, "
            f"{about['multiProcessorCount']} multiprocessors"
        )
        yield Finding(f"cuda:{index}", text)


def _capability(cupy: Any) -> int:
    """Of the first GPU: 75 for 7.5."""
    about = cupy.cuda.runtime.getDeviceProperties(0)
    return int(10 * about["major"] + about["minor"])


def _cublas(cupy: Any) -> str:
    """cuBLAS's version."""
    number = cupy.cuda.cublas.getVersion(cupy.cuda.device.get_cublas_handle())
    return f"{number // 10000}.{number % 10000 // 100}.{number % 100}"


def _nvrtc(cupy: Any) -> str:
    """The version of CUDA's compiler, which has compiled a kernel for this GPU."""
    from cupy_backends.cuda.libs import nvrtc

    from tinymp.devices.kernels.compiler import compile_to_binary

    source = 'extern "C" __global__ void nothing() {}'
    compile_to_binary("nothing", source, f"sm_{_capability(cupy)}")
    major, minor = nvrtc.getVersion()
    return f"{major}.{minor}, compiles kernels for this GPU"


def _tried(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, look())
    except Exception as error:  # see above
        return Finding(subject, _first_line(error), BROKEN, _REINSTALL)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _rates(cupy: Any, capability: int) -> Iterator[Rate]:
    from tinymp.bench.gpu.rates import PRODUCTS, product_rate

    size = _size(cupy)
    for name, (_, from_capability) in PRODUCTS.items():
        has = from_capability is not None and capability >= from_capability
        if name == "TF32" and not has:
            yield Rate(name, has, None, "not there: float32 products are float32")
            continue
        text = "" if has or name == "float32" else "computed in float32, from 2-byte operands"
        yield Rate(name, has, product_rate(name, size), text)
    yield Rate("float8", capability >= 89, None, "decoded to float32 first: saves memory, no time")


def _size(cupy: Any) -> int:
    """Of the matrices: 8192, or what a GPU that is small or in use has room for."""
    free, _ = cupy.cuda.runtime.memGetInfo()
    return next((n for n in (8192, 4096, 2048) if 64 * n * n < free), 1024)


def _copy(cupy: Any) -> float:
    from tinymp.bench.gpu.rates import copy_rate

    return copy_rate(4 * _size(cupy) ** 2)
