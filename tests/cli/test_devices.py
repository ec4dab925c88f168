"""`--device auto`, with and without a GPU."""

from __future__ import annotations

from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console

from tinymp import devices
from tinymp.cli.devices import chosen_device


def chosen(name: str) -> tuple[str, str]:
    screen = Console(file=StringIO(), width=40)
    return chosen_device(name, screen), screen.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:1", "nonsense"])
def test_what_is_named_is_taken_and_nothing_said(name: str) -> None:
    assert chosen(name) == (name, "")


def test_without_a_gpu_auto_is_the_cpu_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise RuntimeError("CuPy is not installed in this Python.\nInstall it so: ...")

    monkeypatch.setattr(devices, "get_device", missing)
    assert chosen("auto") == ("cpu", "On the CPU: CuPy is not installed in this Python.\n")


def test_with_a_gpu_auto_is_the_gpu_and_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"name": b"NVIDIA H200"}
    runtime = SimpleNamespace(getDeviceProperties=lambda index: about)
    gpu = SimpleNamespace(name="cuda:0", xp=SimpleNamespace(cuda=SimpleNamespace(runtime=runtime)))
    monkeypatch.setattr(devices, "get_device", lambda name: gpu)
    assert chosen("auto") == ("cuda", "On the GPU cuda:0, NVIDIA H200\n")
