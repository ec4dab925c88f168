"""Matrix products of GPT-2's sizes and of a large one, by tinymp and by PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinymp import no_grad, ops
from tinymp.bench.gpu.race import GpuRace
from tinymp.bench.gpu.rates import PRODUCTS
from tinymp.bench.machine import installed
from tinymp.bench.measure import Contestant
from tinymp.devices.gemm import get_float32_matmul_precision, set_float32_matmul_precision
from tinymp.formats import rounding

#: (m, k, n) of products (m, k)·(k, n).
SHAPES = (
    (8192, 8192, 8192),
    (8192, 768, 768),
    (8192, 768, 3072),
    (8192, 3072, 768),
)
_GOALS = (0.95, 1.0)


def _ours(name: str, shape: tuple[int, int, int], mode: str = "nearest_even") -> Callable[[], Any]:
    m, k, n = shape
    dtype, _ = PRODUCTS[name]
    with rounding("nearest_even"):
        # Of zeros a product is faster than of other numbers: it takes less power.
        a = (ops.rand(m, k, device="cuda") - 0.5).to(dtype)
        b = (ops.rand(k, n, device="cuda") - 0.5).to(dtype)
    precision = "high" if name == "TF32" else "highest"

    def run() -> None:
        if get_float32_matmul_precision() != precision:
            set_float32_matmul_precision(precision)
        with no_grad(), rounding(mode):
            a @ b

    return run


def _pytorchs(name: str, shape: tuple[int, int, int]) -> Callable[[], Any]:
    import torch

    m, k, n = shape
    dtype = torch.float32 if name in ("TF32", "float32") else getattr(torch, name)
    a = (torch.rand(m, k, device="cuda") - 0.5).to(dtype)
    b = (torch.rand(k, n, device="cuda") - 0.5).to(dtype)
    precision = "high" if name == "TF32" else "highest"

    def run() -> None:
        if torch.get_float32_matmul_precision() != precision:
            torch.set_float32_matmul_precision(precision)
        torch.matmul(a, b)

    return run


def _enter(name: str, shape: tuple[int, int, int]) -> list[Contestant]:
    here = []
    if installed("torch"):
        here.append(Contestant("PyTorch", _pytorchs(name, shape)))
    here.append(Contestant("tinymp", _ours(name, shape)))
    if name == "bfloat16":
        here.append(Contestant("tinymp, truncated", _ours(name, shape, "toward_zero")))
    return here


def races() -> list[GpuRace]:
    """One of each shape and format."""
    return [
        GpuRace(
            f"product {m}×{k}·{k}×{n}, {name}",
            "PyTorch",
            lambda name=name, shape=(m, k, n): _enter(name, shape),  # type: ignore[misc]
            speed=True,
            goals={"tinymp": _GOALS} if name in ("float16", "bfloat16") else None,
            work=2.0 * m * k * n,
        )
        for m, k, n in SHAPES
        for name in PRODUCTS
    ]
