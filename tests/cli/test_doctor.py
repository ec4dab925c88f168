"""`tinymp doctor`: what it prints, and its exit code."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tinymp.bench import checkup as module
from tinymp.bench.checkup import BROKEN, MISSING, Checkup, Finding, Rate
from tinymp.cli import app

ADVICE = 'run: python -m pip install "cupy-cuda13x[ctk]>=14.0"'


def doctor(monkeypatch: pytest.MonkeyPatch, found: Checkup, *arguments: str):
    monkeypatch.setattr(module, "checkup", lambda: found)
    return CliRunner().invoke(app, ["doctor", *arguments], env={"COLUMNS": "100"})


def test_this_machine_is_looked_at():
    result = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for subject in ("Python", "NumPy", "NVIDIA driver", "CuPy"):
        assert subject in result.output


def test_what_is_missing_comes_with_a_command_and_is_no_fault(monkeypatch):
    found = Checkup((Finding("CuPy", "not installed", MISSING, ADVICE),))
    result = doctor(monkeypatch, found)
    assert result.exit_code == 0
    assert f"CuPy: {ADVICE}" in result.output
    assert "runs here on the CPU" in result.output


def test_what_is_broken_ends_in_a_failure(monkeypatch):
    result = doctor(monkeypatch, Checkup((Finding("CuPy", "fails", BROKEN, ADVICE),)))
    assert result.exit_code == 1
    assert "does not work" in result.output


def test_rates_are_shown(monkeypatch):
    rates = (Rate("float16", True, 712e12, ""), Rate("float8", True, None, "decoded first"))
    result = doctor(monkeypatch, Checkup((Finding("CuPy", "14.2.0"),), rates, 4.21e12))
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert "float16 yes 712" in lines
    assert "float8 yes decoded first" in lines
    assert "copy on the GPU: 4.21 TB/s" in lines
    assert "are ready" in lines[-1]


def test_json(monkeypatch):
    result = doctor(monkeypatch, Checkup((Finding("CuPy", "fails", BROKEN),)), "--json")
    assert result.exit_code == 1
    assert json.loads(result.output)["findings"][0]["state"] == "broken"
