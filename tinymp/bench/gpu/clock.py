"""Timing work on a GPU: between two events, so that the GPU's own clock is read.

A kernel of 20 µs is over before the host has started the next one. Where kernels are to be timed
(`gapless`), a waiting kernel goes first, which keeps the GPU busy until the host has handed over
all calls: then they run one after another without gaps. Where a step of training is to be timed,
gaps are part of the step, and nothing goes first.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from tinymp.bench.measure import Race, Result, Timing
from tinymp.devices.kernels.compiler import kernel

_MOST_CALLS = 200  # launches that wait in a queue of about a thousand
_WAIT = r"""
extern "C" __global__ void wait(unsigned long long nanoseconds) {
    unsigned long long start, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
    do {
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    } while (now - start < nanoseconds);
}
"""


def gpu_seconds(run: Callable[[], Any], calls: int, wait: float = 0.0) -> tuple[float, float]:
    """Seconds of the GPU and of the host for one call, each the mean over several calls.

    `wait`: seconds for which the GPU is kept busy beforehand.
    """
    import cupy

    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    if wait:
        kernel("wait", _WAIT)((1,), (1,), (np.uint64(wait * 1e9),))
    start.record()
    began = perf_counter()
    for _ in range(calls):
        run()
    host = perf_counter() - began
    end.record()
    end.synchronize()
    milliseconds: float = cupy.cuda.get_elapsed_time(start, end)
    return milliseconds / 1e3 / calls, host / calls


def run_gpu_race(race: Race, rounds: int, gapless: bool, turn: float = 0.02) -> Result:
    """Let the contestants take turns of about `turn` seconds on the GPU: see `bench.run_race`.

    In the result, the clock is the GPU's, the processor's time that of the host's calls.

    Raises:
        ValueError: less than one round.
    """
    if rounds < 1:
        raise ValueError(f"a race needs at least one round, but {rounds} was given")
    contestants = race.enter()
    plans = [_plan(contestant.run, gapless, turn) for contestant in contestants]
    timings = {contestant.name: Timing([], []) for contestant in contestants}
    for _ in range(rounds):
        for (name, run), (calls, wait) in zip(contestants, plans, strict=True):
            gpu, host = gpu_seconds(run, calls, wait)
            timings[name].clock.append(gpu)
            timings[name].processor.append(host)
    return Result(race, timings)


def _plan(run: Callable[[], Any], gapless: bool, turn: float) -> tuple[int, float]:
    """How many calls make a turn, and for how long the GPU is to be kept busy before them."""
    for _ in range(3):
        run()  # compiles, chooses among algorithms, fills the memory pools
    gpu, host = gpu_seconds(run, 3)
    calls = min(max(1, round(turn / gpu)), _MOST_CALLS)
    return calls, 1.5 * calls * host + 1e-4 if gapless else 0.0
