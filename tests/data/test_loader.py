from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinymp as mp
from tinymp.data import DataLoader, Dataset
from tinymp.devices import get_rng_state


def count_to(n):
    """Inputs i and targets -i, so that pairs can be told apart."""
    return Dataset("count", np.arange(2 * n, dtype=np.float32).reshape(n, 2), -np.arange(n))


@given(
    n=st.integers(1, 40),
    size=st.integers(1, 50),
    shuffle=st.booleans(),
    drop=st.booleans(),
    epoch=st.integers(0, 5),
)
def test_every_example_comes_once_with_its_own_target(n, size, shuffle, drop, epoch):
    if drop and size > n:
        return
    loader = DataLoader(count_to(n), size, shuffle=shuffle, drop_last=drop)
    batches = [(x.numpy(), y.numpy()) for x, y in loader.epoch(epoch)]
    assert len(batches) == len(loader) == (n // size if drop else -(-n // size))
    assert [len(x) for x, _ in batches[:-1]] == [size] * (len(batches) - 1)
    seen = np.concatenate([y for _, y in batches])
    np.testing.assert_array_equal(np.concatenate([x[:, 0] for x, _ in batches]), -2.0 * seen)
    assert len(seen) == (len(loader) * size if drop else n)
    assert len(set(seen)) == len(seen)
    if not shuffle:
        np.testing.assert_array_equal(seen, -np.arange(len(seen)))


def test_the_order_depends_on_seed_and_epoch_alone():
    data = count_to(1000)
    loader = DataLoader(data, 10, shuffle=True, seed=4)
    third = loader.order(3)
    before = get_rng_state()
    for _ in loader.epoch(0):
        mp.randn(3)
    np.testing.assert_array_equal(loader.order(3), third)
    np.testing.assert_array_equal(DataLoader(data, 7, shuffle=True, seed=4).order(3), third)
    assert (DataLoader(data, 10, shuffle=True, seed=5).order(3) != third).mean() > 0.9
    assert (loader.order(4) != third).mean() > 0.9
    assert get_rng_state()[1] - before[1] == 100, "only randn drew from the default generator"


def test_every_order_is_equally_likely():
    loader = DataLoader(count_to(3), 1, shuffle=True)
    orders, counts = np.unique([loader.order(e) for e in range(6000)], axis=0, return_counts=True)
    assert len(orders) == 6
    # Chi-squared with 5 degrees of freedom is above 30 once in 80,000 times.
    assert ((counts - 1000) ** 2 / 1000).sum() < 30


def test_batches_are_tensors_of_the_data_sets_types(device):
    x, y = next(DataLoader(count_to(5), 2, device=device).epoch(0))
    assert (x.dtype, y.dtype) == (mp.float32, mp.int64)
    assert (x.shape, y.shape) == ((2, 2), (2,))
    assert x.device.startswith(device)
    assert y.device.startswith(device)


def test_a_batch_is_a_copy():
    data = count_to(4)
    x, _ = next(DataLoader(data, 4).epoch(0))
    assert not np.shares_memory(x.storage, data.inputs)


def test_batch_sizes_that_leave_nothing_are_refused():
    with pytest.raises(ValueError, match="batch_size must be at least 1, but 0"):
        DataLoader(count_to(5), 0)
    with pytest.raises(
        ValueError, match=r"batch_size 6 is larger than data set 'count'.* 5 examples"
    ):
        DataLoader(count_to(5), 6, drop_last=True)
    assert len(DataLoader(count_to(5), 6)) == 1
