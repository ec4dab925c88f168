"""Single operations: what recording one costs, and how fast the heavier rules are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymp import ops
from tinymp.autograd import Tensor
from tinymp.bench.machine import installed
from tinymp.bench.measure import Contestant, Race


def _add() -> list[Contestant]:
    x, y = np.ones((2, 8, 8), np.float32)
    a, b = ops.tensor(x).requires_grad_(), ops.tensor(y)
    here = [Contestant("np.add", lambda: np.add(x, y)), Contestant("tinymp", lambda: a + b)]
    if installed("torch"):
        import torch

        c, d = torch.tensor(x, requires_grad=True), torch.tensor(y)
        here.append(Contestant("PyTorch", lambda: c + d))
    return here


def _there_and_back(function: Callable[..., Any], inputs: list[Any]) -> Callable[[], None]:
    """The function and its gradients with respect to every input of floats."""

    def run() -> None:
        for x in inputs:
            x.grad = None
        out = function(*inputs)
        out.backward(out.detach())

    return run


def _beside_pytorch(
    ours: Callable[..., Tensor], name: str, *shapes: tuple[int, ...]
) -> Callable[[], list[Contestant]]:
    """A function of float32 tensors, forward and backward; `name`: of PyTorch's, in functional."""

    def enter() -> list[Contestant]:
        random = np.random.default_rng(0)
        arrays = [random.standard_normal(shape).astype(np.float32) for shape in shapes]
        own = [ops.tensor(x).requires_grad_() for x in arrays]
        here = [Contestant("tinymp", _there_and_back(ours, own))]
        if installed("torch"):
            import torch

            theirs = _pytorchs(name)
            inputs = [torch.tensor(x, requires_grad=True) for x in arrays]
            here.append(Contestant("PyTorch", _there_and_back(theirs, inputs)))
        return here

    return enter


def _pytorchs(name: str) -> Callable[..., Any]:
    import torch
    import torch.nn.functional as F

    special: dict[str, Callable[..., Any]] = {
        "softmax": lambda x: torch.softmax(x, -1),
        "layer_norm": lambda x, w, b: F.layer_norm(x, x.shape[-1:], w, b),
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "attention": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        "conv2d": lambda x, w: F.conv2d(x, w, padding=1),
        "max_pool2d": lambda x: F.max_pool2d(x, 2),
        "topk": lambda x: torch.topk(x, 8)[0],
    }
    return special.get(name) or getattr(torch, name)


_WIDE = (1024, 512)
_HEADS = (8, 4, 128, 32)

RACES = [
    Race("add of two 8×8 tensors, recorded", "np.add", _add, goals={"tinymp": (6.0, 6.0)}),
    *(
        Race(f"{title}, forward and backward", "PyTorch", enter)
        for title, enter in (
            ("relu 1024×512", _beside_pytorch(ops.relu, "relu", _WIDE)),
            ("tanh 1024×512", _beside_pytorch(ops.tanh, "tanh", _WIDE)),
            ("erf 1024×512", _beside_pytorch(ops.erf, "erf", _WIDE)),
            (
                "gelu (tanh) 1024×512",
                _beside_pytorch(lambda x: ops.gelu(x, "tanh"), "gelu_tanh", _WIDE),
            ),
            ("softmax 1024×512", _beside_pytorch(lambda x: ops.softmax(x, -1), "softmax", _WIDE)),
            (
                "layer_norm 1024×512",
                _beside_pytorch(
                    lambda x, w, b: ops.layer_norm(x, (512,), w, b),
                    "layer_norm",
                    _WIDE,
                    (512,),
                    (512,),
                ),
            ),
            (
                "attention 8×4×128×32, causal",
                _beside_pytorch(
                    lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, is_causal=True),
                    "attention",
                    _HEADS,
                    _HEADS,
                    _HEADS,
                ),
            ),
            (
                "conv2d 3×3, 64×16×14×14 to 32 channels",
                _beside_pytorch(
                    lambda x, w: ops.conv2d(x, w, padding=1),
                    "conv2d",
                    (64, 16, 14, 14),
                    (32, 16, 3, 3),
                ),
            ),
            (
                "max_pool2d 2×2, 64×16×28×28",
                _beside_pytorch(lambda x: ops.max_pool2d(x, 2), "max_pool2d", (64, 16, 28, 28)),
            ),
            ("topk 8 of 1024×512", _beside_pytorch(lambda x: ops.topk(x, 8)[0], "topk", _WIDE)),
        )
    ),
]
