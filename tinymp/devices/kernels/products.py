"""Matrix products whose result is rounded as it is written, by cuBLAS.

    traffic     both operands once, the result once, in their format

A result of 2 bytes that is rounded to nearest even needs no float32 copy of itself. Other modes are
declined: the rule multiplies to float32 and rounds that.
"""

from __future__ import annotations

from math import prod
from typing import Any

from tinymp.devices.gemm import rounded_product, rounded_product_with_bias
from tinymp.devices.kernels.twin import Target, load


def _is_served(targets: tuple[Target | None, ...], *operands: Any) -> bool:
    """Whether all are float32, or of one 2-byte format to which results are rounded to nearest."""
    dtype = operands[0].dtype
    exact = dtype.name == "float32"
    return (
        (exact or dtype.name in ("float16", "bfloat16"))
        and all(x is None or x.dtype is dtype for x in operands)
        and all(
            t is None or (t.dtype is dtype and (exact or t.mode == "nearest_even")) for t in targets
        )
    )


def matmul(x: Any, y: Any, *, target: Target) -> Any:
    """x·y."""
    if not _is_served((target,), x, y):
        return NotImplemented
    return rounded_product(x.storage, y.storage, x.dtype)


def matmul_gradients(g: Any, x: Any, y: Any, *, targets: tuple[Target | None, ...]) -> Any:
    """g·yᵀ and xᵀ·g, where neither operand was repeated.

    Both are needed for both: of an operand whose gradient is not asked for only the other is kept.
    """
    if not _is_served(targets, g, x, y):
        return NotImplemented
    if any(o is not None and o.shape[:-2] != g.shape[:-2] for o in (x, y)):
        return NotImplemented
    dx = None if targets[0] is None else rounded_product(g.storage, y.mT.storage, g.dtype)
    dy = None if targets[1] is None else rounded_product(x.mT.storage, g.storage, g.dtype)
    return dx, dy


def linear(x: Any, weight: Any, bias: Any = None, *, target: Target) -> Any:
    """x·weightᵀ + bias."""
    if not _is_served((target,), x, weight, bias):
        return NotImplemented
    operands = _rows(x).storage, weight.mT.storage
    if bias is None:
        out = rounded_product(*operands, x.dtype)
    else:
        out = rounded_product_with_bias(*operands, bias.storage, x.dtype)
    if out is NotImplemented or len(x.shape) == 2:
        return out
    return out.reshape(*x.shape[:-1], weight.shape[0])


def linear_gradients(g: Any, x: Any, weight: Any, *, targets: tuple[Target | None, ...]) -> Any:
    """g·weight, gᵀ·x and the sum of the rows of g."""
    if not _is_served(targets, g, x, weight):
        return NotImplemented
    rows = _rows(g)
    dx = dweight = dbias = None
    if targets[0] is not None:
        dx = rounded_product(rows.storage, weight.storage, g.dtype).reshape(x.shape)
    if targets[1] is not None:
        dweight = rounded_product(rows.mT.storage, _rows(x).storage, g.dtype)
    if targets[2] is not None:
        dbias = load("sums:column_sums")(rows, target=targets[2])
    return dx, dweight, dbias


def _rows(x: Any) -> Any:
    return x if len(x.shape) == 2 else x.reshape(prod(x.shape[:-1]), x.shape[-1])
