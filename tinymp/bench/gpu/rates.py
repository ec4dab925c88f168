"""What can this GPU do? The speed of a copy, and of products in each format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from tinymp import no_grad, ops
from tinymp.bench.gpu.clock import gpu_seconds
from tinymp.devices.gemm import get_float32_matmul_precision, set_float32_matmul_precision
from tinymp.formats import bfloat16, float16, float32, rounding

#: Formats of products, the tensor that is multiplied, and the compute capability from which on
#: tensor cores serve it. float32 itself none does.
PRODUCTS = {
    "float16": (float16, 70),
    "bfloat16": (bfloat16, 80),
    "TF32": (float32, 80),
    "float32": (float32, None),
}
_ROUNDS = 7


@contextmanager
def product_format(name: str) -> Iterator[None]:
    """float32 products in TF32 if that is the name, and 2-byte results rounded to nearest."""
    before = get_float32_matmul_precision()
    set_float32_matmul_precision("high" if name == "TF32" else "highest")
    try:
        with no_grad(), rounding("nearest_even"):
            yield
    finally:
        set_float32_matmul_precision(before)


def product_rate(name: str, size: int) -> float:
    """Operations a second of a product of two square matrices, multiplications and additions."""
    dtype, _ = PRODUCTS[name]
    with product_format(name):
        # Of zeros or ones a product is faster than of other numbers: it takes less power.
        a, b = ((ops.rand(size, size, device="cuda") - 0.5).to(dtype) for _ in range(2))
        return 2 * size**3 / _seconds(lambda: a @ b)


def copy_rate(size: int) -> float:
    """Bytes a second, read and written, of a copy of so many bytes from the GPU to itself."""
    import cupy

    source = cupy.zeros(size, cupy.uint8)
    there = cupy.empty_like(source)
    return 2 * size / _seconds(lambda: cupy.copyto(there, source))


def _seconds(run: Any) -> float:
    """Of one call, the median of several rounds of calls."""
    for _ in range(3):
        run()
    gpu, host = gpu_seconds(run, 3)
    calls = min(max(1, round(0.01 / gpu)), 100)
    wait = 1.5 * calls * host + 1e-4
    return median(gpu_seconds(run, calls, wait)[0] for _ in range(_ROUNDS))
