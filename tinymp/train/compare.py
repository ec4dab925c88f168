"""Every policy side by side: runs that differ in nothing else, and what is measured in each."""

from __future__ import annotations

import os
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import median
from time import perf_counter

from tinymp.amp.diagnosis import LossScaleWarning
from tinymp.autograd import Tensor
from tinymp.formats import float32
from tinymp.inspect import UpdateWatch, ranges
from tinymp.train.configuration import Configuration
from tinymp.train.loop import evaluate, train_step
from tinymp.train.measure import measure
from tinymp.train.step import StepRecord
from tinymp.train.tasks import make_task
from tinymp.train.training import Training

_POINTS = 20  # moments of a run at which it is tested, and steps that are watched
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one policy did with one seed.

    Attributes:
        policy, seed: which run this is.
        curve: (step, test loss) at some moments; the last one is the end.
        loss: test loss at the end, without the weight of the loss; NaN if training stopped.
        accuracy: share of the test set that is right at the end, 0 to 1.
        steps: steps that were begun.
        skipped_steps: those that were skipped because of an inf or NaN.
        underflow: share of the gradients of 2 bytes, zeros left out, that were rounded to zero.
        lost: share of the updates that left their weight as it was.
        amplified: share that moved it further than intended, in either direction.
        more_than_doubled: share that moved it more than twice as far.
        memory: bytes by kind and dtype, each when there is most of it (see `measure`).
        step_seconds: median time of a step.
        stopped: why training could not go on; "" if it could.
    """

    policy: str
    seed: int
    curve: list[tuple[int, float]]
    loss: float
    accuracy: float
    steps: int
    skipped_steps: int
    underflow: float
    lost: float
    amplified: float
    more_than_doubled: float
    memory: dict[str, dict[str, int]]
    step_seconds: float
    stopped: str = ""


class StepWatch:
    """Looks inside steps: which gradients underflow, and which updates are lost or amplified."""

    def __init__(self) -> None:
        self.updates = UpdateWatch()
        self.gradients: Counter[str] = Counter()

    def train_step(self, training: Training, inputs: Tensor, targets: Tensor) -> StepRecord:
        """`train_step`, watched: the same bits, in some three times the time."""
        with ranges() as seen:
            record = train_step(training, inputs, targets, self.updates.step)
        for histogram in seen.gradients.values():
            if histogram.dtype.itemsize < float32.itemsize:
                self.gradients.update(histogram.classes)
        return record

    @property
    def underflow(self) -> float:
        """Share of the gradients of 2 bytes, of activations and parameters, that became zero.

        Those that were zero before they were rounded are left out.
        """
        present = self.gradients.total() - self.gradients["zero"]
        return self.gradients["underflow"] / present if present else 0.0


def run(configuration: Configuration) -> Run:
    """Train once, and measure: twenty steps, evenly spread, are watched, the others timed."""
    training = Training(make_task(configuration), configuration)
    watch = StepWatch()
    seconds: list[float] = []
    curve: list[tuple[int, float]] = []
    steps = configuration.epochs * len(training.loader)
    pause = max(1, steps // _POINTS)
    step, stopped, accuracy = 0, "", 0.0
    training.model.train()
    with warnings.catch_warnings():
        # A policy that fails is a result here; what it warns of stands in the figures.
        warnings.simplefilter("ignore", LossScaleWarning)
        try:
            for step, batch in enumerate(_batches(training), start=1):
                if step % pause == 1 % pause:
                    record = watch.train_step(training, *batch)
                else:
                    started = perf_counter()
                    record = train_step(training, *batch)
                    seconds.append(perf_counter() - started)
                training.skipped_steps += record.skipped
                if step % pause == 0 or step == steps:
                    loss, accuracy = evaluate(training)
                    curve.append((step, loss))
                    training.model.train()
        except FloatingPointError as collapsed:  # the loss scale fell as low as it can
            stopped = str(collapsed)
    total = watch.updates.total
    return Run(
        policy=configuration.policy,
        seed=configuration.seed,
        curve=curve,
        loss=float("nan") if stopped else curve[-1][1],
        accuracy=accuracy,
        steps=step,
        skipped_steps=training.skipped_steps,
        underflow=watch.underflow,
        lost=total.lost_share,
        amplified=total.amplified_share,
        more_than_doubled=total.more_than_doubled / max(total.intended, 1),
        memory=measure(training).entries,
        step_seconds=median(seconds) if seconds else float("nan"),
        stopped=stopped,
    )


def compare(
    configurations: Sequence[Configuration],
    workers: int | None = None,
    on_run: Callable[[Run], None] = lambda finished: None,
) -> list[Run]:
    """Carry out a run of each configuration, in processes of their own; the runs in that order.

    `workers`: processes at a time, one for each processor if None; 1 stays in this process.
    `on_run` hears of each run as soon as it is finished. An exception, or Ctrl-C, gives up the runs
    that have not begun.
    """
    workers = min(workers or os.cpu_count() or 1, len(configurations))
    finished: dict[Configuration, Run] = {}
    for configuration, result in _carried_out(configurations, workers):
        finished[configuration] = result
        on_run(result)
    return [finished[configuration] for configuration in configurations]


def _batches(training: Training) -> Iterator[tuple[Tensor, Tensor]]:
    for epoch in range(training.configuration.epochs):
        yield from training.loader.epoch(epoch)


def _carried_out(
    configurations: Sequence[Configuration], workers: int
) -> Iterator[tuple[Configuration, Run]]:
    """Configurations and their runs, as they finish."""
    if workers == 1:
        yield from ((configuration, run(configuration)) for configuration in configurations)
        return
    with _one_thread_each():
        # "spawn" is the one way to start processes that all systems have.
        pool = ProcessPoolExecutor(workers, get_context("spawn"), _leave_interrupts_to_parent)
        try:
            futures = {
                pool.submit(run, configuration): configuration for configuration in configurations
            }
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that start in here compute with one thread: as many as there are processors."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
