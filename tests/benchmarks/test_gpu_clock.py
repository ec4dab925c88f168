"""Timing on a GPU: the waiting kernel compiles, and turns are planned, on machines without one."""

from __future__ import annotations

import pytest

from tinymp.bench import Contestant
from tinymp.bench.gpu import clock
from tinymp.bench.gpu.race import GpuRace
from tinymp.devices.kernels.compiler import compile_to_binary


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90"])
def test_the_waiting_kernel_compiles(architecture):
    pytest.importorskip("cupy")
    assert compile_to_binary("wait", clock._WAIT, architecture)


class Gpu:
    """A clock by which a call takes 0.1 ms, of which the host is busy for 10 µs."""

    def __init__(self):
        self.turns = []

    def __call__(self, run, calls, wait=0.0):
        run()
        self.turns.append((calls, wait))
        return 1e-4, 1e-5


@pytest.mark.parametrize("gapless", [True, False])
def test_contestants_take_turns_and_the_gpu_waits_only_where_gaps_do_not_count(
    monkeypatch, gapless
):
    gpu = Gpu()
    monkeypatch.setattr(clock, "gpu_seconds", gpu)
    names = []
    race = GpuRace(
        "counting",
        "first",
        lambda: [Contestant(n, lambda n=n: names.append(n)) for n in ("first", "second")],
        gapless=gapless,
        work=1e8,
    )
    result = race.run(rounds=2)
    assert names[-4:] == ["first", "second"] * 2
    # Twenty milliseconds are 200 calls; the host takes 2 ms for them, and half more to be sure.
    assert gpu.turns[-1] == (200, pytest.approx(3.1e-3) if gapless else 0.0)
    assert result.seconds("first").median == 1e-4
    assert result.ratio("second").median == 1
    assert race.rate(1e-4) == 1


def test_no_round_is_refused():
    with pytest.raises(ValueError, match="at least one round, but 0 was given"):
        GpuRace("counting", "first", list).run(0)
