"""`tinymp bench gpu`: its tables and its JSON, from figures that are made up."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tinymp.bench import Contestant, Result, Timing
from tinymp.bench.gpu import curves, gpt2, machine, suite
from tinymp.bench.gpu.gpt2 import CAPTURED, FP16, FP32, TF32, StepsOf
from tinymp.bench.gpu.memory import Peak
from tinymp.bench.gpu.race import GpuRace
from tinymp.cli import app
from tinymp.cli.bench_gpu import race_table

RACE = GpuRace(
    "product of two matrices",
    "PyTorch",
    lambda: [Contestant("PyTorch", lambda: None), Contestant("tinymp", lambda: None)],
    speed=True,
    goals={"tinymp": (0.95, 1.0)},
    work=2e12,
)
RESULT = Result(
    RACE,
    {
        "PyTorch": Timing([2e-3, 2e-3, 2e-3], [1e-5] * 3),
        "tinymp": Timing([4e-3, 4e-3, 4e-3], [2e-5] * 3),
    },
)


def shown(table) -> list[str]:
    screen = Console(file=StringIO(), width=120)
    screen.print(table)
    return [" ".join(line.split()) for line in screen.file.getvalue().splitlines()]  # type: ignore[attr-defined]


@pytest.fixture
def _a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU on which all is measured at once."""
    about = {"gpu": "NVIDIA H200", "driver_cuda": "13.0", "cuda": "13.0", "python": "3.12"}
    monkeypatch.setattr("tinymp.devices.get_device", lambda name: None)
    monkeypatch.setattr(machine, "describe", lambda: {**about, "versions": {"torch": "2.11.0"}})
    monkeypatch.setattr(GpuRace, "run", lambda race, rounds: RESULT)
    peak = Peak(5 * 2**30, 6 * 2**30, 7 * 2**30)
    names = (FP16, CAPTURED, FP32, TF32)
    found = [StepsOf(name, [0.02], [0.01], peak, 2**30, (10.83, 9.0)) for name in names]
    measured = {steps.name: lambda steps=steps: steps for steps in found}
    monkeypatch.setattr(gpt2, "contestants", lambda c, rounds, compiled: measured.items())
    learned = {name: [11.0 - 0.02 * i for i in range(200)] for name in (FP16, FP32)}
    monkeypatch.setattr(curves, "measure_curves", lambda c: learned)


def test_a_race_shows_rates_and_ratios():
    lines = shown(race_table(RESULT))
    assert lines[0] == "product of two matrices: speed over that of PyTorch"
    assert lines[1] == "time host TFLOP/s ratio quartiles goals"
    assert lines[2] == "PyTorch 2 ms 10 µs 1000 1.000 1.000 to 1.000"
    assert lines[3] == "tinymp 4 ms 20 µs 500 0.500 0.500 to 0.500 ≥ 0.95 / 1"


@pytest.mark.usefixtures("_a_gpu")
def test_every_group_has_its_table_and_all_figures_are_written(tmp_path):
    out = tmp_path / "figures.json"
    result = CliRunner().invoke(app, ["bench", "gpu", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("NVIDIA H200, driver for CUDA 13.0")
    for text in ("product of two matrices", "10.8300", "largest gap", "met", "missed"):
        assert text in result.output
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert len(figures["races"]) == sum(len(make()) for make in suite.RACES.values())
    assert figures["failures"] == []
    race = figures["races"][0]
    assert race["contestants"]["tinymp"]["rate"] == 500
    assert race["contestants"]["tinymp"]["host_seconds"] == 2e-5
    assert race["unit"] == "TFLOP/s"
    assert figures["gpt2"]["contestants"][0]["peak_bytes"]["arrays"] == 5 * 2**30
    assert figures["gpt2"]["verdicts"][0]["met"] in (True, False)
    assert len(figures["curves"]["losses"][FP16]) == 200


@pytest.mark.usefixtures("_a_gpu")
def test_groups_are_chosen():
    result = CliRunner().invoke(app, ["bench", "gpu", "curves"])
    assert result.exit_code == 0
    assert "largest gap" in result.output
    assert "product" not in result.output


@pytest.mark.usefixtures("_a_gpu")
def test_what_fails_is_shown_and_the_rest_goes_on(tmp_path, monkeypatch):
    def fails(race, rounds):
        if "TF32" in race.name:
            raise RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED")
        return RESULT

    monkeypatch.setattr(GpuRace, "run", fails)
    out = tmp_path / "figures.json"
    result = CliRunner().invoke(app, ["bench", "gpu", "products", "curves", "--out", str(out)])
    assert result.exit_code == 1
    assert "TF32 failed: RuntimeError: CUBLAS_STATUS_NOT_SUPPORTED" in result.output
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert len(figures["failures"]) == 4
    assert len(figures["races"]) == 12
    assert figures["curves"]["verdicts"]


def test_without_a_gpu_it_says_what_is_missing():
    result = CliRunner().invoke(app, ["bench", "gpu", "products"])
    if result.exit_code == 0:
        pytest.skip("there is a GPU")
    assert result.exit_code == 2
    assert "device 'cuda:0' is not available" in result.stderr


def test_an_unknown_group_is_refused():
    result = CliRunner().invoke(app, ["bench", "gpu", "convnet"])
    assert result.exit_code == 2
    assert "unknown group 'convnet' of gpu; expected one of products, kernels" in result.stderr


def test_every_race_can_be_named():
    """Making the races makes no contestants: that needs a GPU."""
    names = [race.name for make in suite.RACES.values() for race in make()]
    assert len(names) == len(set(names)) > 30
