"""Stored as wide as it is named: tensors, saved activations and the peak, measured."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import numpy as np
import pytest

import tinymp as mp

LAYERS, WIDTH, BATCH = 40, 512, 1024


@pytest.mark.parametrize(
    ("dtype", "size"),
    [(mp.float64, 8), (mp.float32, 4), (mp.float16, 2), (mp.bfloat16, 2), (mp.float8_e4m3fn, 1),
     (mp.float8_e5m2, 1), (mp.int64, 8), (mp.bool, 1)],
    ids=str,
)  # fmt: skip
def test_bytes_of_a_tensor(dtype: Any, size: int, device: str) -> None:
    x = mp.zeros(7, 11, dtype=dtype, device=device)
    assert x.nbytes == x.storage.nbytes == 77 * size


@pytest.mark.parametrize("dtype", [mp.float16, mp.bfloat16], ids=str)
def test_bytes_of_results_and_gradients(dtype: Any, device: str) -> None:
    x = mp.ones(8, 8, dtype=dtype, device=device, requires_grad=True)
    y = mp.softmax((x @ x.T).tanh() * x + 1, 1)
    y.sum().backward()
    assert y.nbytes == x.grad.nbytes == 128


def saved_bytes(loss: Any) -> int:
    """Bytes of every array that the graph of `loss` keeps for backward, each counted once."""
    arrays: dict[int, Any] = {}
    seen, waiting = set(), [loss.node]
    while waiting:
        node = waiting.pop()
        if node is None or isinstance(node, mp.Tensor) or id(node) in seen:
            continue
        seen.add(id(node))
        waiting.extend(node.sources)
        for kept in node.saved.values():
            if isinstance(kept, np.ndarray):
                owner = kept if kept.base is None else kept.base
                arrays[id(owner)] = owner
    return sum(array.nbytes for array in arrays.values())


def network(dtype: Any, width: int = WIDTH, batch: int = BATCH) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    weight = mp.tensor(rng.standard_normal((width, width)) / width**0.5, dtype, requires_grad=True)
    return mp.tensor(rng.standard_normal((batch, width)), dtype), weight


def forward(x: Any, weight: Any) -> Any:
    for _ in range(LAYERS):
        x = mp.linear(x, weight).tanh()
    return x.sum()


@pytest.mark.parametrize("dtype", [mp.float16, mp.bfloat16], ids=str)
def test_saved_activations_take_half_of_float32s(dtype: Any) -> None:
    full = saved_bytes(forward(*network(mp.float32, 64, 128)))
    assert 2 * saved_bytes(forward(*network(dtype, 64, 128))) == full


def peak(dtype: Any) -> int:
    """Largest number of bytes held at once by a forward and backward pass, inputs apart."""
    x, weight = network(dtype)
    gc.collect()
    tracemalloc.start()
    try:
        forward(x, weight).backward()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_peak_of_forty_tanh_layers() -> None:
    full = peak(mp.float32)
    assert peak(mp.float16) <= 0.6 * full
    assert peak(mp.bfloat16) <= 0.6 * full
