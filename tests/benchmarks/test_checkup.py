"""What `tinymp doctor` finds, on machines that are made up."""

from __future__ import annotations

import ctypes
import sys
from types import ModuleType, SimpleNamespace

import pytest

from tinymp.bench import checkup as subject
from tinymp.bench import driver as driver_module
from tinymp.bench.checkup import BROKEN, MISSING, THERE, Checkup, Finding, checkup
from tinymp.bench.driver import Driver, find_driver

H200 = Driver((13, 0), "580.159.03", ("NVIDIA H200",))


class Runtime:
    """CuPy's runtime module, of a machine with one GPU."""

    def __init__(self, capability=(9, 0)):
        self.capability = capability

    def getDeviceCount(self):
        return 1

    def runtimeGetVersion(self):
        return 13000

    def memGetInfo(self):
        return 100 << 30, 139 << 30

    def getDeviceProperties(self, index):
        major, minor = self.capability
        return {
            "name": b"NVIDIA H200",
            "totalGlobalMem": 139 << 30,
            "major": major,
            "minor": minor,
            "multiProcessorCount": 132,
        }


def stand_in(runtime):
    cupy = ModuleType("cupy")
    cupy.__version__ = "14.2.0"
    cupy.cuda = SimpleNamespace(
        runtime=runtime,
        cublas=SimpleNamespace(getVersion=lambda handle: 130100),
        device=SimpleNamespace(get_cublas_handle=lambda: 0),
    )
    return cupy


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Makes a machine with this driver and this CuPy."""

    def make(driver, cupy=None, packages=("cupy-cuda13x",)):
        monkeypatch.setattr(subject, "find_driver", lambda: driver)
        monkeypatch.setattr(subject, "installed", lambda name: cupy is not None)
        monkeypatch.setattr(subject, "_cupy_packages", lambda: list(packages))
        monkeypatch.setattr(subject, "_nvrtc", lambda cupy: "13.0, compiles kernels for this GPU")
        monkeypatch.setattr("tinymp.bench.gpu.rates.product_rate", lambda name, size: 700e12)
        monkeypatch.setattr("tinymp.bench.gpu.rates.copy_rate", lambda size: 4.2e12)
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        found = checkup()
        return {finding.subject: finding for finding in found.findings}, found

    return make


def test_a_machine_without_gpu_and_cupy_is_no_fault(machine):
    by_subject, found = machine(None)
    assert by_subject["NVIDIA driver"].state == by_subject["CuPy"].state == MISSING
    assert by_subject["NumPy"].state == by_subject["Python"].state == THERE
    assert not found.is_broken
    assert found.rates == ()


@pytest.mark.parametrize(
    ("cuda", "package"), [((12, 4), "cupy-cuda12x"), ((13, 0), "cupy-cuda13x")]
)
def test_the_command_that_installs_cupy_follows_the_driver(machine, cuda, package):
    by_subject, found = machine(Driver(cuda, "550.1", ("Tesla T4",)))
    assert by_subject["CuPy"] == Finding(
        "CuPy", "not installed", MISSING, f'run: python -m pip install "{package}[ctk]>=14.0"'
    )
    assert not found.is_broken


def test_a_driver_that_is_too_old_is_to_be_updated(machine):
    by_subject, _ = machine(Driver((11, 4), "470.1", ("Tesla T4",)))
    assert by_subject["NVIDIA driver"].advice.startswith("update the driver")
    assert by_subject["CuPy"].advice == ""


def test_all_is_there(machine):
    by_subject, found = machine(H200, stand_in(Runtime()))
    assert {finding.state for finding in found.findings} == {THERE}
    assert by_subject["NVIDIA driver"].text == "580.159.03, serves CUDA up to 13.0; NVIDIA H200"
    assert by_subject["CuPy"].text == "14.2.0 (cupy-cuda13x), CUDA 13.0"
    assert by_subject["cuda:0"].text == (
        "NVIDIA H200, 139.0 GiB, compute capability 9.0, 132 multiprocessors"
    )
    assert by_subject["cuBLAS"].text == "13.1.0"
    assert [(rate.format, rate.tensor_cores, rate.flops) for rate in found.rates] == [
        ("float16", True, 700e12),
        ("bfloat16", True, 700e12),
        ("TF32", True, 700e12),
        ("float32", False, 700e12),
        ("float8", True, None),
    ]
    assert found.copy == 4.2e12


def test_a_t4_has_tensor_cores_for_float16_alone(machine):
    _, found = machine(H200, stand_in(Runtime((7, 5))))
    assert [rate.format for rate in found.rates if rate.tensor_cores] == ["float16"]
    tf32 = next(rate for rate in found.rates if rate.format == "TF32")
    assert tf32.flops is None
    assert "computed in float32" in found.rates[1].text


def test_cupy_that_fails_is_broken_and_the_command_is_named(machine):
    runtime = Runtime()
    runtime.getDeviceCount = lambda: (_ for _ in ()).throw(RuntimeError("no driver\nat all"))
    by_subject, found = machine(H200, stand_in(runtime), packages=("cupy-cuda12x", "cupy-cuda13x"))
    assert by_subject["CuPy"] == Finding(
        "CuPy",
        "cupy-cuda12x, cupy-cuda13x, but it fails: no driver",
        BROKEN,
        'run: python -m pip install "cupy-cuda13x[ctk]>=14.0"',
    )
    assert found.is_broken


def test_a_folder_called_cupy_is_not_cupy(machine):
    by_subject, _ = machine(None, ModuleType("cupy"), packages=())
    assert by_subject["CuPy"].state == BROKEN
    assert by_subject["CuPy"].text.startswith("of unknown origin, but it fails: module 'cupy' has")
    assert "name a single cupy" in by_subject["CuPy"].advice


def test_a_compiler_that_fails_is_broken(machine, monkeypatch):
    def fails(cupy):
        raise OSError("libnvrtc.so.13: not found")

    cupy = stand_in(Runtime())
    machine(H200, cupy)
    monkeypatch.setattr(subject, "_nvrtc", fails)
    found = checkup()
    assert found.is_broken
    assert found.findings[-1].subject == "NVRTC"
    assert "libnvrtc.so.13" in found.findings[-1].text
    assert found.rates == ()


def test_a_product_that_fails_is_broken(machine, monkeypatch):
    machine(H200, stand_in(Runtime()))

    def fails(name, size):
        raise RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED")

    monkeypatch.setattr("tinymp.bench.gpu.rates.product_rate", fails)
    found = checkup()
    assert found.is_broken
    assert found.findings[-1].text == "CUBLAS_STATUS_NOT_SUPPORTED"


def test_json_holds_plain_values():
    found = Checkup((Finding("CuPy", "fails", BROKEN),))
    assert found.as_json() == {
        "findings": ({"subject": "CuPy", "text": "fails", "state": "broken", "advice": ""},),
        "rates": (),
        "copy": None,
        "broken": True,
    }


class Library:
    """Both of the driver's libraries, with one GPU."""

    def __init__(self, started=0):
        self.started = started

    def cuInit(self, flags):
        return self.started

    def cuDriverGetVersion(self, number):
        number._obj.value = 12080
        return 0

    def cuDeviceGetCount(self, count):
        count._obj.value = 1
        return 0

    def cuDeviceGet(self, device, index):
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name, length, device):
        name.value = b"Tesla T4"
        return 0

    def nvmlInit_v2(self):
        return 0

    def nvmlSystemGetDriverVersion(self, version, length):
        version.value = b"570.1"
        return 0

    def nvmlShutdown(self):
        return 0


@pytest.mark.parametrize(
    ("library", "expected"),
    [
        (Library(), Driver((12, 8), "570.1", ("Tesla T4",))),
        (Library(100), Driver((12, 8), "570.1", ())),
    ],
)
def test_a_driver_is_asked(monkeypatch, library, expected):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert find_driver() == expected


def test_a_driver_without_its_second_library_has_no_version(monkeypatch):
    def load(name):
        if "cuda" not in name:
            raise OSError(name)
        return Library()

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert find_driver() == Driver((12, 8), "", ("Tesla T4",))


def test_where_no_library_is_there_is_no_driver(monkeypatch):
    def load(name):
        raise OSError(name)

    monkeypatch.setattr(driver_module.ctypes, "CDLL", load)
    assert find_driver() is None
