"""Operations that move elements move words: no bit changes, not even that of a NaN's payload."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp.numerics.kit import kit
from tinymp.ops.indexing import scatter_sum

DTYPES = [mp.float16, mp.bfloat16, mp.float8_e4m3fn, mp.float8_e5m2]
MOVES = {
    "reshape": lambda x: x.reshape(4, -1).flatten(),
    "permute": lambda x: x.reshape(2, -1, 4).permute(2, 0, 1).permute(1, 2, 0).flatten(),
    "transpose": lambda x: x.reshape(-1, 8).T.T.flatten(),
    "expand": lambda x: x.expand(3, -1)[1],
    "cat": lambda x: mp.cat([mp.zeros_like(x), x])[x.size :],
    "cat of parts": lambda x: mp.cat([x[:5], x[5:]]),
    "stack": lambda x: mp.stack([mp.zeros_like(x), x], dim=1)[:, 1],
    "split": lambda x: mp.cat(x.split(x.size // 7)),
    "pad": lambda x: mp.pad(x, (1, 2), value=float("nan"))[1:-2],
    "slice": lambda x: x[::-1][::-1],
    "gather": lambda x: x[np.arange(x.size)],
    "mask": lambda x: x[np.ones(x.shape, bool)],
    "take_along_dim": lambda x: mp.take_along_dim(x, mp.arange(x.size), 0),
    "squeeze": lambda x: x.unsqueeze(0).squeeze(0),
    "clone": lambda x: x.clone(),
    "detach": lambda x: x.detach(),
    "tensor": mp.tensor,
    "copy_": lambda x: mp.zeros_like(x).copy_(x),
    "setitem": lambda x: mp.zeros_like(x).__setitem__(..., x) or x,
}


def every_word(dtype: Any) -> Any:
    words = np.arange(1 << dtype.bits, dtype=np.uint32).astype(dtype.words)
    return mp.Tensor(words.view(dtype.storage), dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", MOVES)
def test_every_word_survives(name: str, dtype: Any) -> None:
    x = every_word(dtype)
    moved = MOVES[name](x)
    assert moved.dtype is dtype
    np.testing.assert_array_equal(moved.storage.view(dtype.words), x.storage.view(dtype.words))


@pytest.mark.parametrize("name", ["reshape", "permute", "cat", "slice", "pad", "squeeze", "clone"])
def test_gradients_move_as_words_too(name: str) -> None:
    """Every finite float16 word, as a gradient on its way back through a movement."""
    words = every_word(mp.float16).storage.view(np.uint16)
    finite = words[(words & 0x7C00) != 0x7C00][:63480]
    gradient = mp.Tensor(finite.view(np.float16), mp.float16)
    x = mp.zeros(finite.size, dtype=mp.float16, requires_grad=True)
    MOVES[name](x).backward(gradient)
    np.testing.assert_array_equal(x.grad.storage.view(np.uint16), finite)


def test_views_share_storage_and_copies_do_not() -> None:
    x = mp.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=mp.bfloat16)
    views = [x.reshape(4), x.T, x[0], x[0, 1], x[:, None], x.expand(3, 2, 2), x.detach(), x.data]
    views += [x[1:].T.reshape(2), x.unsqueeze(0), x.split(1)[1]]
    for view in views:
        assert np.shares_memory(view.storage, x.storage)
        assert view.version is x.version
    copies = [x.clone(), x[[0, 1]], x.T.reshape(4), mp.cat([x]), mp.pad(x, (0, 0)), mp.tensor(x)]
    for copy in copies:
        assert not np.shares_memory(copy.storage, x.storage)
        assert copy.version is not x.version


def test_a_single_element_is_a_view_of_the_tensor() -> None:
    x = mp.zeros(2, 2)
    x[1, 0].fill_(5)
    assert x.tolist() == [[0, 0], [5, 0]]


def test_the_index_may_change_after_it_was_used() -> None:
    x = mp.tensor([1.0, 2.0, 3.0], requires_grad=True)
    for index in (mp.tensor([0, 0]), np.array([0, 0])):
        x.grad = None
        chosen = x[index].sum()
        index[...] = 2
        chosen.backward()
        assert x.grad.tolist() == [2, 0, 0]
    x.grad = None
    index = mp.tensor([1, 1])
    chosen = mp.take_along_dim(x, index, 0).sum()
    index[...] = 0
    chosen.backward()
    assert x.grad.tolist() == [0, 2, 0]


@pytest.mark.parametrize("count", [0, 1, 2, 7, 1000])
@pytest.mark.parametrize("length", [1, 3, 50])
def test_scatter_sum_is_a_sum_over_equal_positions(count: int, length: int) -> None:
    rng = np.random.default_rng(count)
    values = rng.standard_normal(count).astype(np.float32)
    positions = rng.integers(0, length, count)
    total, absolute = np.zeros(length), np.zeros(length)
    np.add.at(total, positions, values)
    np.add.at(absolute, positions, abs(values))
    found = scatter_sum(kit("cpu"), values, positions, (length,))
    assert found.dtype == np.float32
    assert (abs(found - total) <= count * 2.0**-24 * absolute).all()
    again = scatter_sum(kit("cpu"), values, positions, (length,))
    assert found.tobytes() == again.tobytes()


def test_a_scattered_sum_does_not_depend_on_what_goes_elsewhere() -> None:
    """Values keep their order among those of one position, so a sum has the bits it has alone."""
    rng = np.random.default_rng(1)
    values = rng.standard_normal(5000) * 2.0 ** rng.integers(-20, 20, 5000)
    values = values.astype(np.float32)
    positions = rng.integers(0, 3, 5000)
    together = scatter_sum(kit("cpu"), values, positions, (3,))
    for place in range(3):
        mine = positions == place
        alone = scatter_sum(kit("cpu"), values[mine], np.zeros(mine.sum(), np.int64), (1,))
        assert together[place].tobytes() == alone[0].tobytes()


def test_scatter_sum_keeps_its_shape() -> None:
    ones = np.ones((2, 2), np.float64)
    found = scatter_sum(kit("cpu"), ones, np.array([[5, 0], [5, 2]]), (2, 3))
    assert found.tolist() == [[1, 0, 1], [0, 0, 2]]
    assert found.dtype == np.float64
