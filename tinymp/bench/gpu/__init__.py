"""How fast is it on a GPU, and beside PyTorch? Kernels, products, training steps, and memory."""

from __future__ import annotations
