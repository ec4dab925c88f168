"""`tinymp compare`: what it shows and writes, and what it refuses."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from tinymp.amp.policy import POLICIES
from tinymp.cli import app
from tinymp.cli.comparison_report import insides, results
from tinymp.train import Run
from tinymp.train.comparison import summaries

SMALL = ["--epochs", "4", "--workers", "1"]


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def compare(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, ["compare", *arguments], env=environment)


def test_tables_verdicts_and_files() -> None:
    policies = "fp32,fp16,bf16-naive"
    result = compare("digits", "--policies", policies, "--seeds", "2", *SMALL, "--out", "a")
    assert result.exit_code == 0, result.output
    assert max(map(len, result.output.splitlines())) <= 100
    assert "…" not in result.output
    for text in (
        "Settings: digits, 4 epochs",
        "loss weight 2^-12",
        "within noise",
        "truncated",
        "underflow",
        "amplified",
        "(0.50), and gradients in 4,820 where it takes 9,640 (0.50)",
        "pooled standard deviations",
        "Everything is in a",
    ):
        assert text in " ".join(result.output.split())
    assert {file.name for file in Path("a").iterdir()} == {
        "table.txt", "figures.json", "comparison.png",
    }  # fmt: skip
    table = Path("a/table.txt").read_text(encoding="utf-8")
    assert all(name in table for name in policies.split(","))
    figures = json.loads(Path("a/figures.json").read_text(encoding="utf-8"))
    assert [run["seed"] for run in figures["runs"]] == [0, 1] * 3
    assert [p["policy"] for p in figures["policies"]] == policies.split(",")


def test_a_single_seed_has_no_verdict() -> None:
    result = compare("--policies", "fp32, bf16", "--seeds", "1", *SMALL)
    assert "A single seed says nothing about noise" in result.output
    assert "±  " not in result.output
    assert Path("runs/compare-digits/figures.json").exists()
    assert compare("--policies", "bf16", "--seeds", "1", *SMALL).exit_code == 0
    assert Path("runs/compare-digits-2/figures.json").exists()


def test_without_the_reference_it_says_so() -> None:
    result = compare("--policies", "bf16", "--seeds", "2", *SMALL)
    assert "Without fp32 among the policies there is no verdict" in result.output


def test_the_default_says_why_the_formats_differ_and_fast_is_shorter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def none(configured: list[Any], *_: Any) -> list[Any]:
        asked.append(configured)
        return []

    monkeypatch.setattr("tinymp.train.compare.compare", none)
    result = compare("--out", "a")
    assert "an image counts as much as a token in a batch of 6 million" in " ".join(
        result.output.split()
    )
    compare("--out", "b", TINYMP_FAST="1")
    compare("spelling", "--out", "c", "--seeds", "1", "--lr", "0.01")
    full, short, spelling = asked
    assert len(full) == 5 * len(POLICIES)
    assert len(short) < 15
    assert {c.data for c in spelling} == {"spelling"}
    assert {c.lr for c in spelling} == {0.01}


def test_the_tables_of_all_policies_fit_a_hundred_columns() -> None:
    runs = [
        Run(
            policy=name, seed=seed, curve=[], loss=0.25 + seed / 8, accuracy=0.9 - seed / 5,
            steps=600, skipped_steps=12, underflow=0.43, lost=0.768, amplified=0.2483,
            more_than_doubled=1e-5, memory={"gradients": {"float16": 9_640_000}}, step_seconds=0.15,
        )
        for name in POLICIES
        for seed in range(2)
    ]  # fmt: skip
    screen = Console(width=100, record=True, file=StringIO())
    screen.print(results(summaries(runs)))
    screen.print(insides(summaries(runs)))
    text = screen.export_text()
    assert "…" not in text
    for name in POLICIES:
        rows = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        reached = rows[0]
        assert "0.3125 ± 0.0884" in reached
        assert "80.0 ± 14.1" in reached
    assert "< 0.01" in text
    assert "9,640,000" in text


def test_ctrl_c_keeps_what_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinymp.train.compare import run

    calls = 0

    def interrupted(configuration: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return run(configuration)

    monkeypatch.setattr("tinymp.train.compare.run", interrupted)
    result = compare("--policies", "fp32,bf16", "--seeds", "2", *SMALL, "--out", "a")
    assert result.exit_code == 130
    assert "Interrupted: 2 of 4 runs are finished." in result.output
    figures = json.loads(Path("a/figures.json").read_text(encoding="utf-8"))
    assert len(figures["runs"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policies", "fp17"], f"'fp17'; expected one of {', '.join(POLICIES)}"),
        (["mnist"], "unknown data 'mnist'; expected one of digits, spelling"),
        (["--seeds", "0"], "seeds must be at least 1, but 0 was given"),
        (["--policies", ""], "no policies were given; name some of fp32,"),
        (["--policies", "fp16,fp16"], "policy 'fp16' was given twice; name each once"),
        (["--workers", "0"], "workers must be at least 1, but 0 was given"),
        (["--lr", "-1"], "lr must be a positive number, but -1.0 was given"),
        (["--optimizer", "lion"], "unknown optimizer 'lion'; expected one of adamw, sgd"),
        (["--out", "a file"], "a file is a file; choose the name of a folder"),
    ],
)
def test_bad_input_is_one_clear_line(arguments: list[str], message: str) -> None:
    Path("a file").touch()
    result = compare(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("tinymp: ")
    assert result.stdout == ""
    assert [path.name for path in Path().iterdir()] == ["a file"]


def test_earlier_figures_are_not_overwritten() -> None:
    Path("a").mkdir()
    Path("a/figures.json").write_text("{}", encoding="utf-8")
    result = compare(*SMALL, "--out", "a")
    assert result.exit_code == 2
    assert "a holds the figures of an earlier comparison; choose another" in result.stderr
    assert Path("a/figures.json").read_text(encoding="utf-8") == "{}"
