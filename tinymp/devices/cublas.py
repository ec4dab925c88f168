"""cuBLAS's matrix products, called directly: CuPy's wrapper may not be captured in a CUDA graph.

The library is the one that CuPy has loaded. Numbers are named as in NVIDIA's manual ("cuBLAS
Library", sections 2.2 and 2.8), where the order of arguments is, too.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

OP_N, OP_T = 0, 1
R_32F, R_64F, R_16F, R_16BF = 0, 1, 2, 14
COMPUTE_32F, COMPUTE_32F_FAST_TF32, COMPUTE_64F = 68, 77, 70
_GEMM_DEFAULT = -1
_DISALLOW_REDUCED_PRECISION_REDUCTION = 16
# Space for partial sums, which NVIDIA recommends for Hopper; given by us, so that products in a
# CUDA graph need none of their own.
_WORKSPACE = 32 << 20

_int, _long, _pointer = ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p
_FACTOR: list[Any] = [_pointer]
_MATRIX: list[Any] = [_pointer, _int, _int]
_HOW: list[Any] = [_int, _int]
_HEAD: list[Any] = [_pointer, _int, _int, _int, _int, _int]


class Cublas:
    """The products of one GPU, on CuPy's current stream."""

    def __init__(self) -> None:
        import cupy

        library = _library()
        self._gemm = library.cublasGemmEx
        self._gemm.argtypes = [*_HEAD, *_FACTOR, *_MATRIX, *_MATRIX, *_FACTOR, *_MATRIX, *_HOW]
        self._batched = library.cublasGemmStridedBatchedEx
        strided = [*_MATRIX, _long]
        self._batched.argtypes = [
            *_HEAD, *_FACTOR, *strided, *strided, *_FACTOR, *strided, _int, *_HOW,
        ]  # fmt: skip
        self._set_stream = library.cublasSetStream_v2
        self._set_stream.argtypes = [_pointer, _pointer]
        self._set_workspace = library.cublasSetWorkspace_v2
        self._set_workspace.argtypes = [_pointer, _pointer, ctypes.c_size_t]
        handle = _pointer()
        check_status("cublasCreate", library.cublasCreate_v2(ctypes.byref(handle)))
        self._handle = handle
        # Partial sums stay in float32: cuBLAS may else add them in the type of a 2-byte result.
        mode = library.cublasSetMathMode(handle, _DISALLOW_REDUCED_PRECISION_REDUCTION)
        check_status("cublasSetMathMode", mode)
        self._space = cupy.cuda.Memory(_WORKSPACE)
        self._stream: int | None = None
        self._current_stream = cupy.cuda.get_current_stream

    def gemm(self, *arguments: Any) -> None:
        """cublasGemmEx without its handle and its last argument, the algorithm."""
        self._follow_stream()
        check_status("cublasGemmEx", self._gemm(self._handle, *arguments, _GEMM_DEFAULT))

    def gemm_strided_batched(self, *arguments: Any) -> None:
        """cublasGemmStridedBatchedEx without its handle and its last argument, the algorithm."""
        self._follow_stream()
        status = self._batched(self._handle, *arguments, _GEMM_DEFAULT)
        check_status("cublasGemmStridedBatchedEx", status)

    def _follow_stream(self) -> None:
        stream = self._current_stream().ptr
        if stream != self._stream:
            check_status("cublasSetStream", self._set_stream(self._handle, stream))
            space = self._set_workspace(self._handle, self._space.ptr, _WORKSPACE)
            check_status("cublasSetWorkspace", space)
            self._stream = stream


@cache
def cublas(device: int) -> Cublas:
    """The products of the GPU with this index, which must be CuPy's current one."""
    return Cublas()


def _library() -> ctypes.CDLL:
    major = major_version()
    name = f"cublas64_{major}.dll" if sys.platform == "win32" else f"libcublas.so.{major}"
    return ctypes.CDLL(name)


@cache
def major_version() -> int:
    """The version of the cuBLAS that CuPy has loaded, which is part of its file's name."""
    from cupy_backends.cuda.libs.cublas import create, destroy, getVersion

    handle = create()
    version = int(getVersion(handle))
    destroy(handle)
    return version // 10000


def check_status(name: str, status: int) -> None:
    """Raise RuntimeError where a function of cuBLAS or cuBLASLt says that it failed."""
    if status:
        raise RuntimeError(f"{name} failed with status {status}; see cublasStatus_t in the manual")
