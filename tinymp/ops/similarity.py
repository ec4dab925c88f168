"""Vectors made of length 1, and the angle between two of them."""

from __future__ import annotations

from tinymp.autograd import Tensor
from tinymp.ops.arithmetic import div, mul
from tinymp.ops.dims import Dims, check_tensors
from tinymp.ops.elementwise import clamp
from tinymp.ops.reductions import norm, sum


def normalize(x: Tensor, p: float = 2.0, dim: Dims = 1, eps: float = 1e-12) -> Tensor:
    """x / max(‖x‖_p, eps) along `dim`.

    In float16 the default eps is 0: give a larger one where a vector may be 0.
    """
    check_tensors("normalize", x)
    return div(x, clamp(norm(x, p, dim, keepdim=True), min=eps))


def cosine_similarity(x: Tensor, y: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x·y / (max(‖x‖, eps)·max(‖y‖, eps)) along `dim`, from -1 for opposites to 1."""
    check_tensors("cosine_similarity", x, y)
    return sum(mul(normalize(x, 2.0, dim, eps), normalize(y, 2.0, dim, eps)), dim)
