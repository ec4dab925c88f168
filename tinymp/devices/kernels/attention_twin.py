"""Attention as twins of the rules of `scaled_dot_product_attention`, by the best way there is.

Fused kernels (`attention`) keep the result and the log-sum-exps of forward, L numbers a head. Where
they do not serve, as for float32, causal attention goes by three products and a softmax that scales
and masks as it reads (`softmax`); it keeps the weights, L·S numbers a head, as the rules do. The
rest, with a mask or dropout, is left to the rules.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tinymp.devices.gemm import matmul, matmul_words, rounded_product
from tinymp.devices.kernels.attention import attention_backward, attention_forward
from tinymp.devices.kernels.operands import FLOAT32
from tinymp.devices.kernels.softmax import causal_softmax
from tinymp.devices.kernels.softmax_gradient import causal_softmax_gradient
from tinymp.devices.kernels.twin import Target


class Matrices(NamedTuple):
    """Stacks of matrices as they are stored, and their format."""

    storage: Any
    dtype: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the stack."""
        return tuple(self.storage.shape)

    @property
    def mT(self) -> Matrices:
        """The matrices transposed, without a copy."""
        return Matrices(self.storage.swapaxes(-1, -2), self.dtype)


def attention(
    query: Any,
    key: Any,
    value: Any,
    mask: Any = None,
    keep: Any = None,
    *,
    causal: bool,
    scale: float,
    p: float,
    rounding: Any,
    target: Target,
) -> Any:
    """Storage of the result; the weights, or None; the log-sum-exps, or None."""
    if mask is not None or keep is not None:
        return NotImplemented
    fused = attention_forward(query, key, value, causal=causal, scale=scale, target=target)
    if fused is not NotImplemented:
        out, logsumexp = fused
        return out, None, logsumexp
    if not (causal and _are_plain(target, query, key, value)):
        return NotImplemented
    scores = _product(query, key.mT)
    weights = causal_softmax(scores, scale=scale, target=target)
    if weights is NotImplemented:
        return NotImplemented
    out = rounded_product(weights, value.storage, value.dtype)
    return NotImplemented if out is NotImplemented else (out, weights, None)


def attention_gradients(
    g: Any,
    query: Any,
    key: Any,
    value: Any,
    out: Any,
    weights: Any,
    logsumexp: Any,
    causal: bool,
    scale: float,
    *,
    targets: tuple[Target | None, ...],
) -> Any:
    """Storage of the gradients of query, key and value."""
    if logsumexp is not None:
        return attention_backward(
            g,
            query,
            key,
            value,
            out.storage,
            logsumexp,
            causal=causal,
            scale=scale,
            targets=targets,
        )
    target = next(t for t in targets if t is not None)
    if not (causal and _are_plain(target, g, query, key, value)):
        return NotImplemented
    slope = _product(g, value.mT)
    held = Matrices(weights, value.dtype)
    scores = causal_softmax_gradient(slope, held, scale=scale, target=target)
    if scores is NotImplemented:
        return NotImplemented
    turned = scores.swapaxes(-1, -2)
    return (
        rounded_product(scores, key.storage, key.dtype),
        rounded_product(turned, query.storage, query.dtype),
        rounded_product(weights.swapaxes(-1, -2), g.storage, g.dtype),
    )


def self_attention(
    query_key_value: Any,
    keep: Any = None,
    *,
    causal: bool,
    scale: float,
    p: float,
    rounding: Any,
    target: Target,
) -> Any:
    """`attention` of the three parts of (b, t, 3, heads, features), read where they lie."""
    query, key, value = _parts(query_key_value)
    how: dict[str, Any] = {"causal": causal, "scale": scale, "target": target}
    found = attention(query, key, value, None, keep, p=p, rounding=rounding, **how)
    if found is NotImplemented:
        return NotImplemented
    out, *kept = found
    return out.swapaxes(1, 2), *kept


def self_attention_gradient(
    g: Any,
    query_key_value: Any,
    out: Any,
    weights: Any,
    logsumexp: Any,
    causal: bool,
    scale: float,
    *,
    targets: tuple[Target | None],
) -> Any:
    """Storage of the gradient of all three parts, each written into its place."""
    import cupy

    query, key, value = _parts(query_key_value)
    g, out = (Matrices(x.storage.swapaxes(1, 2), x.dtype) for x in (g, out))
    packed = cupy.empty(query_key_value.storage.shape, query_key_value.storage.dtype)
    into = [part.storage for part in _parts(Matrices(packed, query_key_value.dtype))]
    how: dict[str, Any] = {"causal": causal, "scale": scale, "targets": targets * 3}
    if logsumexp is not None:
        operands = (query, key, value, out.storage, logsumexp)
        found = attention_backward(g, *operands, into=into, **how)
        return NotImplemented if found is NotImplemented else (packed,)
    found = attention_gradients(g, query, key, value, out, weights, logsumexp, **how)
    if found is NotImplemented:
        return NotImplemented
    for place, gradient in zip(into, found, strict=True):
        place[...] = gradient
    return (packed,)


def _parts(packed: Any) -> list[Matrices]:
    """Queries, keys and values (b, heads, t, features) in (b, t, 3, heads, features): views."""
    parts = packed.storage.transpose(2, 0, 3, 1, 4)
    return [Matrices(parts[i], packed.dtype) for i in range(3)]


def _are_plain(target: Target, *operands: Any) -> bool:
    """Whether all have one format and one stack of heads, and results are rounded to nearest."""
    dtype, stack = operands[0].dtype, operands[0].shape[:-2]
    exact = dtype.name == "float32"
    return (exact or (dtype.itemsize == 2 and target.mode == "nearest_even")) and all(
        x.dtype is dtype and x.shape[:-2] == stack for x in operands
    )


def _product(a: Any, b: Any) -> Matrices:
    """a·b in float32."""
    if a.dtype.name == "float32":
        return Matrices(matmul(a.storage, b.storage), a.dtype)
    return Matrices(matmul_words(a.storage, b.storage, a.dtype), FLOAT32)
