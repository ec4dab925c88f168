"""`tinymp lab`: what it lists, runs and writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tinymp.cli import app
from tinymp.lab import EXPERIMENTS


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments, **environment):
    return CliRunner().invoke(app, ["lab", *arguments], env=environment)


def test_alone_it_lists_the_experiments():
    result = run()
    assert result.exit_code == 0, result.output
    for name, experiment in EXPERIMENTS.items():
        assert f"tinymp lab {name}" in result.output
        assert experiment.what in result.output


@pytest.mark.parametrize("name", ["dots", "updates"])
def test_an_experiment_prints_its_table_and_fills_a_folder(name):
    result = run(name, "--quick", "--out", "here", "--seed", "3")
    assert result.exit_code == 0, result.output
    assert max(map(len, result.output.splitlines())) <= 100
    assert "…" not in result.output
    figures = json.loads(Path(f"here/{name}.json").read_text(encoding="utf-8"))
    assert figures["settings"]["seed"] == 3
    assert figures["settings"].items() >= EXPERIMENTS[name].quick.items()
    for row in figures["rows"]:
        assert row[0] in result.output
    for finding in figures["findings"]:
        assert finding in " ".join(result.output.split())
    assert Path(f"here/{name}.png").exists()
    assert Path(f"here/{name}.txt").exists()


def test_the_environment_asks_for_the_shortest_form():
    assert run("updates", TINYMP_FAST="1").exit_code == 0
    figures = json.loads(Path("runs/lab/updates.json").read_text(encoding="utf-8"))
    assert figures["settings"]["count"] == EXPERIMENTS["updates"].quick["count"]


def test_what_is_wrong_is_said_in_one_line():
    result = run("summs")
    assert result.exit_code == 2
    assert "unknown experiment 'summs'; expected one of sums, dots" in result.stderr
    assert run("sums", "--seed", "-1").exit_code == 2
    Path("file").write_text("", encoding="utf-8")
    result = run("updates", "--quick", "--out", "file")
    assert result.exit_code == 2
    assert "file" in result.stderr
