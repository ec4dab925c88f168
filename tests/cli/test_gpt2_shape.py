"""`tinymp train gpt2-shape`: what it prints, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tinymp.cli import app

TINY = [
    *("gpt2-shape", "--steps", "5", "--layers", "1", "--width", "8", "--heads", "2"),
    *("--vocabulary", "20", "--context", "4", "--batch-size", "2"),
]


def train(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["train", *arguments], env={"COLUMNS": "100"})


def test_time_and_memory_are_shown_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = train(*TINY, "--policy", "fp16")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(
        "GPT 1×8, 2 heads, vocabulary 20, 2×4 tokens, policy fp16, on cpu\n"
    )
    for row in ("step", "quartiles", "tokens a second", "parameters", "loss scale"):
        assert row in result.output
    lines = [line.split() for line in result.output.splitlines()]
    assert ["weights", "float16", "0.0", "2.00"] in lines
    assert ["master", "weights", "float32", "0.0", "4.00"] in lines
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["gpt2-shape", "--steps", "3"], "3 steps were given, but the first 3 warm up"),
        (["digits", "--steps", "9"], "--steps belongs to gpt2-shape"),
        (["gpt2-shape", "--steps", "9", "--epochs", "9"], "the place of --epochs"),
        (["gpt2-shape", "--out", "x"], "gpt2-shape keeps nothing; leave out --out"),
        (["digits", "--vocabulary", "9"], "vocabulary was given, but digits .* no such setting"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], complaint: str) -> None:
    result = train(*arguments)
    assert result.exit_code == 2
    assert re.search(complaint, result.stderr)


def test_running_out_of_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(training: object) -> None:
        raise MemoryError("out of memory on cuda:0: 3.00 GiB were asked for")

    monkeypatch.setattr("tinymp.bench.step_cost.step_cost", full)
    result = train(*TINY)
    assert result.exit_code == 1
    assert result.stderr == "tinymp: out of memory on cuda:0: 3.00 GiB were asked for\n"
