from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tinymp.devices import cuda, device_of, get_device


def test_a_name_always_gives_the_same_object():
    assert get_device("cpu") is get_device() is get_device(get_device("cpu"))
    assert get_device("cpu").name == "cpu"
    assert str(get_device("cpu")) == "cpu"
    assert get_device("cpu").xp is np


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:0 ", "CPU", "", 0])
def test_an_unknown_name_lists_the_valid_ones(name):
    with pytest.raises(ValueError, match="expected 'cpu', 'cuda' or 'cuda:N'"):
        get_device(name)


def test_a_numpy_array_lives_on_the_cpu():
    assert device_of(np.zeros(3)) is get_device("cpu")
    assert device_of(np.float32(1)) is get_device("cpu")


def test_what_is_no_array_is_refused_with_its_type():
    with pytest.raises(TypeError, match=r"NumPy or CuPy array, but got list.*numpy\.asarray"):
        device_of([1.0])


def test_an_array_goes_through_the_device_and_back(device):
    here = get_device(device)
    array = here.asarray([[1, 2], [3, 4]], np.float16)
    assert array.dtype == np.float16
    assert device_of(array) is here
    back = here.to_numpy(array)
    here.synchronize()
    assert isinstance(back, np.ndarray)
    np.testing.assert_array_equal(back, [[1, 2], [3, 4]])


def test_missing_cupy_is_named_with_the_commands_that_install_it(monkeypatch):
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="CuPy is not installed") as error:
        cuda.CudaDevice(0)
    assert 'pip install "cupy-cuda12x[ctk]' in str(error.value)
    assert 'pip install "cupy-cuda13x[ctk]' in str(error.value)


def _pretend_cupy(monkeypatch, get_device_count):
    runtime = SimpleNamespace(getDeviceCount=get_device_count)
    pretend = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: "found")
    monkeypatch.setitem(sys.modules, "cupy", pretend)


def test_a_missing_gpu_is_told_in_cupys_own_words(monkeypatch):
    def no_driver():
        raise OSError("no CUDA-capable device is detected")

    _pretend_cupy(monkeypatch, no_driver)
    with pytest.raises(RuntimeError, match="cannot reach a GPU; it says: no CUDA-capable device"):
        cuda.CudaDevice(0)


def test_an_index_beyond_the_last_gpu_says_how_many_there_are(monkeypatch):
    _pretend_cupy(monkeypatch, lambda: 2)
    with pytest.raises(RuntimeError, match=r"'cuda:2' is not available: CuPy finds 2 GPU"):
        cuda.CudaDevice(2)


def test_importing_the_devices_imports_no_cupy():
    code = "import sys, tinymp.devices; sys.exit('cupy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
