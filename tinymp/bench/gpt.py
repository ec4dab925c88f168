"""The training step of a small GPT, by tinymp and by PyTorch, from the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp import models, ops
from tinymp.autograd import Tensor
from tinymp.bench.float32_step import HOW, float32_step
from tinymp.bench.machine import installed
from tinymp.bench.measure import Contestant, Race
from tinymp.bench.mlp import Step
from tinymp.devices import manual_seed
from tinymp.optim import AdamW

VOCABULARY, CONTEXT, WIDTH, LAYERS, HEADS, BATCH = 256, 128, 128, 4, 4, 8


def batch(rows: int = BATCH, context: int = CONTEXT) -> tuple[Any, Any]:
    """Tokens and the ones that follow them, int64 (rows, context)."""
    random = np.random.default_rng(0).integers(0, VOCABULARY, (rows, context + 1))
    return random[:, :-1].copy(), random[:, 1:].copy()


def our_model(width: int = WIDTH, layers: int = LAYERS, context: int = CONTEXT) -> models.GPT:
    """This package's GPT, the same every time."""
    manual_seed(0)
    return models.GPT(VOCABULARY, context, width, layers, HEADS)


def tinymp(model: models.GPT, tokens: Any, following: Any, captured: bool = False) -> Step:
    """This package, float32, AdamW."""
    optimizer = AdamW(model.parameters(), lr=1e-3)
    x, labels = ops.tensor(tokens), ops.tensor(following.reshape(-1))

    def objective(x: Tensor, labels: Tensor) -> Tensor:
        return ops.cross_entropy(model(x).reshape(-1, VOCABULARY), labels)

    return float32_step(objective, optimizer, x, labels, captured)


def pytorch(model: models.GPT, tokens: Any, following: Any) -> Step:
    """PyTorch, eager, with its own fused attention, from copies of the weights of `model`."""
    import torch
    import torch.nn.functional as F

    w = {
        name: torch.tensor(value.numpy(), requires_grad=True)
        for name, value in model.named_parameters()
    }
    heads = model.blocks[0].attention.heads
    optimizer = torch.optim.AdamW(w.values(), lr=1e-3)
    x, labels = torch.tensor(tokens), torch.tensor(following.reshape(-1))

    def norm(x: Any, name: str) -> Any:
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])

    def linear(x: Any, name: str) -> Any:
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def attention(x: Any, name: str) -> Any:
        b, t, width = x.shape
        together = linear(x, f"{name}.query_key_value")
        query, key, value = together.view(b, t, 3, heads, -1).permute(2, 0, 3, 1, 4)
        gathered = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return linear(gathered.transpose(1, 2).reshape(b, t, width), f"{name}.projection")

    def logits() -> Any:
        stream = F.embedding(x, w["token_table.weight"])
        stream = stream + w["position_table.weight"][: x.shape[1]]
        for i in range(len(model.blocks)):
            block = f"blocks.{i}"
            stream = stream + attention(norm(stream, f"{block}.norm_1"), f"{block}.attention")
            hidden = linear(norm(stream, f"{block}.norm_2"), f"{block}.expand")
            hidden = F.gelu(hidden, approximate="tanh")
            stream = stream + linear(hidden, f"{block}.contract")
        return F.linear(norm(stream, "norm"), w["token_table.weight"])

    def step() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(logits().view(-1, VOCABULARY), labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def _enter() -> list[Contestant]:
    tokens, following = batch()
    here = [
        Contestant(f"tinymp FP32{how}", tinymp(our_model(), tokens, following, captured))
        for how, captured in HOW.items()
    ]
    if installed("torch"):
        here.append(Contestant("PyTorch", pytorch(our_model(), tokens, following)))
    return here


RACES = [
    Race(
        f"training step, GPT {LAYERS}×{WIDTH}, {HEADS} heads, {BATCH} rows of {CONTEXT}, AdamW",
        "PyTorch",
        _enter,
        goals={f"tinymp FP32{how}": (1.3, 1.0) for how in HOW},
    )
]
