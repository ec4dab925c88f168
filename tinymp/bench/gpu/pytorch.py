"""Tensors handed to PyTorch without a copy, so that both libraries work on the same numbers."""

from __future__ import annotations

from typing import Any

from tinymp.autograd import Tensor


def shared(x: Tensor, requires_grad: bool = False) -> Any:
    """A PyTorch tensor on the memory of `x`, of its dtype."""
    import torch

    there = torch.from_dlpack(x.data._array)
    if x.dtype.name == "bfloat16":
        there = there.view(torch.bfloat16)  # its words are held as uint16
    return there.requires_grad_(requires_grad)
