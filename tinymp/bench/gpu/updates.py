"""What an optimizer does to all parameters of GPT-2 at once, against copies of as many bytes.

Ours: float32 masters from float16 gradients, which are unscaled and clipped on the way, and the
float16 weights written beside them. PyTorch's fused AdamW has float32 gradients and one kind of
weights: the same 28 bytes a parameter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.bench.gpu.kernels import copy_of
from tinymp.bench.gpu.race import TERABYTES, GpuRace
from tinymp.bench.machine import installed
from tinymp.bench.measure import Contestant
from tinymp.formats import float16

_WIDTH, _LAYERS, _VOCABULARY, _CONTEXT = 768, 12, 50304, 1024
_GOALS = {"tinymp": (0.7, 0.85)}


def sizes() -> list[int]:
    """Elements of each parameter of GPT-2 small."""
    width = _WIDTH
    linear = [3 * width * width, 3 * width, width * width, width]
    linear += [4 * width * width, 4 * width, 4 * width * width, width]
    block = [*linear, *[width] * 4]
    return [_VOCABULARY * width, _CONTEXT * width, *block * _LAYERS, width, width]


def _zeros(dtype: Any) -> list[Any]:
    import cupy

    return [cupy.zeros(size, dtype) for size in sizes()]


def _update() -> list[Contestant]:
    import cupy

    from tinymp.devices.kernels.adam import AdamStep

    weights, means, squares = (_zeros(np.float32) for _ in range(3))
    copies, gradients = _zeros(np.float16), _zeros(np.float16)
    adam = AdamStep(weights, means, squares, copies, float16)
    lr, scale = cupy.full(1, 1e-3), cupy.full(1, 65536.0)
    check = cupy.asarray([1.0, 0.0, 1.0, 1.0])  # largest, found, norm, clip

    def ours() -> None:
        adam(
            gradients, float16, lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01,
            decoupled=True, check=check, scale=scale,
        )  # fmt: skip

    here = [copy_of(28 * sum(sizes())), Contestant("tinymp", ours)]
    if installed("torch"):
        import torch

        theirs = [torch.zeros(size, device="cuda", requires_grad=True) for size in sizes()]
        for parameter in theirs:
            parameter.grad = torch.zeros_like(parameter)
        optimizer = torch.optim.AdamW(theirs, lr=1e-3, fused=True)
        here.append(Contestant("PyTorch", optimizer.step))
    return here


def _check() -> list[Contestant]:
    import cupy

    from tinymp.devices.kernels.gradient_check import GradientCheck

    gradients = _zeros(np.float16)
    check = GradientCheck(sizes(), [float16] * len(gradients))
    scale = cupy.full(1, 65536.0)
    here = [copy_of(2 * sum(sizes()))]
    return [*here, Contestant("tinymp", lambda: check(gradients, scale, 1.0))]


def races() -> list[GpuRace]:
    """The update, and the check and norm that go before it."""
    return [
        GpuRace(name, "copy", enter, speed=True, goals=_GOALS, work=float(size), unit=TERABYTES)
        for name, enter, size in (
            ("AdamW on all of GPT-2", _update, 28 * sum(sizes())),
            ("inf or NaN, and the norm, of all gradients", _check, 2 * sum(sizes())),
        )
    ]
