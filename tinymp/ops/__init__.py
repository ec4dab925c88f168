"""The operations: rules on plain arrays, and the functions that users call."""

from __future__ import annotations

from tinymp.autograd import Tensor
from tinymp.ops.activations import (
    elu,
    gelu,
    hardtanh,
    leaky_relu,
    logsigmoid,
    mish,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softplus,
)
from tinymp.ops.arguments import explained
from tinymp.ops.arithmetic import (
    add,
    div,
    eq,
    floor_divide,
    ge,
    gt,
    le,
    lt,
    mul,
    ne,
    neg,
    pow,
    remainder,
    sub,
)
from tinymp.ops.attention import scaled_dot_product_attention
from tinymp.ops.channel_normalization import batch_norm, group_norm
from tinymp.ops.classification import cross_entropy, nll_loss
from tinymp.ops.conversion import clone, to
from tinymp.ops.convolution import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from tinymp.ops.creation import (
    arange,
    eye,
    from_numpy,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    rand,
    randn,
    tensor,
    zeros,
    zeros_like,
)
from tinymp.ops.einsum import einsum
from tinymp.ops.elementary import (
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atanh,
    cos,
    cosh,
    erf,
    exp,
    expm1,
    log,
    log1p,
    log2,
    log10,
    reciprocal,
    rsqrt,
    sin,
    sinh,
    sqrt,
    square,
    tan,
    tanh,
)
from tinymp.ops.elementwise import (
    abs,
    cast,
    ceil,
    clamp,
    clip,
    floor,
    masked_fill,
    maximum,
    minimum,
    round,
    sign,
    trunc,
    where,
)
from tinymp.ops.indexing import embedding, gather, index_select, scatter_add, take_along_dim
from tinymp.ops.linear_algebra import bmm, dot, linear, matmul, mm, mv, outer
from tinymp.ops.logic import (
    allclose,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    equal,
    isfinite,
    isinf,
    isnan,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    one_hot,
)
from tinymp.ops.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)
from tinymp.ops.methods import attach
from tinymp.ops.normalization import layer_norm, log_softmax, rms_norm, softmax
from tinymp.ops.order import amax, amin, argmax, argmin, argsort, max, median, min, sort, topk
from tinymp.ops.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    avg_pool1d,
    avg_pool2d,
    max_pool1d,
    max_pool2d,
)
from tinymp.ops.rearrange import (
    chunk,
    diag,
    diagonal,
    flip,
    moveaxis,
    movedim,
    repeat_interleave,
    roll,
    swapaxes,
    swapdims,
    tile,
    trace,
    tril,
    triu,
    unbind,
)
from tinymp.ops.reductions import (
    all,
    any,
    count_nonzero,
    logsumexp,
    mean,
    norm,
    prod,
    std,
    sum,
    var,
)
from tinymp.ops.sampling import bernoulli, multinomial, rand_like, randint, randn_like, randperm
from tinymp.ops.scans import cumprod, cumsum
from tinymp.ops.self_attention import self_attention
from tinymp.ops.shape import (
    broadcast_to,
    cat,
    concatenate,
    expand,
    flatten,
    pad,
    permute,
    reshape,
    split,
    squeeze,
    stack,
    t,
    transpose,
    unsqueeze,
    view,
)
from tinymp.ops.similarity import cosine_similarity, normalize

__all__ = [
    "abs", "acos", "acosh", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "add", "all", "allclose", "amax", "amin", "any", "arange", "argmax",
    "argmin", "argsort", "asin", "asinh", "atan", "atanh", "avg_pool1d", "avg_pool2d",
    "batch_norm", "bernoulli", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "bmm", "broadcast_to", "cast",
    "cat", "ceil", "chunk", "clamp", "clip", "clone", "concatenate", "conv1d", "conv2d",
    "conv_transpose1d", "conv_transpose2d", "cos", "cosh", "cosine_similarity", "count_nonzero",
    "cross_entropy", "cumprod", "cumsum", "diag", "diagonal", "div", "dot", "einsum", "elu",
    "embedding", "eq", "equal", "erf", "exp", "expand", "expm1", "eye", "flatten", "flip",
    "floor", "floor_divide", "from_numpy", "full", "full_like", "gather", "ge", "gelu",
    "group_norm", "gt", "hardtanh", "huber_loss", "index_select", "isfinite", "isinf", "isnan",
    "kl_div", "l1_loss", "layer_norm", "le", "leaky_relu", "linear", "linspace", "log", "log1p",
    "log2", "log10", "log_softmax", "logical_and", "logical_not", "logical_or", "logical_xor",
    "logsigmoid", "logsumexp", "lt", "masked_fill", "matmul", "max", "max_pool1d", "max_pool2d",
    "maximum", "mean", "median", "min", "minimum", "mish", "mm", "moveaxis", "movedim",
    "mse_loss", "mul", "multinomial", "mv", "ne", "neg", "nll_loss", "norm", "normalize",
    "one_hot", "ones", "ones_like", "outer", "pad", "permute", "pow", "prod", "rand",
    "rand_like", "randint", "randn", "randn_like", "randperm", "reciprocal", "relu", "relu6",
    "remainder", "repeat_interleave", "reshape", "rms_norm", "roll", "round", "rsqrt",
    "scaled_dot_product_attention", "scatter_add", "self_attention", "selu",
    "sigmoid", "sign", "silu", "sin",
    "sinh", "smooth_l1_loss", "softmax", "softplus", "sort", "split", "sqrt", "square",
    "squeeze", "stack", "std", "sub", "sum", "swapaxes", "swapdims", "t", "take_along_dim",
    "tan", "tanh", "tensor", "tile", "to", "topk", "trace", "transpose", "tril", "triu",
    "trunc", "unbind", "unsqueeze", "var", "view", "where", "zeros", "zeros_like",
]  # fmt: skip

# What is called from outside names itself in its errors.
globals().update({_name: explained(globals()[_name]) for _name in __all__})
attach(Tensor)
