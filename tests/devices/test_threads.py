"""Long arrays are shared out among threads, and every element is worked on once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from tinymp.devices import threads
from tinymp.devices.threads import share


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_threads", lambda: 4)


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize("size", [0, 1, 999, 1 << 20, (1 << 21) + 1, 4_000_003, 1 << 23])
@pytest.mark.parametrize("block", [1, 1000, 1 << 15])
def test_every_element_belongs_to_one_part(size, block):
    times = np.zeros(size, np.int8)
    parts, workers = [], set()

    def work(start, stop):
        parts.append((start, stop))
        workers.add(threading.get_ident())
        times[start:stop] += 1

    share(work, size, block)
    assert (times == 1).all()
    assert all(start % block == 0 for start, _ in parts)
    assert len(parts) <= 8
    assert len(workers) <= 4
    assert (len(parts) > 1) == (size >= 1 << 21)


@pytest.mark.usefixtures("four")
def test_parts_run_at_the_same_time():
    together = threading.Barrier(4, timeout=10)
    share(lambda start, stop: together.wait() and None, 1 << 23, 1)


@pytest.mark.usefixtures("four")
def test_nobody_waits_for_threads_that_do_not_come(monkeypatch: pytest.MonkeyPatch):
    """The pool's threads are busy with something else: the caller does all of the work."""
    release = threading.Event()
    pool = threads.ThreadPoolExecutor(3)
    monkeypatch.setattr(threads, "_pool", lambda: pool)
    others = [pool.submit(release.wait, 10) for _ in range(3)]
    try:
        done = []
        share(lambda start, stop: done.append(stop - start), 1 << 23, 1)
        assert sum(done) == 1 << 23
        assert not any(other.done() for other in others)
    finally:
        release.set()
        pool.shutdown()


@pytest.mark.usefixtures("four")
def test_what_goes_wrong_in_a_thread_is_raised():
    def work(start, stop):
        if start:
            raise ValueError("a part failed")

    with pytest.raises(ValueError, match="a part failed"):
        share(work, 1 << 23, 1)


@pytest.mark.parametrize(("said", "count"), [("1", 1), ("3", 3), ("64", 4)])
def test_the_number_of_threads_is_that_of_blas(monkeypatch: pytest.MonkeyPatch, said, count):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert threads._threads.__wrapped__() == count


@pytest.mark.parametrize("said", ["", "0", "many"])
def test_without_a_word_it_is_one_a_processor(monkeypatch: pytest.MonkeyPatch, said):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert threads._threads.__wrapped__() == 2


def test_blas_has_one_thread_in_each_of_ours_and_all_of_them_afterwards(monkeypatch):
    asked = threads._openblas()
    if asked is None:
        pytest.skip("NumPy's BLAS is not OpenBLAS")
    threads_of, set_threads = asked
    before = threads_of()
    monkeypatch.setattr(threads, "_threads", lambda: 2)
    seen = []
    try:
        set_threads(2)
        share(lambda start, stop: seen.append(threads_of()), 1 << 22, 1)
        assert set(seen) == {1}
        assert threads_of() == 2
        with threads._single_blas:  # someone else, who has not finished
            share(lambda start, stop: None, 1 << 22, 1)
            assert threads_of() == 1
        assert threads_of() == 2
        with pytest.raises(ZeroDivisionError):
            share(lambda start, stop: 1 // 0, 1 << 22, 1)
        assert threads_of() == 2
    finally:
        set_threads(before)


def test_another_blas_is_left_alone(monkeypatch):
    monkeypatch.setattr(threads, "_openblas", lambda: None)
    monkeypatch.setattr(threads, "_threads", lambda: 2)
    done = []
    share(lambda start, stop: done.append(stop - start), 1 << 22, 1)
    assert sum(done) == 1 << 22


def test_openblas_is_told_not_to_wait_long_unless_someone_said_otherwise():
    code = "import os, tinymp; print(os.environ['OPENBLAS_THREAD_TIMEOUT'])"
    for said, expected in ((None, "20"), ("26", "26")):
        environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_THREAD_TIMEOUT"}
        environment |= {} if said is None else {"OPENBLAS_THREAD_TIMEOUT": said}
        found = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
        assert found.strip() == expected
