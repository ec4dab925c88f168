"""The ledger adds up: to the bytes that tracemalloc sees, and to those one can count by hand."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp.amp import autocast
from tinymp.inspect import KINDS, Ledger, TracedMemory, memory

BATCH, WIDTH, CLASSES = 32, 16, 10
WEIGHTS = WIDTH * WIDTH + WIDTH + CLASSES * WIDTH + CLASSES


def mlp(dtype: mp.DType = mp.float32) -> mp.nn.Sequential:
    nn = mp.nn
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, CLASSES)).to(dtype)


def batch(dtype: mp.DType = mp.float32) -> tuple[mp.Tensor, mp.Tensor]:
    return mp.randn(BATCH, WIDTH).to(dtype), mp.tensor([i % CLASSES for i in range(BATCH)])


@pytest.mark.parametrize("dtype", [mp.float32, mp.float16, mp.bfloat16], ids=lambda d: d.name)
def test_every_byte_of_a_step_is_in_one_entry(dtype: mp.DType) -> None:
    model, (x, y) = mlp(dtype), batch(dtype)
    optimizer = mp.optim.Adam(model.parameters(), lr=1e-3)
    mp.cross_entropy(model(x), y).backward()
    optimizer.step()
    loss = mp.cross_entropy(model(x), y)
    ledger = memory(model, optimizer=optimizer, loss=loss)
    item = dtype.itemsize
    assert {kind: ledger.bytes(kind) for kind in KINDS if ledger.bytes(kind)} == {
        "weights": WEIGHTS * item,
        "gradients": WEIGHTS * item,
        "optimizer state": 2 * WEIGHTS * item,
        # x, the result of tanh (which the second product needs too), the logits, the labels, and
        # what cross_entropy keeps: a logarithm a row, unrounded.
        "saved activations": (2 * BATCH * WIDTH + BATCH * CLASSES) * item + BATCH * 8 + BATCH * 4,
    }
    assert ledger.entries["weights"] == {dtype.name: WEIGHTS * item}
    assert ledger.total == sum(ledger.bytes(kind) for kind in KINDS)


def test_the_total_is_what_tracemalloc_counts_for_arrays() -> None:
    mp.cross_entropy(mlp()(batch()[0]), batch()[1]).backward()  # whatever is made once is there
    gc.collect()
    with TracedMemory() as traced:
        model, (x, y) = mlp(mp.float16), batch(mp.float16)
        optimizer = mp.optim.Adam(model.parameters())
        mp.cross_entropy(model(x), y).backward()
        optimizer.step()
        loss = mp.cross_entropy(model(x), y)
        gc.collect()
        ledger = memory(model, optimizer=optimizer, loss=loss)
        measured = traced.arrays()
    assert measured == ledger.total + loss.nbytes


def test_temporaries_are_what_was_there_at_the_peak_and_is_gone() -> None:
    with TracedMemory() as traced:
        kept = mp.ones(10_000)
        _ = (kept * 2).sum().item()
        ledger = memory(traced=traced)
    # The product took 40,000 bytes; beside it lived small objects of Python alone.
    assert 40_000 <= ledger.bytes("temporaries") < 44_000
    assert ledger.entries == {"temporaries": {"any": ledger.total}}
    assert traced.peak >= traced.now >= traced.start + kept.nbytes


def test_saved_activations_of_2_bytes_are_half() -> None:
    def saved(dtype: mp.DType) -> int:
        x = mp.ones(64, 64, dtype=dtype, requires_grad=True)
        for _ in range(10):
            x = mp.tanh(x)
        return memory(loss=x.sum()).bytes("saved activations")

    assert saved(mp.float32) == 10 * 64 * 64 * 4
    assert saved(mp.float16) == saved(mp.bfloat16) == saved(mp.float32) // 2


def test_masters_and_their_gradients() -> None:
    model = mlp(mp.float16)
    masters = mp.amp.MasterWeights(model.parameters())
    optimizer = mp.optim.SGD(masters.parameters(), lr=0.1, momentum=0.9)
    x, y = batch(mp.float16)
    mp.cross_entropy(model(x), y).backward()
    assert memory(model, optimizer=optimizer).bytes("gradients") == 2 * WEIGHTS
    masters.copy_gradients()  # moves them to the masters
    optimizer.step()
    expected = {
        "weights": 2 * WEIGHTS,
        "master weights": 4 * WEIGHTS,
        "master gradients": 4 * WEIGHTS,
        "optimizer state": 4 * WEIGHTS,
    }
    for ledger in (
        memory(model, optimizer=optimizer, masters=masters),
        memory(model, optimizer=optimizer),  # found among the optimizer's parameters
    ):
        assert {kind: ledger.bytes(kind) for kind in ledger.entries} == expected


def test_casts_of_weights_by_autocast_are_no_activations() -> None:
    model, (x, y) = mlp(), batch()
    with autocast(mp.bfloat16):
        loss = mp.cross_entropy(model(x), y)
        ledger = memory(model, loss=loss)
    # Only the second layer needs its weight for backward: the first has an input without gradient.
    assert ledger.entries["casts of weights"] == {"bfloat16": 2 * CLASSES * WIDTH}
    assert ledger.bytes("weights") == 4 * WEIGHTS


def test_casts_of_activations_are_activations() -> None:
    model, x = mlp(), batch()[0]
    with autocast(mp.float16):
        hidden = mp.exp(model[0](x))  # float32, so that the next product casts it
        ledger = memory(model, loss=model[2](hidden).sum())
    assert ledger.entries["casts of weights"] == {"float16": 2 * CLASSES * WIDTH}
    # The cast of x, the result of exp, and its cast.
    assert ledger.entries["saved activations"] == {
        "float16": 2 * 2 * BATCH * WIDTH,
        "float32": 4 * BATCH * WIDTH,
    }


def test_storages_count_once_and_views_with_all_they_hold_on_to(device: str) -> None:
    x = mp.ones(100, 10, device=device).requires_grad_()
    row = x[0]
    loss = (row * row * row.reshape(2, 5).reshape(10)).sum()
    # x is held by views of it, and x·x once, though two gradient rules need it.
    assert memory(loss=loss).bytes("saved activations") == 4 * 1000 + 4 * 10
    model = mp.nn.Sequential(mp.nn.Linear(3, 3, bias=False))
    model.tied = model[0]
    assert memory(model).total == 36


def test_buffers_indices_and_frozen_graphs() -> None:
    model = mp.nn.Module()
    model.register_buffer("positions", mp.tensor([0, 1, 2]))
    assert memory(model).entries == {"buffers": {"int64": 24}}
    table = mp.ones(5, 2, requires_grad=True)
    loss = table[np.array([0, 3, 3])].sum()
    assert memory(loss=loss).entries == {"saved activations": {"int64": 24}}
    loss.backward()
    assert memory(loss=loss).entries in ({}, {"saved activations": {"int64": 24}})
    assert memory(loss=mp.ones(1)).total == 0
    assert memory().total == 0


def test_ledgers_of_two_moments_join() -> None:
    model, (x, y) = mlp(), batch()
    loss = mp.cross_entropy(model(x), y)
    before = memory(model, loss=loss)
    loss.backward()
    del loss
    after = memory(model)
    joined = before | after
    assert joined == after | before
    assert joined.bytes("saved activations") == before.bytes("saved activations") > 0
    assert joined.bytes("gradients") == after.bytes("gradients") > 0
    assert joined.bytes("weights") == before.bytes("weights")
    assert list(joined.entries) == [kind for kind in KINDS if kind in joined.entries]


def test_text() -> None:
    ledger = Ledger({"weights": {"float16": 3000}, "gradients": {"float16": 500, "float32": 500}})
    assert str(ledger) == (
        "memory     held as           bytes    share\n"
        "---------  ----------------  -----  -------\n"
        "weights    float16           3,000  75.00 %\n"
        "gradients  float16, float32  1,000  25.00 %\n"
        "---------  ----------------  -----  -------\n"
        "total                        4,000"
    )


def test_tracing_that_someone_else_started_goes_on() -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        with TracedMemory():
            pass
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
    with TracedMemory() as traced:
        held: Any = np.ones(10_000)
    assert not tracemalloc.is_tracing()
    assert traced.now - traced.start >= held.nbytes


def test_a_checkpointed_block_keeps_what_it_was_given() -> None:
    block = mp.nn.Sequential(mp.nn.Linear(8, 32), mp.nn.GELU(), mp.nn.Linear(32, 8))
    x = mp.randn(5, 8)
    whole, parts = x, x
    for _ in range(3):
        whole, parts = block(whole), mp.checkpoint(block, parts)
    inputs_and_the_last_output = 4 * 4 * 5 * 8
    assert memory(loss=parts.exp().sum()).bytes("saved activations") == inputs_and_the_last_output
    assert memory(loss=whole.exp().sum()).bytes("saved activations") > inputs_and_the_last_output
