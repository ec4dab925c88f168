"""The operations: rules on plain arrays, and the functions that users call."""

from __future__ import annotations

from tinymp.autograd import Tensor
from tinymp.ops.arithmetic import add, div, eq, ge, gt, le, lt, mul, ne, neg, pow, sub
from tinymp.ops.conversion import clone, to
from tinymp.ops.creation import (
    arange,
    from_numpy,
    full,
    ones,
    ones_like,
    rand,
    randn,
    tensor,
    zeros,
    zeros_like,
)
from tinymp.ops.elementwise import (
    abs,
    cast,
    clamp,
    clip,
    exp,
    gelu,
    log,
    maximum,
    minimum,
    relu,
    sigmoid,
    sqrt,
    tanh,
    where,
)
from tinymp.ops.indexing import take_along_dim
from tinymp.ops.linear_algebra import linear, matmul
from tinymp.ops.losses import cross_entropy, mse_loss
from tinymp.ops.methods import attach
from tinymp.ops.normalization import layer_norm, log_softmax, softmax
from tinymp.ops.reductions import amax, amin, argmax, argmin, logsumexp, max, mean, min, sum, var
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

attach(Tensor)
