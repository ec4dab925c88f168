"""The update in blocks and in place gives the bits of the formula written plainly."""

from __future__ import annotations

import numpy as np
import pytest

import tinymp as mp
from tinymp import nn, optim
from tinymp.formats import pack, unpack
from tinymp.optim.blocks import blocks

SHAPES = [(), (3,), (300, 401), (100_001,)]  # the last two take several blocks


def plain_sgd(t, w, g, b, lr, momentum, weight_decay):
    g = g + weight_decay * w
    b = g if t == 1 else momentum * b + g
    return lr * b, b


def plain_adamw(t, w, g, m, v, lr, weight_decay):
    m = 0.9 * m + (1 - 0.9) * g
    v = 0.999 * v + (1 - 0.999) * (g * g)
    m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
    return lr * m_hat / (np.sqrt(v_hat) + 1e-8) + lr * weight_decay * w, m, v


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [mp.float32, mp.float64, mp.float16, mp.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("make", "plain", "slots"),
    [
        (lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01), plain_sgd, 1),
        (lambda p: optim.AdamW(p, lr=0.1, weight_decay=0.01), plain_adamw, 2),
    ],
    ids=["SGD", "AdamW"],
)
def test_the_bits_are_those_of_the_plain_formula(make, plain, slots, dtype, shape):
    rng = np.random.default_rng(0)
    compute = np.float64 if dtype is mp.float64 else np.float32

    def stored(values):
        return pack(np.asarray(values, compute), dtype)

    def seen(storage):
        return unpack(storage, dtype, compute)

    w = stored(rng.standard_normal(shape))
    states = [stored(np.zeros(shape)) for _ in range(slots)]
    parameter = nn.Parameter(mp.zeros(shape, dtype=dtype))
    parameter.data = mp.Tensor(w.copy(), dtype)
    optimizer = make([parameter])
    options = {"lr": 0.1, "weight_decay": 0.01, **({"momentum": 0.9} if slots == 1 else {})}
    for t in (1, 2, 3):
        g = stored(rng.standard_normal(shape))
        parameter.grad = mp.Tensor(g.copy(), dtype)
        optimizer.step()
        step, *new = plain(t, seen(w), seen(g), *map(seen, states), **options)
        w, states = stored(seen(w) - step), [stored(x) for x in new]
        np.testing.assert_array_equal(parameter.grad.storage, g)
        np.testing.assert_array_equal(parameter.storage, w)
        for name, state in zip(optimizer.slots(optimizer.param_groups[0]), states, strict=True):
            np.testing.assert_array_equal(optimizer.state[parameter][name].storage, state)


@pytest.mark.parametrize("shape", [*SHAPES, (0,), (5, 0), (1, 100_000), (70_000, 1)])
def test_blocks_cover_everything_once(shape):
    tensor = mp.zeros(shape)
    for block in blocks(tensor):
        tensor._array[block] += 1
    assert (tensor._array == 1).all()


def test_a_number_of_numpys_takes_part_with_its_own_precision():
    """As in NumPy itself: a float64 learning rate makes a float64 step, rounded with the weight."""
    w, g = np.random.default_rng(0).standard_normal((2, 1000)).astype(np.float32)
    parameter = nn.Parameter(mp.tensor(w))
    parameter.grad = mp.tensor(g)
    optim.SGD([parameter], lr=np.float64(0.1)).step()
    expected = (w - np.float64(0.1) * g).astype(np.float32)
    np.testing.assert_array_equal(parameter.storage, expected)
    assert (expected != w - np.float32(0.1) * g).any()
