"""cuBLASLt: matrix products to which a bias is added before they are rounded.

cuBLAS itself adds a product to what stands in the result. But where that is of 2 bytes, most of its
kernels round the product first and the sum again (seen on an H200, cuBLAS 13.1: of products with a
bias in FP16 a quarter to a third came out otherwise than rounded once). What cuBLASLt calls an
epilogue works on the float32 sums instead, and saves writing the bias beforehand.

Source: NVIDIA's manual, "Using the cuBLASLt API", which names the attributes used here.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

from tinymp.devices.cublas import check_status, major_version
from tinymp.devices.gemm_layout import Gemm

# Attributes by number: of a product, of a preference, and values that some of them take.
_TRANSPOSE_A, _TRANSPOSE_B, _EPILOGUE, _BIAS_POINTER = 3, 4, 7, 8
_MOST_WORKSPACE, _REDUCTION, _ALIGNMENT_A = 1, 3, 5
_ADD_BIAS = 4
_REDUCE_IN_FLOAT32 = 2  # partial sums meet in the type that is computed in, not in the result's
_R_32F = 0
_WORKSPACE = 32 << 20
_WIDEST_ALIGNMENT = 256

_int, _long, _pointer = ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p


class _Found(ctypes.Structure):
    """What the heuristic finds: an algorithm, and what it needs."""

    _fields_ = (
        ("algorithm", ctypes.c_uint64 * 8),
        ("workspace", ctypes.c_size_t),
        ("status", _int),
        ("waves", ctypes.c_float),
        ("reserved", _int * 4),
    )


class BiasProduct:
    """One product with a bias, for operands that lie as these do: x·y + bias along each row.

    Attributes:
        algorithm: what cuBLASLt chose; None where it has nothing to offer.
    """

    def __init__(
        self, library: CublasLt, gemm: Gemm, kind: int, compute: int, addresses: tuple[int, ...]
    ) -> None:
        self._library = library
        # By columns, as cuBLASLt reads memory, this is yᵀ·xᵀ = (x·y)ᵀ; so y comes first.
        operands = (gemm.b, gemm.a, gemm.out)
        shapes = [(gemm.n, gemm.k), (gemm.k, gemm.m), (gemm.n, gemm.m)]
        self._product = library.create("MatmulDesc", _int(compute), _int(_R_32F))
        flags = [int(operand.by_columns) for operand in operands]
        self._set(_TRANSPOSE_A, _int(flags[0]))
        self._set(_TRANSPOSE_B, _int(flags[1]))
        self._set(_EPILOGUE, _int(_ADD_BIAS))
        self._layouts = []
        for (rows, columns), flag, operand in zip(shapes, flags, operands, strict=True):
            held = (columns, rows) if flag else (rows, columns)
            sizes = [ctypes.c_uint64(n) for n in held]
            layout = library.create("MatrixLayout", _int(kind), *sizes, _long(operand.leading))
            self._layouts.append(layout)
        self._factors = (ctypes.c_float * 2)(1, 0)
        one = ctypes.addressof(self._factors)
        self._one, self._zero = _pointer(one), _pointer(one + 4)
        x, y, bias, out = addresses
        self._bias = ctypes.c_uint64()
        self._point_to(bias)  # its alignment is looked at
        self.algorithm = self._chosen([alignment(address) for address in (y, x, out, out)])

    def __call__(self, x: int, y: int, bias: int, out: int) -> None:
        """Start the product of matrices at these addresses."""
        assert self.algorithm is not None
        self._point_to(bias)
        first, second, result = self._layouts
        self._library.multiply(
            self._product, self._one, y, first, x, second, self._zero, out, result, out, result,
            ctypes.byref(self.algorithm),
        )  # fmt: skip

    def _point_to(self, bias: int) -> None:
        self._bias.value = bias
        self._set(_BIAS_POINTER, self._bias)

    def _set(self, attribute: int, value: Any) -> None:
        self._library.set("MatmulDesc", self._product, attribute, value)

    def _chosen(self, alignments: list[int]) -> Any:
        library = self._library
        preference = library.create("MatmulPreference")
        library.set("MatmulPreference", preference, _MOST_WORKSPACE, ctypes.c_uint64(_WORKSPACE))
        library.set("MatmulPreference", preference, _REDUCTION, _int(_REDUCE_IN_FLOAT32))
        for i, bytes_ in enumerate(alignments):
            library.set("MatmulPreference", preference, _ALIGNMENT_A + i, _int(bytes_))
        first, second, result = self._layouts
        return library.choose(self._product, first, second, result, result, preference)


def alignment(address: int) -> int:
    """The largest power of two, up to 256, that an address is a multiple of."""
    return min(address & -address, _WIDEST_ALIGNMENT)


class CublasLt:
    """The library on one GPU, on CuPy's current stream."""

    def __init__(self) -> None:
        import cupy

        major = major_version()
        windows = sys.platform == "win32"
        self._of = ctypes.CDLL(f"cublasLt64_{major}.dll" if windows else f"libcublasLt.so.{major}")
        handle = _pointer()
        check_status("cublasLtCreate", self._of.cublasLtCreate(ctypes.byref(handle)))
        self._handle = handle
        self._space = cupy.cuda.Memory(_WORKSPACE)
        self._current_stream = cupy.cuda.get_current_stream
        self._setters = {}
        for kind in ("MatmulDesc", "MatmulPreference"):
            setter = self._setters[kind] = getattr(self._of, f"cublasLt{kind}SetAttribute")
            setter.argtypes = [_pointer, _int, _pointer, ctypes.c_size_t]
        self._multiply = self._of.cublasLtMatmul
        self._multiply.argtypes = [_pointer] * 14 + [ctypes.c_size_t, _pointer]

    def create(self, kind: str, *arguments: Any) -> Any:
        """A new descriptor of a kind, which lives as long as the process."""
        made = _pointer()
        name = f"cublasLt{kind}Create"
        check_status(name, getattr(self._of, name)(ctypes.byref(made), *arguments))
        return made

    def set(self, kind: str, descriptor: Any, attribute: int, value: Any) -> None:
        """Set an attribute of a descriptor of a kind."""
        size = ctypes.sizeof(value)
        status = self._setters[kind](descriptor, attribute, ctypes.byref(value), size)
        check_status("cublasLt's SetAttribute", status)

    def choose(self, *descriptors: Any) -> Any:
        """The algorithm that the heuristic puts first, None if there is none."""
        found, count = _Found(), _int()
        status = self._of.cublasLtMatmulAlgoGetHeuristic(
            self._handle, *descriptors, _int(1), ctypes.byref(found), ctypes.byref(count)
        )
        return found if status == 0 and count.value and found.status == 0 else None

    def multiply(self, *arguments: Any) -> None:
        """cublasLtMatmul without its handle and the workspace and stream at its end."""
        stream = self._current_stream().ptr
        status = self._multiply(self._handle, *arguments, self._space.ptr, _WORKSPACE, stream)
        check_status("cublasLtMatmul", status)


@cache
def cublas_lt(device: int) -> CublasLt:
    """The library on the GPU with this index, which must be CuPy's current one."""
    return CublasLt()
