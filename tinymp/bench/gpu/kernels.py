"""Elementwise operations and reductions: how near do they come to the speed of a copy?

An operation of this kind computes little, so memory bounds it. Each races with a copy that moves as
many bytes as the operation must: what it reads, once, and what it writes, once. Large arrays do not
fit into the GPU's cache. Backward is the gradient rules of the operation itself, without the walk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinymp import no_grad, ops
from tinymp.autograd import Tensor
from tinymp.autograd.graph import Node
from tinymp.bench.gpu.pytorch import shared
from tinymp.bench.gpu.race import TERABYTES, GpuRace
from tinymp.bench.machine import installed
from tinymp.bench.measure import Contestant
from tinymp.devices import Generator, get_device
from tinymp.formats import bfloat16, float16, float32, rounding
from tinymp.nn import functional as nn_functional

_GOALS = {"tinymp": (0.7, 0.85)}

Function = Callable[..., Any]


class Work(NamedTuple):
    """An operation, by tinymp and by PyTorch.

    Attributes:
        name: of the operation and its sizes.
        inputs: makes its operands on a device.
        ours, pytorchs: the operation, on our tensors and on PyTorch's.
        forward, backward: bytes that must be moved; 0 for what is not timed.
        node: name of the operation in our graph.
    """

    name: str
    inputs: Callable[[str], list[Tensor]]
    ours: Function
    pytorchs: Function
    forward: int
    backward: int = 0
    node: str = ""


def works(shrink: int = 1) -> list[Work]:
    """The operations; `shrink` divides the number of rows, for tests."""
    wide, rows = (32768 // shrink, 3072), (65536 // shrink, 768)
    scores, logits = (98304 // shrink, 1024), (8192 // shrink, 50304)
    table, tokens = (max(50304 // shrink, 2), 768), 8192 // shrink
    n_wide, n_rows, n_scores, n_logits = (a * b for a, b in (wide, rows, scores, logits))
    per_token, whole_table = tokens * 768, table[0] * 768
    return [
        Work(
            "gelu (tanh)",
            lambda on: [_half(on, *wide)],
            lambda x: ops.gelu(x, approximate="tanh"),
            lambda x: _functional().gelu(x, approximate="tanh"),
            4 * n_wide,
            6 * n_wide,
            "gelu_tanh",
        ),
        Work(
            "add",
            lambda on: [_half(on, *rows), _half(on, *rows)],
            lambda x, y: x + y,
            lambda x, y: x + y,
            6 * n_rows,
        ),
        Work(
            "dropout",
            lambda on: [_half(on, *wide)],
            lambda x: nn_functional.dropout(x, 0.1),
            lambda x: _functional().dropout(x, 0.1),
            5 * n_wide,
            5 * n_wide,
            "dropout",
        ),
        Work(
            "layer_norm",
            lambda on: [_half(on, *rows), _half(on, 768), _half(on, 768)],
            lambda x, w, b: ops.layer_norm(x, (768,), w, b),
            lambda x, w, b: _functional().layer_norm(x, (768,), w, b),
            4 * n_rows,
            6 * n_rows,
            "layer_norm",
        ),
        Work(
            "softmax",
            lambda on: [_half(on, *scores)],
            lambda x: ops.softmax(x, -1),
            lambda x: x.softmax(-1),
            4 * n_scores,
            6 * n_scores,
            "softmax",
        ),
        Work(
            "cross_entropy",
            lambda on: [_half(on, *logits), _labels(on, tokens, 50304)],
            ops.cross_entropy,
            lambda x, labels: _functional().cross_entropy(x, labels),
            2 * n_logits,
            4 * n_logits,
            "cross_entropy",
        ),
        Work(
            "embedding",
            lambda on: [_labels(on, tokens, table[0]), _half(on, *table)],
            ops.embedding,
            lambda labels, weight: _functional().embedding(labels, weight),
            0,
            2 * (per_token + whole_table),
            "embedding",
        ),
        Work(
            "sum of columns",
            lambda on: [_half(on, *wide)],
            lambda x: x.sum(0),
            lambda x: x.sum(0),
            2 * n_wide,
        ),
        Work(
            "sum of rows",
            lambda on: [_half(on, *wide)],
            lambda x: x.sum(1),
            lambda x: x.sum(1),
            2 * n_wide,
        ),
        *(
            Work(
                f"float32 to {name}",
                lambda on: [_half(on, *wide).to(float32)],
                _to(dtype, mode),
                lambda x, dtype=dtype: x.to(_pytorchs_dtype(dtype)),
                6 * n_wide,
            )
            for name, dtype, mode in (
                ("float16", float16, "nearest_even"),
                ("bfloat16, nearest", bfloat16, "nearest_even"),
                ("bfloat16, truncated", bfloat16, "toward_zero"),
                ("bfloat16, stochastic", bfloat16, "stochastic"),
            )
        ),
        Work(
            "float16 to float32",
            lambda on: [_half(on, *wide)],
            lambda x: x.to(float32),
            lambda x: x.float(),
            6 * n_wide,
        ),
    ]


def races() -> list[GpuRace]:
    """Forward and backward of each operation against a copy."""
    found = []
    for work in works():
        for direction, size, enter in (
            ("forward", work.forward, _enter_forward),
            ("backward", work.backward, _enter_backward),
        ):
            if size:
                found.append(
                    GpuRace(
                        f"{work.name}, {direction}",
                        "copy",
                        lambda enter=enter, work=work: enter(work),  # type: ignore[misc]
                        speed=True,
                        goals=_GOALS,
                        work=float(size),
                        unit=TERABYTES,
                    )
                )
    return found


def backward_of(work: Work, device: str) -> tuple[Function, Function | None, list[Tensor]]:
    """The gradient rules on some gradient: ours, PyTorch's, and what ours is given.

    PyTorch's is None where it is not installed.
    """
    inputs = work.inputs(device)
    for x in inputs:
        x.requires_grad_(x.dtype.is_float)
    out = work.ours(*inputs)
    node = node_of(out, work.node)
    g = ops.ones_like(out) if out.ndim == 0 else _half(device, *out.shape)
    storage = g._array.reshape(node.shape)

    def ours() -> Any:
        return node.gradients(storage)

    if not installed("torch"):
        return ours, None, inputs
    import torch

    theirs = [shared(x, x.dtype.is_float) for x in inputs]
    result = work.pytorchs(*theirs)
    wanted = [x for x in theirs if x.requires_grad]
    slope = shared(g).to(result.dtype)

    def pytorchs() -> Any:
        return torch.autograd.grad(result, wanted, slope, retain_graph=True)

    return ours, pytorchs, inputs


def _enter_forward(work: Work) -> list[Contestant]:
    inputs = work.inputs("cuda")

    def ours() -> None:
        with no_grad():
            work.ours(*inputs)

    here = [copy_of(work.forward), Contestant("tinymp", ours)]
    if installed("torch"):
        import torch

        theirs = [shared(x) for x in inputs]

        def pytorchs() -> None:
            with torch.no_grad():
                work.pytorchs(*theirs)

        here.append(Contestant("PyTorch", pytorchs))
    return here


def _enter_backward(work: Work) -> list[Contestant]:
    ours, pytorchs, _ = backward_of(work, "cuda")
    here = [copy_of(work.backward), Contestant("tinymp", ours)]
    return [*here, Contestant("PyTorch", pytorchs)] if pytorchs else here


def copy_of(size: int) -> Contestant:
    """A copy on the GPU that reads and writes `size` bytes in all."""
    import cupy

    source = cupy.zeros(size // 2, np.uint8)
    there = cupy.empty_like(source)
    return Contestant("copy", lambda: cupy.copyto(there, source))


def node_of(out: Tensor, name: str) -> Node:
    """The operation of this name that `out` came from, through views of its result."""
    node = out.node
    while node is not None and node.name != name:
        node = next((source for source in node.sources if isinstance(source, Node)), None)
    assert node is not None, f"no {name} in this graph"
    return node


def _half(device: str, *shape: int) -> Tensor:
    """Numbers between -2 and 2, float16, the same on every device."""
    with rounding("nearest_even"):
        drawn: Tensor = (4 * ops.rand(*shape, device=device) - 2).to(float16)
    return drawn


def _labels(device: str, count: int, classes: int) -> Tensor:
    words = Generator(1).words(get_device(device), count)
    return ops.tensor((words % np.uint32(classes)).astype(np.int64))


def _to(dtype: Any, mode: str) -> Function:
    def convert(x: Tensor) -> Any:
        with rounding(mode):
            return x.to(dtype)

    return convert


def _functional() -> Any:
    import torch.nn.functional

    return torch.nn.functional


def _pytorchs_dtype(dtype: Any) -> Any:
    import torch

    return getattr(torch, dtype.name)
