"""Where do updates vanish? w + δ in a format, for updates of every size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinymp.formats import DType, decode, dtype_of, encode
from tinymp.inspect import update_report
from tinymp.lab.result import Curve, Panel, Result, own_randomness
from tinymp.lab.sums import ROUNDINGS

Array = np.ndarray[Any, Any]

_CLASSES = ("lost", "exact", "amplified")
_Shares = dict[str, list[float]]


def updates(
    count: int = 4000, seed: int = 0, formats: Sequence[str] = ("bfloat16", "float16")
) -> Result:
    """What becomes of w + δ when it is rounded, by the size of δ beside w.

    Weights are positive, updates of both signs, and both random numbers of the format; an update of
    size 2^-j has an exponent j below its weight's. An update is *lost* if the weight stays as it
    was, *exact* if the weight moves by δ, *amplified* if it moves further. What *arrives* is the
    mean of (what the weight moved by) / δ, apart for updates that enlarge the weight and those that
    shrink it: 1 is right.

    Args:
        count: number of weights for each size.
        seed: which numbers.
        formats: names of formats to compare.

    Raises:
        ValueError: `count` is below 1, or no format was named.
    """
    if count < 1 or not formats:
        raise ValueError(
            f"updates was given count={count}, formats={list(formats)}; it takes a count of 1 or "
            "more, and a format or more"
        )
    dtypes = [dtype_of(name) for name in formats]
    sizes = list(range(0, max(dtype.precision for dtype in dtypes) + 5))
    rng = np.random.default_rng(seed)
    with own_randomness(seed):
        found = {
            (dtype.name, mode): _by_size(rng, dtype, mode, sizes, count)
            for dtype in dtypes
            for mode in ROUNDINGS
        }
    exponents = tuple(-float(j) for j in sizes)
    return Result(
        name="updates",
        question="Where do updates vanish?",
        settings={"count": count, "seed": seed, "formats": list(formats)},
        head=("format", "all lost from |δ|/|w| =", "half lost at", "2^-9: enlarging", "shrinking"),
        rows=tuple(
            (
                f"{name}, {ROUNDINGS[mode]}",
                _first(shares["lost"], 1.0),
                _first(shares["lost"], 0.5),
                f"{shares['enlarging'][9]:.0%} arrive",
                f"{shares['shrinking'][9]:.0%} arrive",
            )
            for (name, mode), shares in found.items()
        ),
        findings=_findings(found, dtypes),
        panels=(
            *(
                Panel(
                    f"{said}: what happens",
                    "log2 of |δ| / |w|",
                    "share of updates, %",
                    tuple(
                        Curve(
                            f"{name}: {kind}",
                            exponents,
                            tuple(100 * share for share in found[dtype.name, mode][kind]),
                            style=_CLASSES.index(kind),
                            dashed=i > 0,
                        )
                        for i, (name, dtype) in enumerate(zip(formats, dtypes, strict=True))
                        for kind in _CLASSES
                    ),
                    y_limits=(-3, 103),
                    x_scale="linear",
                )
                for mode, said in ROUNDINGS.items()
            ),
            *(
                Panel(
                    f"{said}: what arrives",
                    "log2 of |δ| / |w|",
                    "mean of moved / δ",
                    tuple(
                        Curve(
                            f"{name}: {kind}",
                            exponents,
                            tuple(found[dtype.name, mode][kind]),
                            style=3 + j,
                            dashed=i > 0,
                        )
                        for i, (name, dtype) in enumerate(zip(formats, dtypes, strict=True))
                        for j, kind in enumerate(("enlarging", "shrinking"))
                    ),
                    y_limits=(-0.2, 4.2),
                    x_scale="linear",
                )
                for mode, said in ROUNDINGS.items()
            ),
        ),
        columns=3,
    )


def _by_size(
    rng: np.random.Generator, dtype: DType, mode: str, sizes: list[int], count: int
) -> _Shares:
    shares: _Shares = {name: [] for name in (*_CLASSES, "enlarging", "shrinking")}
    for j in sizes:
        w, size = (decode(encode(1 + rng.random(count), dtype, "toward_zero"), dtype) for _ in "wδ")
        sign = np.where(np.arange(count) % 2, 1.0, -1.0)
        delta = (sign * np.ldexp(size.astype(np.float64), -j)).astype(np.float64)
        moved = decode(encode(w + delta, dtype, mode), dtype).astype(np.float64) - w
        report = update_report(w, w + moved, delta)
        shares["lost"].append(report.lost_share)
        shares["exact"].append(float((moved == delta).mean()))
        shares["amplified"].append(report.amplified_share)
        shares["enlarging"].append(float((moved / delta)[sign > 0].mean()))
        shares["shrinking"].append(float((moved / delta)[sign < 0].mean()))
    return shares


def _first(lost: list[float], share: float) -> str:
    """The largest size from which on at least this share is lost."""
    enough = [all(x >= share for x in lost[j:]) for j in range(len(lost))]
    return f"2^-{enough.index(True)}" if True in enough else "never"


def _findings(found: dict[tuple[str, str], _Shares], dtypes: list[DType]) -> tuple[str, ...]:
    lines = []
    for dtype in dtypes:
        cut = found[dtype.name, "toward_zero"]
        nearest = found[dtype.name, "nearest_even"]
        random = found[dtype.name, "stochastic"]
        j = dtype.precision + 2
        lines.append(
            f"{dtype.name} (p = {dtype.precision}), updates of 2^-{j}: to nearest "
            f"{nearest['lost'][j]:.0%} are lost. Truncated, {cut['enlarging'][j]:.0%} of what "
            f"would enlarge a weight arrives, and {cut['shrinking'][j]:.1f} times what would "
            f"shrink it; stochastically {random['enlarging'][j]:.0%} and "
            f"{random['shrinking'][j]:.0%}."
        )
    return tuple(lines)
