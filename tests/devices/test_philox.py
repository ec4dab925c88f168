"""What the GPU's generator does where it cannot compile; test_random.py has the rest."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tinymp.devices import get_device, philox


@pytest.fixture
def cupy_without_a_compiler(monkeypatch):
    class RawKernel:
        def __init__(self, source, name):
            assert f"void {name}(" in source

        def compile(self):
            raise RuntimeError("libnvrtc.so is not there")

    compiler = SimpleNamespace(CompileException=type("CompileException", (Exception,), {}))
    pretend = SimpleNamespace(
        RawKernel=RawKernel, asarray=np.asarray, cuda=SimpleNamespace(compiler=compiler)
    )
    monkeypatch.setitem(sys.modules, "cupy", pretend)
    philox._kernel.cache_clear()
    yield
    philox._kernel.cache_clear()


@pytest.mark.usefixtures("cupy_without_a_compiler")
def test_without_a_compiler_the_words_come_from_the_cpu_with_one_warning():
    with pytest.warns(RuntimeWarning, match="made on the CPU.*libnvrtc.so is not there"):
        words = philox.philox_words(13, seed=5, draw=2)
    np.testing.assert_array_equal(words, get_device("cpu").philox_words(13, 5, 2))
    assert len(philox.philox_words(3, seed=5, draw=2)) == 3
