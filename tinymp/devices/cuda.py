"""An NVIDIA GPU: CuPy's arrays. CuPy is imported here and nowhere else, when a GPU is asked for."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from tinymp.devices.base import Array, Device, Format
from tinymp.devices.memory import explain_failures
from tinymp.devices.range_checks import RangeChecks

_ADVICE = (
    "An NVIDIA GPU with its driver is needed, and the CuPy built for the CUDA version that "
    "`nvidia-smi` names in its first lines:\n"
    '    CUDA 12:  python -m pip install "cupy-cuda12x[ctk]>=14.0"\n'
    '    CUDA 13:  python -m pip install "cupy-cuda13x[ctk]>=14.0"\n'
    "Without a GPU, use device='cpu'."
)


class CudaDevice(Device):
    """The GPU with this index, as CUDA counts them.

    What this object does happens on its GPU. CuPy's own functions, which operations use, run on
    CuPy's current device: the first GPU, unless `cupy.cuda.Device(index).use()` was called.

    CuPy compiles them to take float32 subnormals, below 2^-126, for zero. Encoding, decoding and
    products on tensor cores keep them; float32 and BF16 arithmetic on them differs from the CPU's.
    """

    multiplies_words = True

    def __init__(self, index: int) -> None:
        self.name = f"cuda:{index}"
        self.xp = _import_cupy(index)
        self._place = self.xp.cuda.Device(index)
        explain_failures(self.xp)
        self._checks = RangeChecks()
        self.kernels = importlib.import_module("tinymp.devices.kernels.serving")

    def asarray(self, values: Any, dtype: Any = None) -> Array:
        with self._place:
            return self.xp.asarray(values, dtype)

    def to_numpy(self, array: Array) -> Array:
        out = self.xp.asnumpy(array)
        self._checks.raise_found()
        return out

    def check_range(
        self,
        numbers: Array,
        low: int,
        high: int,
        error: type[Exception],
        complaint: str,
        allowed: int | None = None,
    ) -> None:
        self._checks.start(numbers, low, high, error, complaint, allowed)

    def synchronize(self) -> None:
        self._place.synchronize()
        self._checks.raise_found()

    def matmul(self, a: Array, b: Array) -> Array:
        from tinymp.devices.gemm import matmul

        with self._place:
            return matmul(a, b)

    def matmul_words(self, a: Array, b: Array, dtype: Format) -> Array:
        from tinymp.devices.gemm import matmul_words

        with self._place:
            return matmul_words(a, b, dtype)

    def philox_words(self, count: int, seed: int, draw: int) -> Array:
        from tinymp.devices.philox import philox_words

        with self._place:
            return philox_words(count, seed, draw)


def _import_cupy(index: int) -> Any:
    """Return the module `cupy`, or raise a RuntimeError that says what is missing."""
    wanted = f"device 'cuda:{index}' is not available: "
    if importlib.util.find_spec("cupy") is None:
        raise RuntimeError(f"{wanted}CuPy is not installed in this Python.\n{_ADVICE}")
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # a broken CuPy or driver raises errors of its own kinds
        raise RuntimeError(
            f"{wanted}CuPy is installed, but cannot reach a GPU; it says: {error}\n{_ADVICE}"
        ) from error
    if index >= count:
        raise RuntimeError(f"{wanted}CuPy finds {count} GPU(s), counted from 0.\n{_ADVICE}")
    return cupy
