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
from tinymp.devices.cublas import (
    COMPUTE_32F,
    COMPUTE_32F_FAST_TF32,
    COMPUTE_64F,
    OP_N,
    OP_T,
    R_16BF,
    R_16F,
    R_32F,
    R_64F,
    cublas,
)
from tinymp.devices.cublas_lt import BiasProduct, alignment, cublas_lt
from tinymp.devices.gemm_layout import Gemm, gemms, product_shape


def matmul(a: Array, b: Array) -> Array:
    """Return the product of two float32 or two float64 CuPy arrays; see `Device.matmul`."""
    if a.dtype != b.dtype or a.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"matmul: expected two float32 or two float64 arrays, but got {a.dtype} and {b.dtype}; "
            "convert with astype, or use matmul_words for 2-byte floats"
        )
    return _product(a, b, R_32F if a.dtype == np.float32 else R_64F)


def matmul_words(a: Array, b: Array, dtype: Format) -> Array:
    """Return the float32 product of CuPy arrays of 2-byte floats; see `Device.matmul_words`."""
    check_two_byte(a, dtype)
    check_two_byte(b, dtype)
    kind = _two_byte_kind(dtype.name)
    if kind is None:
        return matmul(widen(a, dtype), widen(b, dtype))
    return _product(a, b, kind)


def rounded_product(a: Array, b: Array, dtype: Format) -> Any:
    """Return `a @ b` of float32 or 2-byte floats in the same format.

    It is accumulated in float32 and rounded once, to nearest even, as the product is written: a
    float32 result of 2-byte operands never is in memory. Declines (NotImplemented) where the GPU
    has no tensor cores for the format.
    """
    kind = R_32F if dtype.name == "float32" else _two_byte_kind(dtype.name)
    return NotImplemented if kind is None else _product(a, b, kind, words=True)


def rounded_product_with_bias(a: Array, b: Array, bias: Array, dtype: Format) -> Any:
    """Return `a @ b + bias` of two matrices and a vector, rounded once; see `rounded_product`.

    Declines, too, what cuBLASLt cannot do with operands that lie as these.
    """
    import cupy

    kind = R_32F if dtype.name == "float32" else _two_byte_kind(dtype.name)
    if kind is None or a.size == 0 or b.size == 0:
        return NotImplemented
    device, reduced = cupy.cuda.runtime.getDevice(), kind == R_32F and _tf32[0]
    out = cupy.empty((a.shape[0], b.shape[1]), a.dtype)
    arrays = (a, b, bias, out)
    addresses = tuple([array.data.ptr for array in arrays])
    lie = (a.shape, a.strides, b.shape, b.strides)
    key = (*lie, kind, device, reduced, *[alignment(address) for address in addresses])
    if key not in _BIAS_PLANS:
        (gemm,) = gemms(cupy, a, b, out)
        copied = gemm.a.array.data.ptr != addresses[0] or gemm.b.array.data.ptr != addresses[1]
        compute = COMPUTE_32F_FAST_TF32 if reduced else COMPUTE_32F
        plan = BiasProduct(cublas_lt(device), gemm, kind, compute, addresses)
        _BIAS_PLANS[key] = None if copied or plan.algorithm is None else plan
    found = _BIAS_PLANS[key]
    if found is None:
        return NotImplemented
    found(*addresses)
    return out


@cache
def _two_byte_kind(name: str) -> int | None:
    """CUDA's name of a 2-byte format; None where this GPU does not multiply it."""
    if name == "float16":
        return R_16F
    return R_16BF if _multiplies_bfloat16() else None


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


def _product(a: Array, b: Array, kind: int, words: bool = False) -> Array:
    """Return `a @ b`, with NumPy's shapes, for operands whose elements CUDA calls `kind`.

    The result is float32 (float64 for float64); with `words` it has the operands' type.
    """
    import cupy

    if a.ndim < 2 or b.ndim < 2:
        return _with_vectors(a, b, kind)
    # How the operands lie is worked out once: a step of training meets the same shapes again.
    key = (a.shape, a.strides, b.shape, b.strides, kind, words)
    plan = _PLANS.get(key)
    if plan is None:
        plan = _Plan(a, b, kind, words)
        if plan.in_place:
            _PLANS[key] = plan
    out = (cupy.empty if plan.calls else cupy.zeros)(plan.shape, plan.dtype)
    library = cublas(cupy.cuda.runtime.getDevice())
    for call in plan.calls:
        call(library, a.data.ptr, b.data.ptr, out.data.ptr)
    return out


def _with_vectors(a: Array, b: Array, kind: int) -> Array:
    """The product where an operand is a vector: a row on the left, a column on the right."""
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(
            f"matmul: a number has no matrix product; shapes {a.shape} and {b.shape} were given, "
            "use * instead"
        )
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    out = _product(left, right, kind)
    if a.ndim == 1:
        out = out[..., 0, :]
    return out[..., 0] if b.ndim == 1 else out


class _Plan:
    """The calls for operands of certain shapes and strides.

    Attributes:
        shape, dtype: of the result.
        calls: one or several; none where there is nothing to multiply.
        in_place: whether all operands are read where they lie, so that the plan serves others.
    """

    def __init__(self, a: Array, b: Array, kind: int, words: bool) -> None:
        import cupy

        self.shape = product_shape(a.shape, b.shape)
        self.dtype = a.dtype if words or a.dtype == np.float64 else np.dtype(np.float32)
        self.calls: list[_Call] = []
        if a.size and b.size:
            arrays = (a, b, cupy.empty(self.shape, self.dtype))
            self.calls = [_Call(gemm, arrays, kind) for gemm in gemms(cupy, *arrays)]
        self.in_place = all(call.in_place for call in self.calls)


_PLANS: dict[Any, _Plan] = {}
_BIAS_PLANS: dict[Any, BiasProduct | None] = {}


class _Call:
    """One product as cuBLAS is told it: Bᵀ·Aᵀ in column-major order, which is A·B by rows."""

    def __init__(self, gemm: Gemm, arrays: tuple[Array, Array, Array], kind: int) -> None:
        operands = (gemm.a, gemm.b, gemm.out)
        pairs = list(zip(operands, arrays, strict=True))
        self._offsets = [operand.array.data.ptr - array.data.ptr for operand, array in pairs]
        inside = [0 <= o <= _extent(x) for o, x in zip(self._offsets, arrays, strict=True)]
        #: Whether all operands are read where they lie, not from copies.
        self.in_place = all(inside)
        # Copies must live until they have been read; other arrays must not be kept.
        self._copies = [] if self.in_place else [operand.array for operand in operands]
        flags = [OP_T if x.by_columns else OP_N for x in operands]
        self._sizes = (flags[1], flags[0], gemm.n, gemm.m, gemm.k)
        result = {2: kind, 4: R_32F, 8: R_64F}[arrays[2].itemsize]
        self._leading = [
            (t, x.leading) for t, x in zip((kind, kind, result), operands, strict=True)
        ]
        self._batch = gemm.batch
        self._steps = [x.batch_stride for x in operands]
        # COMPUTE_32F multiplies float32 in float32 and the exact products of 2-byte floats on
        # tensor cores; TF32, which cuts float32 operands to 11 bits, has a name of its own.
        self._compute = COMPUTE_64F if kind == R_64F else COMPUTE_32F
        self._is_float32 = kind == R_32F
        # The factors 0 and 1 are of the compute type, and read before a call returns.
        self._factors = np.array([0, 1], np.float64 if kind == R_64F else np.float32)
        zero = self._factors.ctypes.data
        self._zero, self._one = zero, zero + self._factors.itemsize

    def __call__(self, library: Any, a: int, b: int, out: int) -> None:
        """Start the product of matrices at these addresses."""
        x, y, z = self._offsets
        left, right, product = self._leading
        compute = COMPUTE_32F_FAST_TF32 if self._is_float32 and _tf32[0] else self._compute
        if self._batch == 1:
            library.gemm(
                *self._sizes, self._one, b + y, *right, a + x, *left, self._zero, out + z, *product,
                compute,
            )  # fmt: skip
            return
        left_step, right_step, step = self._steps
        library.gemm_strided_batched(
            *self._sizes, self._one, b + y, *right, right_step, a + x, *left, left_step, self._zero,
            out + z, *product, step, self._batch, compute,
        )  # fmt: skip


def _extent(x: Array) -> int:
    """Bytes from the first element of `x` to its last."""
    return sum((n - 1) * max(stride, 0) for n, stride in zip(x.shape, x.strides, strict=True))


_tf32 = [False]


def set_float32_matmul_precision(precision: str) -> None:
    """Choose how a GPU multiplies float32 matrices; the name and its values are PyTorch's.

    Args:
        precision: `"highest"`, the default: in float32. `"high"`: on tensor cores in TF32, which
            rounds the operands to 11 bits of significand and accumulates in float32. The CPU
            always computes in float32.

    Raises:
        ValueError: another value.
    """
    if precision not in ("highest", "high"):
        raise ValueError(
            f"unknown precision {precision!r}; expected 'highest' (float32) or 'high' (TF32)"
        )
    _tf32[0] = precision == "high"


def get_float32_matmul_precision() -> str:
    """`"highest"` or `"high"`; see `set_float32_matmul_precision`."""
    return "high" if _tf32[0] else "highest"
