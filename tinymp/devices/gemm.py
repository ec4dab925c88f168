"""Matrix products on the GPU, by cuBLAS: 2-byte floats on tensor cores, float32 without TF32.

Sums are accumulated in float32 (float64 for float64) and returned so. What is promised is an error
bound, not bits: cuBLAS chooses the order of the sums by shape, and where a small output meets a
long inner dimension it adds several partial sums. Equal shapes and layouts give equal bits again.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np

from tinymp.devices.base import Array, Format, check_two_byte, widen
from tinymp.devices.gemm_layout import Gemm, gemms, product_shape


def matmul(a: Array, b: Array) -> Array:
    """Return the product of two float32 or two float64 CuPy arrays; see `Device.matmul`."""
    from cupy.cuda import runtime

    if a.dtype != b.dtype or a.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"matmul: expected two float32 or two float64 arrays, but got {a.dtype} and {b.dtype}; "
            "convert with astype, or use matmul_words for 2-byte floats"
        )
    return _product(a, b, runtime.CUDA_R_32F if a.dtype == np.float32 else runtime.CUDA_R_64F)


def matmul_words(a: Array, b: Array, dtype: Format) -> Array:
    """Return the float32 product of CuPy arrays of 2-byte floats; see `Device.matmul_words`."""
    from cupy.cuda import runtime

    check_two_byte(a, dtype)
    check_two_byte(b, dtype)
    if dtype.name == "float16":
        return _product(a, b, runtime.CUDA_R_16F)
    if _multiplies_bfloat16():
        return _product(a, b, runtime.CUDA_R_16BF)
    return matmul(widen(a, dtype), widen(b, dtype))


@cache
def _multiplies_bfloat16() -> bool:
    """Ask the GPU whether it has BF16 tensor cores: Ampere (2020) and later ones do."""
    from cupy.cuda import device

    capability = device.get_compute_capability()
    if int(capability) >= 80:
        return True
    warnings.warn(
        f"this GPU (compute capability {capability}) has no BF16 tensor cores: bfloat16 products "
        "are computed in float32, which is slower and no less accurate; float16 is not affected",
        RuntimeWarning,
        stacklevel=2,
    )
    return False


def _product(a: Array, b: Array, kind: int) -> Array:
    """Return `a @ b`, with NumPy's shapes, for operands whose elements CUDA calls `kind`."""
    import cupy

    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(
            f"matmul: a number has no matrix product; shapes {a.shape} and {b.shape} were given, "
            "use * instead"
        )
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    shape = product_shape(left.shape, right.shape)
    result_type = np.float64 if a.dtype == np.float64 else np.float32
    if left.size == 0 or right.size == 0:
        out = cupy.zeros(shape, result_type)
    else:
        out = cupy.empty(shape, result_type)
        for gemm in gemms(cupy, left, right, out):
            _call_cublas(gemm, kind)
    if a.ndim == 1:
        out = out[..., 0, :]
    return out[..., 0] if b.ndim == 1 else out


def _call_cublas(gemm: Gemm, kind: int) -> None:
    """Start one product: Bᵀ·Aᵀ in cuBLAS's column-major order, which is A·B by rows."""
    from cupy.cuda import device, runtime
    from cupy_backends.cuda.libs import cublas

    double = kind == runtime.CUDA_R_64F
    # CUBLAS_COMPUTE_32F multiplies float32 in float32 (TF32 has a name of its own) and the exact
    # products of 2-byte floats on tensor cores. The factors 1 and 0 are of the compute type, and
    # are read from the CPU's memory before the call returns.
    compute = cublas.CUBLAS_COMPUTE_64F if double else cublas.CUBLAS_COMPUTE_32F
    one, zero = np.array([[1], [0]], np.float64 if double else np.float32)

    def matrix(operand: Any, element: int) -> tuple[int, ...]:
        return operand.array.data.ptr, element, operand.leading

    def flag(operand: Any) -> int:
        return int(cublas.CUBLAS_OP_T if operand.by_columns else cublas.CUBLAS_OP_N)

    handle = device.get_cublas_handle()
    sizes = (flag(gemm.b), flag(gemm.a), gemm.n, gemm.m, gemm.k)
    b, a = matrix(gemm.b, kind), matrix(gemm.a, kind)
    out = matrix(gemm.out, runtime.CUDA_R_64F if double else runtime.CUDA_R_32F)
    how = (compute, cublas.CUBLAS_GEMM_DEFAULT)
    factor, keep = one.ctypes.data, zero.ctypes.data
    if gemm.batch == 1:
        cublas.gemmEx(handle, *sizes, factor, *b, *a, keep, *out, *how)
    else:
        steps = [(operand.batch_stride,) for operand in (gemm.b, gemm.a, gemm.out)]
        cublas.gemmStridedBatchedEx(
            handle, *sizes, factor, *b, *steps[0], *a, *steps[1], keep, *out, *steps[2],
            gemm.batch, *how,
        )  # fmt: skip
