"""The command line as a whole: help, version, and how it starts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tinymp.cli import app


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["bits", "--help"]])
def test_help(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith("tinymp")


def test_an_unknown_command_suggests_one() -> None:
    result = CliRunner().invoke(app, ["trian"])
    assert result.exit_code == 2
    assert "train" in result.stderr


def test_python_m_tinymp_runs_it_and_loads_no_plots() -> None:
    program = (
        "import sys, runpy; sys.argv = ['tinymp', 'bits', '0.5']\n"
        "try: runpy.run_module('tinymp', run_name='__main__')\n"
        "except SystemExit as end: code = end.code\n"
        "assert code == 0, code\n"
        "assert not {'matplotlib', 'safetensors', 'cupy'} & set(sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=False, encoding="utf-8"
    )
    assert result.returncode == 0, result.stderr
    assert "float16" in result.stdout


def test_a_pipe_that_knows_few_characters_is_no_reason_to_crash() -> None:
    """As on Windows, where a pipe may be in code page 1252, or an old terminal in ASCII."""
    result = subprocess.run(
        [sys.executable, "-m", "tinymp", "bits", "0.1"],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert result.returncode == 0, result.stderr
    assert b"0.0999755859375" in result.stdout
