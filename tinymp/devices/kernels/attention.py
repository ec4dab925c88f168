"""Scaled dot-product attention on tensor cores, forward and backward, without the L x S weights.

Served are float16 and bfloat16 heads of up to 128 elements (a multiple of 8), any numbers of
queries and keys, causal or not, in the deterministic rounding modes, on GPUs of compute capability
8.0 and later. Operands are read where they are, as long as elements of a head are neighbours and
rows begin at multiples of 16 bytes: queries, keys and values may be views of one (B, L, 3, H, E)
projection. Results are (B, H, L, E) views of (B, L, H, E) memory, where putting the heads together
again copies nothing. From bottom to top:

    attention_tiles             memory to shared memory, shared memory to registers
    attention_products          products on tensor cores: mma.sync, or wgmma where there is one
    attention_forward           out, and the log-sum-exp of each query's scores
    attention_query_gradient    dQ
    attention_key_gradient      dK, dV
    attention_tilings           who does how much of it

What is rounded is what the rule in `ops.attention` rounds: each operand of an inner product, and
each result; all sums are float32. Two things part them. The rule rounds the weights before they
meet the values, the kernel P = weights * total, and divides afterwards. And backward takes
D = sum of g * out from the rounded `out`, as it has no weights. Let u be the format's unit roundoff
(for truncation twice that of rounding to nearest), W = softmax(Q Kᵀ scale), |.| elementwise, and
leave out terms of second order, of float32 and of numbers below the format's normal ones; then

    |out - exact|  <=  u (W |V| + |out|)                   |dV - exact|  <=  u (Wᵀ |g| + |dV|)
    |dQ - exact|   <=  u ((|dS| + X) |K| + |dQ|)           with  X = scale W * rowsum(|g| * R),
    |dK - exact|   <=  u ((2 |dS| + X)ᵀ |Q| + |dK|)              R = W |V| + |out|.

`tests/gpu/test_kernel_attention.py` holds the kernels to these bounds, with all terms.
"""

from __future__ import annotations

from functools import cache, lru_cache
from itertools import chain
from math import prod
from struct import pack
from typing import Any, NamedTuple

import numpy as np

from tinymp.devices.kernels.attention_tilings import TYPES, WIDEST, shared_bytes, source, tiling
from tinymp.devices.kernels.compiler import kernel
from tinymp.devices.kernels.twin import Target

Array = Any
Shape = tuple[int, ...]


def attention_forward(
    query: Any, key: Any, value: Any, *, causal: bool, scale: float, target: Target
) -> Any:
    """softmax(query·keyᵀ·scale)·value: storage of the result, and the float32 log-sum-exps.

    query: (B, H, L, E), key and value: (B, H, S, E), or without leading axes; gives (B, H, L, E)
    and (B, H, L). NotImplemented where the kernels do not serve.
    """
    import cupy

    q, k, v = query.storage, key.storage, value.storage
    formats = (target.dtype, query.dtype, key.dtype, value.dtype)
    device = cupy.cuda.runtime.getDevice()
    if not _serves(q.shape, k.shape, v.shape, formats, target.mode, scale):
        return NotImplemented
    operands = [_stack(x) for x in (q, k, v)]
    if not all(operands) or capability(device) < 80:
        return NotImplemented
    out = _empty(q.shape, q.dtype)
    logsumexp = cupy.empty(q.shape[:-1], np.float32)
    forward = _launch("attention_forward", *target, q.shape[-1], capability(device), device)
    sizes = _sizes(q.shape, k.shape, causal, scale)
    forward(q.shape, [*operands, _stack(out), (logsumexp.data.ptr,)], sizes)
    return out, logsumexp


def attention_backward(
    g: Any,
    query: Any,
    key: Any,
    value: Any,
    out: Array,
    logsumexp: Array,
    *,
    causal: bool,
    scale: float,
    targets: tuple[Target | None, ...],
    into: list[Array] | None = None,
) -> Any:
    """Gradients with respect to query, key and value, as storage, from what forward has left.

    g: (B, H, L, E), in any layout; out, logsumexp: what `attention_forward` returned for the same
    operands. The three are computed together, whichever are wanted, and written `into` arrays of
    their shapes, if those are given.
    """
    import cupy

    q, k, v, slope = query.storage, key.storage, value.storage, g.storage
    target = next(t for t in targets if t is not None)
    formats = (target.dtype, g.dtype, query.dtype, key.dtype, value.dtype)
    device = cupy.cuda.runtime.getDevice()
    if not _serves(q.shape, k.shape, v.shape, formats, target.mode, scale):
        return NotImplemented
    if _stack(slope) is None:
        slope = cupy.ascontiguousarray(slope)
    operands = [_stack(x) for x in (slope, q, k, v)]
    if not all(operands):
        return NotImplemented
    dq, dk, dv = into or (_empty(x.shape, x.dtype) for x in (q, k, v))
    by_query, by_key = (
        _launch(name, *target, q.shape[-1], capability(device), device)
        for name in ("attention_query_gradient", "attention_key_gradient")
    )
    # (logsumexp log2(e), -D) of each query, and of those that fill up a head's last block
    summaries = by_query.blocks(q.shape) * by_query.rows
    summary = cupy.empty((prod(q.shape[:-2]), summaries, 2), np.float32)
    sizes = _sizes(q.shape, k.shape, causal, scale)
    of_queries = [_stack(out), _stack(dq), (logsumexp.data.ptr, summary.data.ptr)]
    by_query(q.shape, operands + of_queries, sizes)
    by_key(k.shape, [*operands, _stack(dk), _stack(dv), (summary.data.ptr, summaries)], sizes)
    return dq, dk, dv


@lru_cache(maxsize=1024)
def _serves(
    query: Shape, key: Shape, value: Shape, formats: tuple[Any, ...], mode: str, scale: float
) -> bool:
    """Whether the kernels compute on these shapes, in one 2-byte format."""
    return (
        len(set(formats)) == 1
        and formats[0].name in TYPES
        and mode != "stochastic"
        and 2.0**-100 <= scale <= 2.0**100  # and in float32 so is its product with log2(e)
        and 2 <= len(query) <= 4
        and key == value
        and query[:-2] == key[:-2]
        and query[-1] == key[-1] <= WIDEST
        and query[-1] % 8 == 0
        and prod(query) * prod(key) > 0
        and max(query[-2], key[-2]) <= 2**21  # a grid's second dimension counts blocks of them
    )


@cache
def capability(device: int) -> int:
    """Compute capability of a GPU, 90 for 9.0."""
    import cupy

    return int(cupy.cuda.Device(device).compute_capability)


class _Launch(NamedTuple):
    """A kernel, and how it is started."""

    function: Any
    rows: int
    threads: int
    shared: int

    def blocks(self, shape: Shape) -> int:
        """How many blocks a head takes."""
        return -(-shape[-2] // self.rows)

    def __call__(self, shape: Shape, operands: list[Any], sizes: bytes) -> None:
        """Start it on the rows of matrices of a shape. The kernel's `Arguments` go as one."""
        words = list(chain.from_iterable(operands))
        packed = pack(f"{len(words)}q", *words) + sizes
        by_value = np.frombuffer(packed, f"V{len(packed)}")  # an array of one element
        grid = (prod(shape[:-2]), self.blocks(shape))
        self.function(grid, (self.threads,), (by_value,), shared_mem=self.shared)


@cache
def _launch(name: str, dtype: Any, mode: str, head: int, capability: int, device: int) -> _Launch:
    """The kernel for a GPU, to be called while that is the current one."""
    from cupy_backends.cuda.api import driver

    how = tiling(name, head, capability)
    function = kernel(name, source(name, dtype, mode, head, how))
    shared = shared_bytes(name, head, how)
    limit = driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    driver.funcSetAttribute(function.ptr, limit, shared)  # above 48 KiB, only if asked for
    return _Launch(function, how.rows, 32 * how.warps, shared)


def _stack(x: Array) -> tuple[int, ...] | None:
    """The kernels' `Stack`: address and strides in bytes; None where 16 bytes cannot be read."""
    batch, head, row, element = (0,) * (4 - x.ndim) + x.strides
    address = x.data.ptr
    if element != 2 or (address | batch | head | row) % 16:
        return None
    return address, batch, head, row


def _empty(shape: Shape, dtype: Any) -> Array:
    """Memory for (B, H, L, E) that is contiguous as (B, L, H, E)."""
    import cupy

    _, heads, rows, head = (1,) * (4 - len(shape)) + shape
    strides = (2 * rows * heads * head, 2 * head, 2 * heads * head, 2)
    memory = cupy.cuda.alloc(2 * prod(shape))
    return cupy.ndarray(shape, dtype, memory, strides[4 - len(shape) :])


@lru_cache(maxsize=1024)
def _sizes(query: Shape, key: Shape, causal: bool, scale: float) -> bytes:
    """The kernels' `Sizes`, filled up to a multiple of 8 bytes."""
    heads = query[-3] if len(query) > 2 else 1
    return pack("4if4x", heads, query[-2], key[-2], causal, scale)
