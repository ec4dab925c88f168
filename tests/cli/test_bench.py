"""`tinymp bench`: tables, JSON, and the threads that all share."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
from typer.testing import CliRunner

from tinymp.bench import Contestant, Race, suite
from tinymp.bench.machine import thread_variables
from tinymp.cli import app
from tinymp.cli.duration import duration

RACE = Race(
    "counting",
    "slow",
    lambda: [Contestant("slow", lambda: sum(range(200))), Contestant("fast", lambda: None)],
    goals={"fast": (0.5, 0.1)},
)


@pytest.fixture(autouse=True)
def _one_small_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "GROUPS", {"counting": [RACE]})
    monkeypatch.setattr(suite, "NAMES", ("counting",))


def run(*arguments, threads=1):
    return CliRunner().invoke(
        app, ["bench", *arguments, f"--threads={threads}"], env=thread_variables(1)
    )


def test_a_table_and_json(tmp_path):
    out = tmp_path / "figures.json"
    result = run("--rounds", "3", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "counting: time over that of slow" in result.output
    assert "≤ 0.5 / 0.1" in result.output
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert figures["machine"]["threads"] == 1
    assert figures["machine"]["versions"]["numpy"] == np.__version__
    (race,) = figures["races"]
    assert race["contestants"]["slow"]["ratio"]["median"] == 1
    assert race["contestants"]["fast"]["goals"] == [0.5, 0.1]


def test_another_number_of_threads_takes_another_process(monkeypatch: pytest.MonkeyPatch):
    started = []

    def start(command, env, check):
        started.append((command, env["OMP_NUM_THREADS"], env["OPENBLAS_NUM_THREADS"]))
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, "run", start)
    result = run("counting", "--out", "x.json", threads=2)
    assert result.exit_code == 3
    ((command, *variables),) = started
    assert command[1:] == [
        "-m", "tinymp", "bench", "counting", "--rounds=21", "--threads=2", "--out=x.json",
    ]  # fmt: skip
    assert variables == ["2", "2"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["mpl"], "unknown group 'mpl'"),
        (["--rounds", "0"], "rounds must be at least 1, but 0 was given"),
        (["--out", "nowhere/x.json"], "nowhere is no folder; make it"),
    ],
)
def test_bad_input_is_refused(arguments, complaint):
    result = run(*arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_no_thread_is_refused():
    assert "threads must be at least 1" in run(threads=0).stderr


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.5, "2.5 s"), (0.0123, "12.3 ms"), (4.5e-6, "4.5 µs"), (3e-10, "0.3 ns"), (0.0, "0 ns")],
)
def test_durations_have_three_digits(seconds, text):
    assert duration(seconds) == text
