"""Timing and counting on a real GPU: short runs of what `tinymp bench gpu` does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tinymp.bench.gpu.gpt2 import FP16, configuration, initial_model, measure_ours
from tinymp.bench.gpu.memory import CupyPeak
from tinymp.bench.gpu.rates import copy_rate, product_rate
from tinymp.bench.gpu.suite import RACES
from tinymp.devices import get_device

pytestmark = [pytest.mark.gpu]


@pytest.fixture(autouse=True)
def _gpu():
    try:
        get_device("cuda")
    except RuntimeError as missing:
        pytest.skip(str(missing))


def test_rates_are_possible_ones():
    # No GPU is slower than a tenth of a laptop's, none faster than ten times an H200.
    assert 1e10 < copy_rate(1 << 26) < 5e13
    assert 1e11 < product_rate("float16", 2048) < 1e16


def test_the_most_memory_is_counted():
    import cupy

    with CupyPeak() as count:
        before = count.bytes
        first = cupy.empty(1 << 20, cupy.uint8)
        del first
        second = cupy.empty(3 << 20, cupy.uint8)
        del second
    assert count.bytes - before == 3 << 20


@pytest.mark.parametrize("group", ["products", "kernels", "attention", "mlp"])
def test_a_race_of_each_group_has_times(group):
    race = RACES[group]()[-1]
    result = race.run(rounds=1)
    assert all(timing.clock[0] > 0 for timing in result.timings.values())


def test_steps_have_times_and_memory():
    c = replace(configuration(), layers=2, width=64, heads=2, vocabulary=512, context=64)
    found = measure_ours(FP16, initial_model(c), c, rounds=2)
    assert min(found.seconds) > 0
    assert found.saved
    assert found.peak.arrays > 0
