"""PyTorch as an oracle, for those who have it installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinymp.testing.operation import Array, Oracle


def pytorch_oracle(function: Callable[..., Any]) -> Oracle:
    """What `function`, of PyTorch tensors, computes on the CPU in float64, for `check_operation`.

    Every floating-point input gets a gradient, zeros where the result does not depend on it.
    """
    import torch

    def compute(values: list[Array], gradient: Array | None) -> tuple[Array, list[Array | None]]:
        tensors = [torch.tensor(v, requires_grad=v.dtype.kind == "f") for v in values]
        result = function(*tensors)
        gradients: list[Array | None] = [None] * len(tensors)
        if gradient is not None:
            floats = [i for i, x in enumerate(tensors) if x.requires_grad]
            found = torch.autograd.grad(
                result,
                [tensors[i] for i in floats],
                torch.tensor(gradient),
                materialize_grads=True,
            )
            for i, g in zip(floats, found, strict=True):
                gradients[i] = g.numpy()
        return result.detach().numpy(), gradients

    return compute
