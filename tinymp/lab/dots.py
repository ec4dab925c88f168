"""How does the error of a dot product grow with its length, and what do the bounds say?"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, sqrt
from typing import Any

import numpy as np

from tinymp.formats import DType, dtype_of
from tinymp.lab.result import Curve, Panel, Result, own_randomness, powers_of_two, relative
from tinymp.lab.sums import ROUNDINGS
from tinymp.numerics.bounds import gamma
from tinymp.numerics.summation import adder, sequential

Array = np.ndarray[Any, Any]

_KINDS = ("terms of both signs", "positive terms")


def dots(
    longest: int = 4096,
    repeats: int = 32,
    seed: int = 0,
    formats: Sequence[str] = ("float16", "bfloat16", "float32"),
) -> Result:
    """Error of dot products of float16 vectors, summed one product after the other.

    The products are exact in float32; every partial sum is rounded to a format. Shown is the worst
    of several dot products, |computed - exact| / Σ|xᵢyᵢ|, with two lines: γ_n = nu / (1 - nu), a
    bound that always holds (see `numerics.bounds`), and √n u, about what independent errors of mean
    zero amount to. Both are drawn for u = 2^(1 - p), which serves every rounding; to nearest, u is
    half of that.

    Args:
        longest: largest n, a power of two.
        repeats: number of dot products of each length.
        seed: which numbers: normal ones ("of both signs"), and uniform ones in [0, 1).
        formats: those of the partial sums.

    Raises:
        ValueError: `longest` is no power of two from 16 on, or `repeats` is below 1.
    """
    lengths = powers_of_two(16, longest)
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, but {repeats} was given")
    rng = np.random.default_rng(seed)
    shape = (longest, repeats)
    vectors = [
        np.hstack([rng.standard_normal(shape), rng.random(shape)]).astype(np.float16)
        for _ in range(2)
    ]
    x, y = (v.astype(np.float32) for v in vectors)
    products = x * y
    with own_randomness(seed):
        errors = {
            (name, mode): _worst_errors(products, dtype_of(name), mode, lengths)
            for name in formats
            for mode in ROUNDINGS
        }
    limits = {name: _limits(dtype_of(name), lengths) for name in formats}
    return Result(
        name="dots",
        question="How wrong is a dot product of n terms?",
        settings={
            "longest": longest, "repeats": repeats, "seed": seed, "formats": list(formats),
        },
        head=("partial sums", *(f"{kind}, n = {longest:,}" for kind in _KINDS), "γ_n", "√n u"),
        rows=tuple(
            (
                f"{name}, {ROUNDINGS[mode]}",
                *(relative(errors[name, mode][kind][-1]) for kind in range(2)),
                *("none" if limit is None else relative(limit) for limit in _last(limits[name])),
            )
            for name, mode in errors
        ),
        findings=_findings(errors, limits, lengths),
        panels=tuple(
            Panel(
                f"{name}, {kind}",
                "number of terms n",
                "worst |computed - exact| / Σ|xᵢyᵢ|",
                (
                    *(
                        Curve(said, tuple(lengths), tuple(errors[name, mode][i]), style=j)
                        for j, (mode, said) in enumerate(ROUNDINGS.items())
                    ),
                    *(
                        Curve(f"{label}, u = 2^{1 - dtype_of(name).precision}",
                              tuple(lengths), limit, "bound")
                        for label, limit in zip(("γ_n", "√n u"), limits[name], strict=True)
                    ),
                ),
                y_scale="log",
            )
            for i, kind in enumerate(_KINDS)
            for name in formats
        ),
        columns=len(formats),
    )  # fmt: skip


def _worst_errors(
    products: Array, dtype: DType, mode: str, lengths: list[int]
) -> tuple[list[float], list[float]]:
    """For terms of both signs, and for positive ones: the worst error of each length."""
    add, total, done = adder(dtype, mode), np.zeros_like(products[0]), 0
    both, positive = [], []
    for n in lengths:
        total, done = sequential(add, products[done:n], total), n
        terms = products[:n].astype(np.float64)
        error = np.abs(total - terms.sum(0)) / np.abs(terms).sum(0)
        half = len(error) // 2
        both.append(float(error[:half].max()))
        positive.append(float(error[half:].max()))
    return both, positive


def _limits(dtype: DType, lengths: list[int]) -> tuple[tuple[float | None, ...], ...]:
    u = dtype.unit_roundoff("stochastic")
    worst = [gamma(n, u) for n in lengths]
    return tuple(w if isfinite(w) else None for w in worst), tuple(sqrt(n) * u for n in lengths)


def _last(limits: tuple[tuple[float | None, ...], ...]) -> list[float | None]:
    return [limit[-1] for limit in limits]


def _findings(
    errors: dict[tuple[str, str], tuple[list[float], list[float]]],
    limits: dict[str, tuple[tuple[float | None, ...], ...]],
    lengths: list[int],
) -> tuple[str, ...]:
    found = []
    pairs = [
        (error, limit)
        for (name, _), kinds in errors.items()
        for kind in kinds
        for error, limit in zip(kind, limits[name][0], strict=True)
        if limit is not None
    ]
    held = sum(error <= limit for error, limit in pairs)
    found.append(f"γ_n holds for {held} of {len(pairs)} points; it is never below what happens.")
    for mode, said in ROUNDINGS.items():
        passed = [
            f"{name} from n = {first:,} on"
            for name, of_mode in errors
            if of_mode == mode
            and (first := _first_above(errors[name, mode][1], limits[name][1], lengths))
        ]
        found.append(
            f"Positive terms, {said}: "
            + (f"above √n u in {', '.join(passed)}." if passed else "below √n u throughout.")
        )
    return tuple(found)


def _first_above(
    error: list[float], limit: tuple[float | None, ...], lengths: list[int]
) -> int | None:
    """The first length from which on the errors stay above the limit."""
    first = None
    for e, bound, n in zip(error, limit, lengths, strict=True):
        above = bound is not None and e > bound
        first = (first or n) if above else None
    return first
