"""Attention: the batched products it is made of, and the whole of it, forward and backward.

The yardstick of the products is cuBLAS called directly, on arrays that are there already: what is
lost to it is what this package adds. Of the whole, operations are counted as if only the needed
half of a causal L×L matrix were computed: 2 products forward, 5 backward (Dao, FlashAttention-2,
arXiv 2307.08691, section 4.1, counts alike).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymp import no_grad, ops
from tinymp.autograd import Tensor
from tinymp.bench.gpu.kernels import node_of
from tinymp.bench.gpu.pytorch import shared
from tinymp.bench.gpu.pytorch_gpt import by_products, fused
from tinymp.bench.gpu.race import GpuRace
from tinymp.bench.machine import installed
from tinymp.bench.measure import Contestant
from tinymp.formats import bfloat16, float16, rounding

#: GPT-2 small, 8 rows of 1024 tokens.
BATCH, HEADS, TIME, FEATURES = 8, 12, 1024, 64

_MATRICES = BATCH * HEADS
_BARE = "bare cuBLAS"


def _uniform(dtype: Any, *shape: int) -> Tensor:
    with rounding("nearest_even"):
        return (ops.rand(*shape, device="cuda") - 0.5).to(dtype)


def bare_product(a: Any, b: Any, out: Any, b_by_columns: bool) -> Callable[[], Any]:
    """cuBLAS's gemmStridedBatchedEx on float16 CuPy arrays (n, m, k) and (n, k, p), by rows.

    With `b_by_columns`, b is (n, p, k) and its transpose is meant.
    """
    from cupy.cuda import device, runtime
    from cupy_backends.cuda.libs import cublas

    count, m, k = a.shape
    p = out.shape[2]
    factors = np.array([1, 0], np.float32)
    one = factors.ctypes.data
    zero = one + factors.itemsize
    kind = runtime.CUDA_R_16F
    # cuBLAS counts by columns: it is told outᵀ = bᵀ·aᵀ.
    first = cublas.CUBLAS_OP_T if b_by_columns else cublas.CUBLAS_OP_N
    leading = k if b_by_columns else p
    arguments = (
        first, cublas.CUBLAS_OP_N, p, m, k, one,
        b.data.ptr, kind, leading, k * p,
        a.data.ptr, kind, k, m * k, zero,
        out.data.ptr, kind, p, m * p,
        count, cublas.CUBLAS_COMPUTE_32F, cublas.CUBLAS_GEMM_DEFAULT,
    )  # fmt: skip
    kept = (a, b, out, factors)  # for as long as their addresses are used

    def run() -> Any:
        cublas.gemmStridedBatchedEx(device.get_cublas_handle(), *arguments)
        return kept

    return run


def _products(a_shape: tuple[int, int], b_shape: tuple[int, int], transposed: bool) -> list[Any]:
    import cupy

    a = _uniform(float16, _MATRICES, *a_shape)
    b = _uniform(float16, _MATRICES, *b_shape)
    columns = b_shape[0] if transposed else b_shape[1]
    out = cupy.empty((_MATRICES, a_shape[0], columns), np.float16)

    def ours() -> None:
        with no_grad():
            a @ (b.mT if transposed else b)

    bare = bare_product(a._array, b._array, out, transposed)
    here = [Contestant(_BARE, bare), Contestant("tinymp", ours)]
    if installed("torch"):
        import torch

        x, y = shared(a), shared(b)
        y = y.mT if transposed else y
        here.append(Contestant("PyTorch", lambda: torch.bmm(x, y)))
    return here


def _whole(dtype: Any, backward: bool) -> list[Contestant]:
    shape = (BATCH, TIME, HEADS, FEATURES)
    own = [_uniform(dtype, *shape).transpose(1, 2).requires_grad_() for _ in range(3)]
    g = _uniform(dtype, *shape).transpose(1, 2)
    here = [Contestant("tinymp", _ours(own, g, backward))]
    if installed("torch"):
        theirs = [shared(x, requires_grad=True) for x in own]
        slope = shared(g)
        here += [
            Contestant("PyTorch, fused", _pytorchs(fused, theirs, slope, backward)),
            Contestant("PyTorch, products", _pytorchs(by_products, theirs, slope, backward)),
        ]
    return here


def _ours(inputs: list[Tensor], g: Tensor, backward: bool) -> Callable[[], Any]:
    query, key, value = inputs

    def forward() -> Tensor:
        return ops.scaled_dot_product_attention(query, key, value, is_causal=True)

    if backward:
        node = node_of(forward(), "scaled_dot_product_attention")
        return lambda: node.gradients(g._array)

    def run() -> None:
        with no_grad():
            forward()

    return run


def _pytorchs(
    function: Callable[..., Any], inputs: list[Any], g: Any, backward: bool
) -> Callable[[], Any]:
    import torch

    if backward:
        out = function(*inputs)
        return lambda: torch.autograd.grad(out, inputs, g, retain_graph=True)

    def run() -> None:
        with torch.no_grad():
            function(*inputs)

    return run


def races() -> list[GpuRace]:
    """Products of a head's size, then attention."""
    whole = 2.0 * _MATRICES * TIME * TIME * FEATURES  # operations of one product
    scores, values = (TIME, FEATURES), (TIME, TIME)
    products = [
        ("queries × keysᵀ", scores, scores, True),
        ("weights × values", values, scores, False),
    ]
    return [
        *(
            GpuRace(
                f"{name}, {_MATRICES} products, float16",
                _BARE,
                lambda a=a, b=b, t=t: _products(a, b, t),  # type: ignore[misc]
                speed=True,
                goals={"tinymp": (0.9, 1.0)},
                work=whole,
            )
            for name, a, b, t in products
        ),
        *(
            GpuRace(
                f"attention {BATCH}×{HEADS}×{TIME}×{FEATURES}, causal, {dtype.name}, {direction}",
                "PyTorch, fused",
                lambda dtype=dtype, backward=backward: _whole(dtype, backward),  # type: ignore[misc]
                speed=True,
                work=whole * (5 if backward else 2) / 2,
            )
            for dtype in (float16, bfloat16)
            for direction, backward in (("forward", False), ("backward", True))
        ),
    ]
