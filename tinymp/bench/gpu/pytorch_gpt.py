"""GPT-2 by PyTorch, eager or compiled: the same model and optimizer, from the same weights.

The step is the one that PyTorch's documentation shows for automatic mixed precision, with its fused
AdamW. It neither clips gradients nor changes the learning rate, as `train_step` does besides.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

from tinymp.models import GPT


@dataclass(frozen=True)
class Manner:
    """How PyTorch takes the step.

    Attributes:
        precision: "FP32"; "TF32", products in TF32; or "FP16 AMP", autocast and loss scaling.
        fused: whether attention is PyTorch's own fused one, or products and a softmax.
        compiled: whether the model and the loss pass through `torch.compile`.
    """

    precision: str
    fused: bool
    compiled: bool = False

    @property
    def name(self) -> str:
        """For tables."""
        attention = "fused attention" if self.fused else "attention by products"
        return f"PyTorch {self.precision}, {attention}{', compiled' if self.compiled else ''}"


def pytorch_step(
    model: GPT, tokens: Any, following: Any, manner: Manner, lr: float, clip: float | None = None
) -> Callable[[], Any]:
    """A function that takes a training step and gives the loss, a tensor that nobody waits for.

    `tokens`, `following`: PyTorch's int64 tensors (b, t), where the step is to happen. `clip`: the
    largest norm of the gradient; None does not clip.
    """
    import torch

    on = tokens.device
    weights = {
        name: torch.tensor(value.numpy(), device=on, requires_grad=True)
        for name, value in model.named_parameters()
    }
    optimizer = torch.optim.AdamW(weights.values(), lr=lr, fused=True)
    amp = manner.precision == "FP16 AMP"
    scaler = torch.amp.GradScaler(on.type, enabled=amp)
    heads, layers = model.blocks[0].attention.heads, len(model.blocks)

    def loss_of(tokens: Any, following: Any) -> Any:
        attend = fused if manner.fused else by_products
        scores = _logits(weights, tokens, heads, layers, attend)
        return torch.nn.functional.cross_entropy(scores.flatten(0, 1), following.flatten())

    if manner.compiled:
        loss_of = torch.compile(loss_of)

    def step() -> Any:
        torch.set_float32_matmul_precision("high" if manner.precision == "TF32" else "highest")
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(on.type, torch.float16) if amp else nullcontext():
            loss = loss_of(tokens, following)
        scaler.scale(loss).backward()
        if clip is not None:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(weights.values(), clip)
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    return step


def _logits(
    weights: dict[str, Any], tokens: Any, heads: int, layers: int, attend: Callable[..., Any]
) -> Any:
    import torch.nn.functional as F

    def norm(x: Any, name: str) -> Any:
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])

    def linear(x: Any, name: str) -> Any:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def attention(x: Any, name: str) -> Any:
        b, t, width = x.shape
        together = linear(x, f"{name}.query_key_value")
        query, key, value = together.view(b, t, 3, heads, -1).permute(2, 0, 3, 1, 4)
        gathered = attend(query, key, value)
        return linear(gathered.transpose(1, 2).reshape(b, t, width), f"{name}.projection")

    x = F.embedding(tokens, weights["token_table.weight"])
    x = x + weights["position_table.weight"][: tokens.shape[1]]
    for block in (f"blocks.{i}" for i in range(layers)):
        x = x + attention(norm(x, f"{block}.norm_1"), f"{block}.attention")
        hidden = linear(norm(x, f"{block}.norm_2"), f"{block}.expand")
        x = x + linear(F.gelu(hidden, approximate="tanh"), f"{block}.contract")
    return F.linear(norm(x, "norm"), weights["token_table.weight"])


def fused(query: Any, key: Any, value: Any) -> Any:
    """Causal attention, by PyTorch's own kernel that keeps no weights: (..., t, features)."""
    import torch.nn.functional as F

    return F.scaled_dot_product_attention(query, key, value, is_causal=True)


def by_products(query: Any, key: Any, value: Any) -> Any:
    """Causal attention as its formula says it: (..., t, features), all weights in memory."""
    t, features = query.shape[-2:]
    scores = (query * features**-0.5) @ key.transpose(-2, -1)
    return scores.masked_fill(_future(t, scores.device), float("-inf")).softmax(-1) @ value


@cache
def _future(t: int, device: Any) -> Any:
    """Which keys (columns) come after a query (row)."""
    import torch

    return torch.ones(t, t, dtype=torch.bool, device=device).triu(1)
