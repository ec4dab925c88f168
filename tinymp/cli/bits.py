"""`tinymp bits 0.1`: one number, as every format stores it."""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tinymp.cli.console import bad_input, console
from tinymp.formats import DTYPES, MODES, bfloat16
from tinymp.formats.anatomy import Anatomy, examine

_SIGN, _EXPONENT, _SIGNIFICAND = "bold red", "bold green", "bold cyan"
_LONGEST_DECIMAL = 60  # characters: two lines of the value column in 80
_ALL_DIGITS = Context(prec=1100)  # a float64 has at most 767 significant ones


def bits(
    number: Annotated[
        str,
        typer.Argument(
            help="A decimal (0.1, -3e-5), a fraction (1/3), a hexadecimal float, inf or nan."
        ),
    ],
    rounding: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(MODES)}; by default each format's own: bfloat16 cuts the bits off "
            "(toward_zero), all others go to the nearest (nearest_even).",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Which random bits stochastic rounding adds.")] = 0,
) -> None:
    """Show a number's bits, stored value, error and neighbours in every format."""
    from tinymp.devices import manual_seed

    with bad_input():
        manual_seed(seed)
        rows = [examine(number, dtype, rounding) for dtype in DTYPES if dtype.is_float]
    console().print(report(number, rows))


def report(number: str, rows: list[Anatomy]) -> RenderableType:
    """Two tables, 80 characters wide: the bits of each format, and what they stand for."""
    return Group(
        Text(f"{number} in every format", style="bold"),
        "",
        _bits_table(rows),
        "",
        _values_table(rows),
        "",
        *_legend(rows),
    )


def _bits_table(rows: list[Anatomy]) -> Table:
    # A float64 fits 80 characters exactly: a name of 13, 64 bits, and three gaps of one.
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("format", no_wrap=True)
    table.add_column("±", style=_SIGN, header_style=_SIGN, no_wrap=True)
    table.add_column("exponent", style=_EXPONENT, header_style=_EXPONENT, no_wrap=True)
    table.add_column("significand", style=_SIGNIFICAND, header_style=_SIGNIFICAND, no_wrap=True)
    for row in rows:
        table.add_row(row.dtype.name, row.sign_bit, row.exponent_bits, row.significand_bits)
    return table


def _values_table(rows: list[Anatomy]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("format\nrounding", no_wrap=True)
    table.add_column("stored value, exactly", overflow="fold")
    table.add_column("error\nkind", no_wrap=True)
    table.add_column("next above\nnext below", no_wrap=True)
    for i, row in enumerate(rows):
        if i:
            table.add_row()
        rounds = row.rounding
        table.add_row(
            Text(row.dtype.name) + Text(f"\n{rounds}", style="dim"),
            exactly(row),
            error(row) + Text("\n") + kind(row),
            f"{_neighbour(row.above)}\n{_neighbour(row.below)}",
        )
    return table


def exactly(row: Anatomy) -> str:
    """The stored value, unrounded: in decimal, or as m × 2^e where that is too long to read."""
    if row.exact is None:
        return repr(row.value)
    decimal = Decimal(row.value).normalize(_ALL_DIGITS)
    plain = row.value == 0 or 1e-4 <= abs(row.value) < 1e16
    text = f"{decimal:f}" if plain else f"{decimal:e}"
    if len(text) <= _LONGEST_DECIMAL:
        return text
    odd, power = _odd_times_power_of_two(row.exact)
    return f"{odd} × 2^{power}"


def error(row: Anatomy) -> Text:
    """How far the stored value lies from the given one, in units in the last place."""
    if row.error_ulps is None:
        return Text("–") if row.given is None else Text("overflow", style="bold yellow")
    if row.error_ulps == 0:
        return Text("exact", style="green")
    return Text(f"{float(row.error_ulps):+.3g} ulp")


def kind(row: Anatomy) -> Text:
    """The class of the stored value; "underflow" for a zero that was none."""
    if row.kind == "zero" and row.given:
        return Text("underflow", style="bold yellow")
    return Text(row.kind, style="dim" if row.kind in ("normal", "zero") else "yellow")


def _odd_times_power_of_two(value: Fraction) -> tuple[int, int]:
    power = (value.numerator & -value.numerator).bit_length() - value.denominator.bit_length()
    return int(value / Fraction(2) ** power), power


def _neighbour(value: float | None) -> str:
    return "–" if value is None else repr(value)


def _legend(rows: list[Anatomy]) -> list[Text]:
    lines = [
        "value = ±1.significand × 2^(exponent - bias), bias = 2^(exponent bits - 1) - 1;",
        "with an exponent of zeros (subnormal numbers) ±0.significand × 2^(1 - bias).",
        "error = stored - given, in ulps: spacings of the format's numbers at this size.",
    ]
    if any(row.dtype is bfloat16 and row.rounding == "toward_zero" for row in rows):
        lines.append(
            "bfloat16 is cut out of float32; hardware rounds it instead: --rounding nearest_even."
        )
    return [Text(line, style="dim") for line in lines]
