"""Counting and timing on a GPU that is made up: a stand-in for CuPy."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from tinymp.bench.gpu import gpt2, machine
from tinymp.bench.gpu.clock import gpu_seconds
from tinymp.bench.gpu.gpt2 import FP16, FP32, configuration, initial_model
from tinymp.bench.gpu.memory import CupyPeak, Peak, driver_bytes, give_back
from tinymp.bench.gpu.pytorch_gpt import Manner

MIB = 2**20


class Hook:
    """CuPy's base class of memory hooks: one that was entered hears of allocations."""

    active = None

    def __enter__(self):
        Hook.active = self

    def __exit__(self, *error):
        Hook.active = None


class Pool:
    def __init__(self):
        self.used = 10 * MIB
        self.emptied = 0

    def used_bytes(self):
        return self.used

    def total_bytes(self):
        return 32 * MIB

    def free_all_blocks(self):
        self.emptied += 1


class Event:
    """Events that come 6 ms after each other."""

    made = 0

    def record(self):
        Event.made += 1
        self.number = Event.made

    def synchronize(self):
        pass


@pytest.fixture
def cupy(monkeypatch):
    pool = Pool()
    module = ModuleType("cupy")
    module.get_default_memory_pool = lambda: pool
    runtime = SimpleNamespace(
        memGetInfo=lambda: (100 * MIB, 140 * MIB),
        getDeviceProperties=lambda index: {
            "name": b"Tesla T4", "major": 7, "minor": 5, "totalGlobalMem": 15 * 2**30,
        },
        driverGetVersion=lambda: 12040,
        runtimeGetVersion=lambda: 12080,
    )  # fmt: skip
    module.cuda = SimpleNamespace(
        MemoryHook=Hook,
        Event=Event,
        runtime=runtime,
        get_elapsed_time=lambda start, end: 6.0 * (end.number - start.number),
    )
    monkeypatch.setitem(sys.modules, "cupy", module)
    module.pool = pool
    return module


def allocate(size):
    Hook.active.malloc_postprocess(device_id=0, size=size, mem_size=size, mem_ptr=1, pmem_id=1)


def free(size):
    Hook.active.free_postprocess(device_id=0, mem_size=size, mem_ptr=1, pmem_id=1)


def test_the_most_that_lives_at_a_moment_is_counted(cupy):
    with CupyPeak() as count:
        allocate(3 * MIB)
        allocate(4 * MIB)
        free(3 * MIB)
        allocate(2 * MIB)
        free(10 * MIB)  # from before the block
    assert Hook.active is None
    assert count.peak() == Peak(arrays=17 * MIB, pool=32 * MIB, driver=40 * MIB)


def test_what_nobody_uses_is_given_back(cupy):
    give_back()
    assert cupy.pool.emptied == 1
    assert driver_bytes() == 40 * MIB


def test_time_is_that_between_two_events_for_each_call(cupy):
    calls = []
    gpu, host = gpu_seconds(lambda: calls.append(1), 3)
    assert gpu == pytest.approx(2e-3)
    assert 0 < host < 1
    assert len(calls) == 3


def test_the_machine_is_described(cupy):
    about = machine.describe()
    assert about["gpu"] == "Tesla T4"
    assert about["compute_capability"] == "7.5"
    assert (about["driver_cuda"], about["cuda"]) == ("12.4", "12.8")
    assert about["versions"]["numpy"]


TINY = configuration(
    layers=1, width=8, heads=2, vocabulary=20, context=4, batch_size=2, device="cpu"
)


def test_our_steps_are_measured(cupy):
    found = gpt2.measure_ours(FP16, initial_model(TINY), TINY, rounds=3)
    # Two steps took 6 ms, so 67 make a turn of 0.2 s; by this clock they take 6 ms, too.
    assert found.seconds == [pytest.approx(6e-3 / 67)] * 3
    assert found.saved is not None
    assert found.saved > 0
    assert found.peak == Peak(10 * MIB, 32 * MIB, 0)
    assert found.losses[0] > found.losses[1]
    full = gpt2.measure_ours(FP32, initial_model(TINY), TINY, rounds=3)
    assert full.losses[0] == pytest.approx(found.losses[0], rel=4 * 2.0**-11)
    assert found.as_json()["first_loss"] == found.losses[0]


def test_pytorchs_steps_are_measured(cupy, monkeypatch):
    torch = pytest.importorskip("torch")
    for name in ("reset_peak_memory_stats", "synchronize", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 5 * MIB)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 6 * MIB)
    found = gpt2.measure_pytorchs(Manner("FP32", fused=True), initial_model(TINY), TINY, rounds=2)
    assert found.name == "PyTorch FP32, fused attention"
    assert found.peak == Peak(5 * MIB, 6 * MIB, 0)
    assert found.saved is None
    ours = gpt2.measure_ours(FP32, initial_model(TINY), TINY, rounds=2)
    assert found.losses[0] == pytest.approx(ours.losses[0], rel=1e-6)
