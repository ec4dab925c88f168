"""What do n ones add up to, and n random numbers, in each format, rounding and order?"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.formats import dtype_of
from tinymp.lab.result import Curve, Panel, Result, own_randomness, powers_of_two
from tinymp.numerics import Accumulator, accumulator
from tinymp.numerics.summation import adder, sequential

Array = np.ndarray[Any, Any]

ROUNDINGS = {"nearest_even": "to nearest", "toward_zero": "truncated", "stochastic": "stochastic"}
_FORMATS = ("float16", "bfloat16")
_CHUNK = 64


def sums(longest: int = 8192, repeats: int = 32, seed: int = 0) -> Result:
    """Sums of n ones and of n uniform numbers, by accumulator and rounding.

    The uniform numbers are float16 numbers in [0, 1). Each figure is that of several sums, of other
    numbers or with other random bits: the mean of computed sum / exact sum, or the mean of the
    relative error's magnitude.

    Args:
        longest: largest n, a power of two from 32 on.
        repeats: number of sums.
        seed: which numbers.

    Raises:
        ValueError: another `longest`, or `repeats` below 1.
    """
    lengths = powers_of_two(16, longest)
    if len(lengths) < 2 or repeats < 1:
        raise ValueError(
            f"sums was given longest={longest} and repeats={repeats}; it takes 32 terms or more, "
            "and 1 repeat or more"
        )
    # Ones in the first columns, uniform numbers in the others: all are summed at the same time.
    uniform = np.random.default_rng(seed).random((longest, repeats)).astype(np.float16)
    x = np.hstack([np.ones((longest, repeats), np.float32), uniform])
    with own_randomness(seed):
        totals = _one_after_the_other(x, lengths)
        for name, how in _other_orders().items():
            totals[name] = [how.sum(x[:n], 0) for n in lengths]
    exact = [x[:n].sum(0, dtype=np.float64) for n in lengths]
    shares = {
        name: [s / e for s, e in zip(found, exact, strict=True)] for name, found in totals.items()
    }
    of_ones = {name: [float(s[:repeats].mean()) for s in found] for name, found in shares.items()}
    kept = {name: [float(s[repeats:].mean()) for s in found] for name, found in shares.items()}
    errors = {
        name: [float(np.abs(s[repeats:] - 1).mean()) for s in found]
        for name, found in shares.items()
    }
    # The sum of ones is where it stays if twice as many do not change it.
    stops = {
        name: int(found[-1][0]) if (found[-1] == found[-2])[:repeats].all() else None
        for name, found in totals.items()
    }
    return Result(
        name="sums",
        question="What do n terms add up to?",
        settings={"longest": longest, "repeats": repeats, "seed": seed},
        head=("accumulator", f"{longest:,} ones", "stops at", f"{longest:,} uniform", "error"),
        rows=tuple(
            (
                name,
                f"{of_ones[name][-1] * longest:,.6g}",
                "-" if (stop := stops[name]) is None else f"{stop:,}",
                f"{kept[name][-1]:.2%} of exact",
                f"{errors[name][-1]:.1e}",
            )
            for name in of_ones
        ),
        findings=_findings(kept, stops, longest),
        panels=(
            _ratios("ones, one after the other", lengths, of_ones),
            _ratios("uniform numbers, one after the other", lengths, kept),
            *(_errors(name, lengths, errors) for name in _FORMATS),
        ),
    )


def _one_after_the_other(x: Array, lengths: list[int]) -> dict[str, list[Array]]:
    """Sums of the first n rows, for each n, in each format and rounding."""
    ways = {
        f"{name}, {said}": adder(dtype_of(name), mode)
        for name in _FORMATS
        for mode, said in ROUNDINGS.items()
    }
    ways["float32"] = adder(dtype_of("float32"), "nearest_even")
    found: dict[str, list[Array]] = {name: [] for name in ways}
    for name, add in ways.items():
        total, done = np.zeros_like(x[0]), 0
        for n in lengths:  # a longer sum goes on where the shorter one ended
            total, done = sequential(add, x[done:n], total), n
            found[name].append(total)
    return found


def _other_orders() -> dict[str, Accumulator]:
    return {
        f"{name}, {said}": accumulator(order, dtype=name, rounding="nearest_even", **options)
        for name in _FORMATS
        for order, said, options in (
            ("chunked", f"chunks of {_CHUNK}", {"size": _CHUNK}),
            ("pairwise", "pairwise", {}),
            ("kahan", "Kahan", {}),
        )
    }


def _ratios(title: str, lengths: list[int], ratios: dict[str, list[float]]) -> Panel:
    names = [f"{name}, {said}" for name in _FORMATS for said in ROUNDINGS.values()]
    curves = [
        Curve(name, tuple(lengths), tuple(ratios[name]), style=i % 3, dashed=i >= 3)
        for i, name in enumerate(names)
    ]
    curves.append(Curve("float32", tuple(lengths), tuple(ratios["float32"]), style=6))
    label = "computed sum / exact sum"
    return Panel(title, "number of terms n", label, tuple(curves), y_limits=(0, 1.1))


def _errors(name: str, lengths: list[int], errors: dict[str, list[float]]) -> Panel:
    orders = [way for way in errors if way.startswith(f"{name},")]
    return Panel(
        f"uniform numbers, {name}, by order and rounding",
        "number of terms n",
        "mean |computed - exact| / exact",
        tuple(
            Curve(way.removeprefix(f"{name}, "), tuple(lengths), tuple(errors[way]), style=i)
            for i, way in enumerate(orders)
        ),
        y_scale="log",
    )


def _findings(
    kept: dict[str, list[float]], stops: dict[str, int | None], longest: int
) -> tuple[str, ...]:
    found = []
    for name in _FORMATS:
        if (stop := stops[f"{name}, to nearest"]) is not None:
            found.append(
                f"{name} ones stop at {stop:,} = 2^{dtype_of(name).precision}: the next number is "
                f"{stop + 2:,}; {stop + 1:,}, halfway, goes back to the even one."
            )
    found.append(
        f"Of {longest:,} uniform numbers, truncation to float16 keeps "
        f"{kept['float16, truncated'][-1]:.1%}: every error has the same sign, and the sum drifts. "
        f"Stochastic rounding follows, {kept['float16, stochastic'][-1]:.1%}: its errors cancel."
    )
    return tuple(found)
