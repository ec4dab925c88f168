"""Scaled dot-product attention as one operation, with the backward pass written out."""

from __future__ import annotations

from math import inf, sqrt
from typing import Any

import numpy as np

from tinymp.autograd import Op, Tensor, apply
from tinymp.devices import uniform
from tinymp.formats import DType, RoundingState, active_rounding, bool_, promote, rounded
from tinymp.numerics.blockwise import rowwise
from tinymp.numerics.kit import Packed
from tinymp.ops.dims import check_tensors
from tinymp.ops.elementwise import cast

Array = Any


def _dropped(xp: Any, weights: Array, keep: Packed | None, p: float) -> Array:
    return weights if keep is None else xp.where(keep.values(), weights / (1 - p), 0)


def _packed(values: Array, dtype: DType, rounding: RoundingState) -> Packed:
    """An operand of an inner product, as tensor cores take it: rounded to the inputs' dtype."""
    return Packed(rounded(values, dtype, rounding), dtype)


@rowwise("query", "key", "value", "mask", "keep", work=64)
def attention_rule(
    xp: Any,
    query: Packed,
    key: Packed,
    value: Packed,
    mask: Packed | None = None,
    keep: Packed | None = None,
    *,
    causal: bool,
    scale: float,
    p: float,
    rounding: RoundingState,
) -> Any:
    """softmax(query·keyᵀ·scale)·value, and the weights as they are kept."""
    scores = xp.matmul(query, key.mT)
    scores *= scale
    if mask is not None:
        bias = mask.values()
        scores = xp.where(bias, scores, -inf) if mask.dtype is bool_ else scores + bias
    if causal:
        xp.copyto(scores, -inf, where=~xp.tri(*scores.shape[-2:], dtype=bool))
    if scores.size:
        highest = xp.max(scores, axis=-1, keepdims=True)
        scores -= xp.where(highest == -inf, 0, highest)
    weights = xp.exp(scores, out=scores)
    total = xp.sum(weights, -1, True)
    weights /= xp.where(total == 0, 1, total)  # a query that may look nowhere gets zeros

    dtype = promote(query.dtype, key.dtype, value.dtype)
    out = xp.matmul(_packed(_dropped(xp, weights, keep, p), dtype, rounding), value)
    return out, rounded(weights, dtype, rounding)


@rowwise("g", "query", "key", "value", "weights", "keep", work=64)
def attention_gradients(
    xp: Any,
    g: Packed,
    query: Packed,
    key: Packed,
    value: Packed,
    weights: Array,
    keep: Packed | None,
    scale: float,
    p: float,
    rounding: RoundingState,
) -> tuple[Array, Array, Array]:
    """Back through the products, dropout, softmax and scale."""
    weights = Packed(weights, g.dtype).values()
    attended = _packed(_dropped(xp, weights, keep, p), g.dtype, rounding)
    slope = _dropped(xp, xp.matmul(g, value.mT), keep, p)
    slope -= xp.sum(weights * slope, -1, True)
    slope *= weights
    slope *= scale
    scores = _packed(slope, g.dtype, rounding)  # with respect to query·keyᵀ
    return xp.matmul(scores, key), xp.matmul(scores.mT, query), xp.matmul(attended.mT, g)


ATTENTION = Op(
    "scaled_dot_product_attention",
    attention_rule,
    together={("query", "key", "value"): attention_gradients},
    forward_on="packed",
    residuals=("weights",),
    autocast="lower",
    accumulates="both",
)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """softmax(query·keyᵀ·scale)·value: each query's mean of values, weighted by keys alike.

    query: (..., L, E), key: (..., S, E), value: (..., S, V) give (..., L, V); what stands in front
    broadcasts. `attn_mask` broadcasts to (..., L, S): where a bool one is false nothing is looked
    at, a float one is added to the scores; it takes no gradient. `is_causal`: query i looks at keys
    0 to i. `dropout_p`: share of the weights set to zero, the others divided by 1 - p. `scale`:
    1/√E by default. A query that may look nowhere gets zeros, as in PyTorch.

    Scores and softmax are float32 (float64 for float64). Of float16 and bfloat16 inputs the
    operands of every inner product have 2 bytes: the weights before they meet the values, and in
    backward the gradient of the scores before it meets queries and keys. The weights are kept for
    backward in that form, 2·L·S bytes a head, and the products of forward are not computed again.

    Raises:
        TypeError: integers, 8-bit floats.
        ValueError: shapes that do not fit, a mask together with `is_causal`, a p that is no
            probability.

    Source: Vaswani et al., Attention Is All You Need (arXiv 1706.03762), section 3.2.1; backward as
    in Dao et al., FlashAttention (arXiv 2205.14135), appendix B.2.
    """
    name = "scaled_dot_product_attention"
    check_wide_floats(name, query, key, value)
    shapes = (query.shape, key.shape, value.shape)
    if (
        min(map(len, shapes)) < 2
        or query.shape[-1] != key.shape[-1]
        or key.shape[-2] != value.shape[-2]
    ):
        raise ValueError(
            f"{name} was given shapes {shapes}; they must be (..., L, E), (..., S, E) and "
            "(..., S, V)"
        )
    if attn_mask is not None and is_causal:
        raise ValueError(f"{name} was given a mask and is_causal=True; put both into the mask")
    check_dropout(name, dropout_p)
    if attn_mask is not None and attn_mask.dtype is not bool_:
        attn_mask = cast(attn_mask.detach(), query.dtype)
    keep = None
    if dropout_p:
        batch = np.broadcast_shapes(*(shape[:-2] for shape in shapes))
        wanted = (*batch, query.shape[-2], key.shape[-2])
        keep = Tensor(uniform(query._device, wanted) >= dropout_p, bool_)
    return apply(
        ATTENTION,
        query,
        key,
        value,
        attn_mask,
        keep,
        causal=is_causal,
        scale=1 / sqrt(query.shape[-1] or 1) if scale is None else scale,
        p=dropout_p,
        rounding=active_rounding(),
    )


def check_wide_floats(name: str, *operands: Tensor) -> None:
    """Refuse what attention does not take: integers and 8-bit floats."""
    check_tensors(name, *operands)
    for x in operands:
        if not x.dtype.is_float or x.dtype.bits <= 8:
            raise TypeError(
                f"{name} was given {x.dtype.name}; it takes floats of more than 8 bits; convert "
                "it first, for example with .to(tinymp.float16)"
            )


def check_dropout(name: str, p: float) -> None:
    """Refuse a dropout that is no probability."""
    if not 0 <= p < 1:
        raise ValueError(f"{name} was given dropout_p={p}; it is a probability, from 0 to below 1")
