"""What a twin is given, what it gives back, and where each is found.

A twin has the name of an operation and serves in place of its NumPy rule, on storage: it decodes
what it reads, computes in float32, and rounds what it writes, once. It takes the rule's arguments,
tensors as `Packed`, and a `Target` for each result; and gives storage, followed by the rule's
residuals. What it does not serve (another dtype, an odd layout) it declines with NotImplemented,
and the rule runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

Twin = Callable[..., Any]


class Target(NamedTuple):
    """How a result is stored: the format, and the mode in which it is rounded to it."""

    dtype: Any
    mode: str


#: Where the twins of forward rules are, by the name of the operation. Called as
#: `twin(*inputs, target=target, **attributes)`; gives storage, and residuals if the op has any.
FORWARD: dict[str, str] = {
    "matmul": "products:matmul",
    "linear": "products:linear",
    "scaled_dot_product_attention": "attention_twin:attention",
    "self_attention": "attention_twin:self_attention",
    "layer_norm": "layer_norm:layer_norm",
    "rms_norm": "layer_norm:rms_norm",
    "softmax": "softmax:softmax",
    "log_softmax": "softmax:log_softmax",
    "cross_entropy": "cross_entropy:cross_entropy",
    "embedding": "embedding:embedding",
    "dropout": "dropout:dropout",
    "gelu_tanh": "activations:gelu_tanh",
    "sum": "sums:sum",
    "mean": "sums:mean",
}

#: What a twin leaves for backward in place of its rule's residuals.
RESIDUALS: dict[str, tuple[str, ...]] = {
    "scaled_dot_product_attention": ("weights", "logsumexp"),
    "self_attention": ("weights", "logsumexp"),
    "cross_entropy": ("logsumexp", "counted"),
}

#: Where the twins of gradient rules are: for an operation, the inputs that one call serves. Called
#: as `twin(g, targets=(...), **needs)`, with a Target for each of those inputs, None where no
#: gradient is wanted; gives a tuple of storage, of the shapes of the inputs. `needs` are the
#: parameters that the twin names, out of those that the rules of these inputs name.
GRADIENTS: dict[str, tuple[tuple[str, ...], str]] = {
    "matmul": (("x", "y"), "products:matmul_gradients"),
    "linear": (("x", "weight", "bias"), "products:linear_gradients"),
    "scaled_dot_product_attention": (
        ("query", "key", "value"),
        "attention_twin:attention_gradients",
    ),
    "self_attention": (("query_key_value",), "attention_twin:self_attention_gradient"),
    "layer_norm": (("x", "weight", "bias"), "layer_norm_gradient:layer_norm_gradient"),
    "rms_norm": (("x", "weight"), "layer_norm_gradient:rms_norm_gradient"),
    "softmax": (("x",), "softmax_gradient:softmax_gradient"),
    "log_softmax": (("x",), "softmax_gradient:log_softmax_gradient"),
    "cross_entropy": (("x",), "cross_entropy_gradient:cross_entropy_gradient"),
    "embedding": (("weight",), "embedding_gradient:embedding_gradient"),
}


@cache
def load(where: str) -> Twin:
    """The function at `"module:name"`, a module of this folder."""
    module, _, name = where.partition(":")
    twin: Twin = getattr(import_module(f"tinymp.devices.kernels.{module}"), name)
    return twin
