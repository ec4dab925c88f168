"""tinymp: a small autograd engine, written to be read, for learning mixed precision training."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tinymp import formats, ops
from tinymp.autograd import Tensor, enable_grad, grad, is_grad_enabled, no_grad, value_and_grad
from tinymp.devices import manual_seed
from tinymp.formats import (
    DType,
    bfloat16,
    finfo,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    int64,
    rounding,
    set_rounding,
)
from tinymp.formats import bool_ as bool
from tinymp.ops import (
    abs,
    acos,
    acosh,
    add,
    all,
    amax,
    amin,
    any,
    arange,
    argmax,
    argmin,
    argsort,
    asin,
    asinh,
    atan,
    atanh,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    broadcast_to,
    cast,
    cat,
    ceil,
    clamp,
    clip,
    clone,
    concatenate,
    cos,
    cosh,
    count_nonzero,
    cross_entropy,
    cumprod,
    cumsum,
    div,
    elu,
    eq,
    erf,
    exp,
    expand,
    expm1,
    flatten,
    floor,
    from_numpy,
    full,
    ge,
    gelu,
    gt,
    hardtanh,
    isfinite,
    isinf,
    isnan,
    layer_norm,
    le,
    leaky_relu,
    linear,
    log,
    log1p,
    log2,
    log10,
    log_softmax,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    logsumexp,
    lt,
    masked_fill,
    matmul,
    max,
    maximum,
    mean,
    median,
    min,
    minimum,
    mse_loss,
    mul,
    ne,
    neg,
    norm,
    ones,
    ones_like,
    pad,
    permute,
    pow,
    prod,
    rand,
    randn,
    reciprocal,
    relu,
    reshape,
    round,
    rsqrt,
    sigmoid,
    sign,
    silu,
    sin,
    sinh,
    softmax,
    softplus,
    sort,
    split,
    sqrt,
    square,
    squeeze,
    stack,
    std,
    sub,
    sum,
    t,
    take_along_dim,
    tan,
    tanh,
    tensor,
    to,
    topk,
    transpose,
    trunc,
    unsqueeze,
    var,
    view,
    where,
    zeros,
    zeros_like,
)

if TYPE_CHECKING:
    from tinymp import amp, data, inspect, models, nn, optim, testing, train
    from tinymp.testing import gradcheck

__version__ = "0.1.0"

__all__ = [
    "DType", "Tensor", "abs", "acos", "acosh", "add", "all", "amax", "amin", "amp", "any", "arange",
    "argmax", "argmin", "argsort", "asin", "asinh", "atan", "atanh", "bfloat16", "bitwise_and",
    "bitwise_not", "bitwise_or", "bitwise_xor", "bool", "broadcast_to", "cast", "cat", "ceil",
    "clamp", "clip", "clone", "concatenate", "cos", "cosh", "count_nonzero", "cross_entropy",
    "cumprod", "cumsum", "data", "div", "elu", "enable_grad", "eq", "erf", "exp", "expand", "expm1",
    "finfo", "flatten", "float8_e4m3fn", "float8_e5m2", "float16", "float32", "float64", "floor",
    "formats", "from_numpy", "full", "ge", "gelu", "grad", "gradcheck", "gt", "hardtanh", "inspect",
    "int64", "is_grad_enabled", "isfinite", "isinf", "isnan", "layer_norm", "le", "leaky_relu",
    "linear", "log", "log1p", "log2", "log10", "log_softmax", "logical_and", "logical_not",
    "logical_or", "logical_xor", "logsumexp", "lt", "manual_seed", "masked_fill", "matmul", "max",
    "maximum", "mean", "median", "min", "minimum", "models", "mse_loss", "mul", "ne", "neg", "nn",
    "no_grad", "norm", "ones", "ones_like", "ops", "optim", "pad", "permute", "pow", "prod", "rand",
    "randn", "reciprocal", "relu", "reshape", "round", "rounding", "rsqrt", "set_rounding",
    "sigmoid", "sign", "silu", "sin", "sinh", "softmax", "softplus", "sort", "split", "sqrt",
    "square", "squeeze", "stack", "std", "sub", "sum", "t", "take_along_dim", "tan", "tanh",
    "tensor", "testing", "to", "topk", "train", "transpose", "trunc", "unsqueeze", "value_and_grad",
    "var", "view", "where", "zeros", "zeros_like",
]  # fmt: skip

_ON_DEMAND = ("amp", "data", "inspect", "models", "nn", "optim", "testing", "train")


def __getattr__(name: str) -> Any:
    """The rooms above the operations, imported when they are first named."""
    if name in _ON_DEMAND:
        return import_module(f"tinymp.{name}")
    if name == "gradcheck":
        return import_module("tinymp.testing").gradcheck
    raise AttributeError(f"module 'tinymp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
