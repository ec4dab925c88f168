"""`tinymp verify`: all holds here, and what does not hold is shown."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from tinymp.cli import app
from tinymp.formats import dtype_of
from tinymp.testing import peers, verify


def run(*arguments):
    return CliRunner().invoke(app, ["verify", *arguments], env={"COLUMNS": "80"})


def test_everything_holds_on_this_machine():
    result = run("--seed", "7")
    assert result.exit_code == 0, result.output
    assert " no\n" not in result.output
    assert "promises hold on cpu" in result.output
    assert all(len(line) <= 80 for line in result.output.splitlines())


def test_what_does_not_hold_is_shown(monkeypatch: pytest.MonkeyPatch):
    def wrong(values, dtype, mode, random_words=None):
        with np.errstate(all="ignore"):  # truncation, whatever was asked for, and careless of NaN
            return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)

    monkeypatch.setattr(verify, "DTYPES", [verify.bfloat16])
    monkeypatch.setattr(verify, "encode", wrong)
    result = run()
    assert result.exit_code == 1
    assert "bfloat16, nearest_even: the laws of rounding" in result.output
    assert "broken by" in result.output


def test_bad_input_is_refused():
    result = run("--device", "tpu")
    assert result.exit_code == 2
    result = run("--seed", "-1")
    assert result.exit_code == 2
    assert "a seed is 0 or more, but -1 was given" in result.stderr


def test_other_libraries_encoders_are_reported():
    result = run("--encoder", "numpy")
    assert result.exit_code == 0, result.output
    assert "3 of 3 encoders of numpy keep all (30,000 values)." in result.output
    result = run("--encoder", "jax")
    assert result.exit_code == 2
    assert "no encoders of 'jax' are known, only of ml_dtypes, numpy, torch" in result.stderr


def test_what_an_encoder_breaks_is_shown(monkeypatch):
    def through_float32(name):
        return lambda values: values.astype(np.float32).astype(name)

    names = ("float16", "float32")
    twice = [(f"numpy.{name}", dtype_of(name), through_float32(name)) for name in names]
    monkeypatch.setattr(peers, "encoders_of", lambda library: twice)
    result = run("--encoder", "numpy")
    assert result.exit_code == 1
    assert all(len(line) <= 80 for line in result.output.splitlines())
    text = " ".join(result.output.split())
    assert "numpy.float16 from float32 10 of 10 laws of rounding 10,000 yes" in text
    assert "numpy.float16 from float64 7 of 10 laws of rounding 10,000 no" in text
    assert "2 of 3 encoders of numpy keep all" in text
