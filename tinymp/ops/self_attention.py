"""Attention of a sequence to itself, from one packed projection: a transformer's own case."""

from __future__ import annotations

from functools import partial
from math import sqrt
from typing import Any

from tinymp.autograd import Op, Tensor, apply
from tinymp.devices import uniform
from tinymp.formats import RoundingState, active_rounding, bool_
from tinymp.numerics.kit import Packed
from tinymp.ops.attention import (
    attention_gradients,
    attention_rule,
    check_dropout,
    check_wide_floats,
)

Array = Any


def _parts(packed: Packed) -> list[Packed]:
    """Queries, keys and values, (b, heads, t, features) each, in (b, t, 3, heads, features)."""
    return [packed.seen(partial(_part, i)) for i in range(3)]


def _part(i: int, array: Array) -> Array:
    return array[:, :, i].swapaxes(1, 2)


def _self_attention(
    xp: Any,
    query_key_value: Packed,
    keep: Packed | None = None,
    *,
    causal: bool,
    scale: float,
    p: float,
    rounding: RoundingState,
) -> Any:
    query, key, value = _parts(query_key_value)
    out, weights = attention_rule(
        xp, query, key, value, None, keep, causal=causal, scale=scale, p=p, rounding=rounding
    )
    return out.swapaxes(1, 2), weights


def _gradient(
    xp: Any,
    g: Packed,
    query_key_value: Packed,
    weights: Array,
    keep: Packed | None,
    scale: float,
    p: float,
    rounding: RoundingState,
) -> Array:
    """The three gradients of attention, written side by side."""
    g = g.seen(lambda array: array.swapaxes(1, 2))
    query, key, value = _parts(query_key_value)
    found = attention_gradients(xp, g, query, key, value, weights, keep, scale, p, rounding)
    gradient = xp.empty(query_key_value.shape, found[0].dtype)
    for i, part in enumerate(found):
        gradient[:, :, i] = part.swapaxes(1, 2)
    return gradient


SELF_ATTENTION = Op(
    "self_attention",
    _self_attention,
    query_key_value=_gradient,
    forward_on="packed",
    residuals=("weights",),
    autocast="lower",
    accumulates="both",
)


def self_attention(
    query_key_value: Tensor,
    is_causal: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    """`scaled_dot_product_attention` of what one projection gives: (b, t, 3, heads, features).

    Along the third axis stand queries, keys and values. Gives (b, t, heads, features). The same
    numbers as taking the three apart, turning heads to the front, and the result back; but nothing
    is copied for it, and backward writes one gradient, where three would be padded with zeros and
    added. `is_causal`: position i looks at positions 0 to i. `dropout_p`, `scale`, formats and
    memory are as there.

    Raises:
        TypeError: integers, 8-bit floats.
        ValueError: another shape, a p that is no probability.
    """
    name = "self_attention"
    check_wide_floats(name, query_key_value)
    check_dropout(name, dropout_p)
    shape = query_key_value.shape
    if len(shape) != 5 or shape[2] != 3:
        raise ValueError(
            f"{name} was given a tensor of shape {shape}; it must be (b, t, 3, heads, features), "
            "with queries, keys and values along the third axis"
        )
    keep = None
    if dropout_p:
        b, t, _, heads, _ = shape
        keep = Tensor(uniform(query_key_value._device, (b, heads, t, t)) >= dropout_p, bool_)
    return apply(
        SELF_ATTENTION,
        query_key_value,
        keep,
        causal=is_causal,
        scale=1 / sqrt(shape[-1] or 1) if scale is None else scale,
        p=dropout_p,
        rounding=active_rounding(),
    )
