"""`tinymp bits`: what it prints is true and fits 80 columns; bad numbers are refused."""

from __future__ import annotations

from fractions import Fraction

import pytest
from typer.testing import CliRunner, Result

from tinymp.cli import app
from tinymp.cli.bits import exactly
from tinymp.formats import DTYPES, bfloat16, float16, float32
from tinymp.formats.anatomy import examine


def bits(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bits", *arguments], env={"COLUMNS": "80"})


def test_shows_sign_exponent_and_significand_of_every_format() -> None:
    output = bits("0.1").output
    for row in (
        "float64       0 01111111011 1001100110011001100110011001100110011001100110011010",
        "float32       0 01111011    10011001100110011001101",
        "float16       0 01011       1001100110",
        "bfloat16      0 01111011    1001100",
        "float8_e4m3fn 0 0011        101",
        "float8_e5m2   0 01011       10",
    ):
        assert row in output


def test_shows_the_exact_value_the_error_and_the_neighbours() -> None:
    lines = bits("0.1").output.splitlines()
    start = lines.index(next(line for line in lines if line.startswith("float16       0.09")))
    first, second = (line.split() for line in lines[start : start + 2])
    assert first == ["float16", "0.0999755859375", "-0.4", "ulp", "0.10003662109375"]
    assert second == ["nearest_even", "normal", "0.09991455078125"]
    assert float16.eps == Fraction(1, 1024)  # 0.1 lies 0.4 of 2^-14 above the stored 1638 · 2^-14


def test_bfloat16_cuts_by_default_and_rounds_when_asked() -> None:
    assert "bfloat16      0 01111011    1001100 " in bits("0.1").output
    assert "hardware rounds it" in bits("0.1").output
    nearest = bits("0.1", "--rounding", "nearest_even").output
    assert "bfloat16      0 01111011    1001101 " in nearest
    assert "hardware rounds it" not in nearest


def test_stochastic_rounding_repeats_with_its_seed() -> None:
    outputs = [
        bits("0.1", "--rounding", "stochastic", "--seed", seed).output for seed in "1123456789"
    ]
    assert outputs[0] == outputs[1]
    assert len(set(outputs)) > 1


@pytest.mark.parametrize("number", ["0.1", "-1e-8", "65520", "1e300", "-0", "nan", "-inf", "1/3"])
def test_fits_80_columns_without_colours(number: str) -> None:
    result = bits(number)
    assert result.exit_code == 0
    assert all(len(line) <= 80 for line in result.output.splitlines())
    assert "\x1b" not in result.output


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("65520", "overflow"),
        ("1e-8", "underflow"),
        ("6e-8", "subnormal"),
        ("0", "zero"),
        ("-inf", "infinity"),
        ("nan", "nan"),
        ("0.5", "exact"),
    ],
)
def test_names_what_happens_to_a_number(number: str, shown: str) -> None:
    assert shown in bits(number).output


def test_negative_zero_keeps_its_sign() -> None:
    table = bits("-0").output.partition("stored value")[2]
    assert table.count("-0 ") == 6


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype.is_float], ids=str)
@pytest.mark.parametrize("number", ["0.1", "1e-30", "-1e22", "123456789", "1e-320", "3e38"])
def test_the_value_shown_is_the_value_stored(dtype: object, number: str) -> None:
    row = examine(number, dtype)  # type: ignore[arg-type]
    shown = exactly(row)
    if row.exact is None:
        assert shown in ("inf", "-inf", "nan")
    elif "×" in shown:
        odd, power = shown.split(" × 2^")
        assert int(odd) * Fraction(2) ** int(power) == row.exact
    else:
        assert Fraction(shown) == row.exact


def test_bfloat16_and_float32_share_their_first_bits() -> None:
    wide, narrow = examine("0.1", float32), examine("0.1", bfloat16)
    assert wide.significand_bits.startswith(narrow.significand_bits)
    assert wide.exponent_bits == narrow.exponent_bits


def test_what_is_no_number_is_refused() -> None:
    result = bits("hello")
    assert result.exit_code == 2
    assert "cannot read 'hello' as a number; write a decimal" in result.stderr
    assert result.stdout == ""


def test_an_unknown_rounding_lists_the_modes() -> None:
    result = bits("0.1", "--rounding", "up")
    assert result.exit_code == 2
    assert "expected one of toward_zero, nearest_even, stochastic" in result.stderr
