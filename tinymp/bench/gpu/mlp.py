"""The training step of a small perceptron, where starting work costs more than doing it.

All contestants learn one batch of digits again and again by AdamW, from the same weights. Ours take
the whole step of `tinymp train`; PyTorch's neither clip gradients nor change the learning rate.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from tinymp.bench.gpu.pytorch import shared
from tinymp.bench.gpu.race import GpuRace
from tinymp.bench.machine import installed
from tinymp.bench.measure import Contestant
from tinymp.bench.steps import Steps
from tinymp.train import Configuration, Training, make_task, recipe

#: Whether a step is captured as a graph.
_OURS = {"tinymp": False, "tinymp, captured": True}
_GOALS = (1.0, 0.5)


def configuration(**settings: Any) -> Configuration:
    """A perceptron 64-128-10 and batches of 64 on the GPU, other `settings` apart."""
    return recipe({"hidden": (128,), "batch_size": 64, "device": "cuda", **settings})


def our_steps(c: Configuration) -> tuple[Steps, Callable[[], None]]:
    """Steps of `tinymp train`, and a function that starts one on the first batch."""
    training = Training(make_task(c), c)
    steps = Steps(training)
    inputs, targets = next(training.loader.epoch(0))
    return steps, lambda: steps(inputs, targets)


def pytorch_step(c: Configuration, amp: bool) -> Callable[[], Any]:
    """PyTorch's step on the same batch; it gives the loss, a tensor that nobody waits for."""
    import torch
    import torch.nn.functional as F

    training = Training(make_task(c), c)
    x, labels = (shared(part) for part in next(training.loader.epoch(0)))
    flat = [
        torch.tensor(value.numpy(), device=x.device, requires_grad=True)
        for value in training.model.parameters()
    ]
    layers = list(zip(flat[::2], flat[1::2], strict=True))
    optimizer = torch.optim.AdamW(flat, lr=c.lr, fused=True)
    scaler = torch.amp.GradScaler(x.device.type, enabled=amp)

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(x.device.type, torch.float16) if amp else nullcontext():
            hidden = x
            for weight, bias in layers[:-1]:
                hidden = F.relu(F.linear(hidden, weight, bias))
            loss = F.cross_entropy(F.linear(hidden, *layers[-1]), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    return step


def contestants(c: Configuration) -> list[Contestant]:
    """Everyone who is there, in the formats of the policy of `c`, "fp32" or "fp16"."""
    here = [
        Contestant(name, our_steps(replace(c, capture=captured))[1])
        for name, captured in _OURS.items()
    ]
    if installed("torch"):
        theirs = pytorch_step(replace(c, policy="fp32"), amp=c.policy == "fp16")
        here.append(Contestant("PyTorch", theirs))
    return here


def races() -> list[GpuRace]:
    """FP32, then FP16 against PyTorch's automatic mixed precision; gaps between kernels count."""
    return [
        GpuRace(
            f"training step, MLP 64-128-10, batch 64, AdamW, {title}",
            "PyTorch",
            lambda policy=policy: contestants(configuration(policy=policy)),  # type: ignore[misc]
            goals=dict.fromkeys(_OURS, _GOALS),
            gapless=False,
        )
        for title, policy in (("FP32", "fp32"), ("FP16 (PyTorch: AMP)", "fp16"))
    ]
