"""The fused kernels of attention as twins of the rules of `scaled_dot_product_attention`.

A mask or dropout is left to the rules. Of forward they keep the result and the log-sum-exps, in
place of the weights: L numbers a head, where the weights are L·S.
"""

from __future__ import annotations

from typing import Any

from tinymp.devices.kernels.attention import attention_backward, attention_forward
from tinymp.devices.kernels.twin import Target


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
    """Storage of the result, and the log-sum-exps."""
    if mask is not None or keep is not None:
        return NotImplemented
    return attention_forward(query, key, value, causal=causal, scale=scale, target=target)


def attention_gradients(
    g: Any,
    query: Any,
    key: Any,
    value: Any,
    out: Any,
    logsumexp: Any,
    causal: bool,
    scale: float,
    *,
    targets: tuple[Target | None, ...],
) -> Any:
    """Storage of the gradients of query, key and value."""
    if logsumexp is None:  # the rule made the result
        return NotImplemented
    return attention_backward(
        g, query, key, value, out.storage, logsumexp, causal=causal, scale=scale, targets=targets
    )
