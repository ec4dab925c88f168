"""How wrong is a matrix product, by the accumulator that makes it, and whose bits does it have?"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.devices import get_device
from tinymp.formats import float16, float32
from tinymp.lab.result import Curve, Panel, Result, own_randomness, powers_of_two, relative
from tinymp.numerics import ARCHITECTURES, Accumulator, accumulator
from tinymp.numerics.bounds import gamma, tensor_core_bound
from tinymp.numerics.packed import Packed

Array = np.ndarray[Any, Any]

_CORE = "tensor core, hopper"
_REFERENCE = "float64"
_UNIT = float32.unit_roundoff("nearest_even")


def matmul(longest: int = 4096, size: int = 32, seed: int = 0) -> Result:
    """Error of float16 matrix products by accumulator, against float64 and the tensor core.

    Shown are the largest error, |C - AB| / |A||B| elementwise, AB being the product in float64; how
    many elements have the very bits of Hopper's tensor core; and, for positive matrices, the mean
    of (C - AB) / AB, which shows errors that have a sign.

    Args:
        longest: largest inner length, a power of two.
        size: rows and columns of the product.
        seed: which numbers: normal ones, and for the last figure uniform ones in [0, 1).

    Raises:
        ValueError: `longest` is no power of two from 16 on, or `size` is below 1.
    """
    lengths = powers_of_two(16, longest)
    if size < 1:
        raise ValueError(f"size must be at least 1, but {size} was given")
    rng = np.random.default_rng(seed)
    shapes = (size, longest), (longest, size)
    normal = [rng.standard_normal(shape).astype(np.float16) for shape in shapes]
    positive = [rng.random(shape).astype(np.float16) for shape in shapes]
    wide, narrow = _float32_accumulators(), _float16_accumulators()
    with own_randomness(seed):
        products = {
            name: [_product(how, normal, k) for k in lengths]
            for name, how in (wide | narrow).items()
        }
        of_positive = {
            name: [_product(how, positive, k) for k in lengths] for name, how in wide.items()
        }
    worst = {name: _worst(found, normal, lengths) for name, found in products.items()}
    same = {
        name: [float((c == core).mean()) for c, core in zip(found, products[_CORE], strict=True)]
        for name, found in products.items()
    }
    drift = {name: _drift(found, positive, lengths) for name, found in of_positive.items()}
    core = ARCHITECTURES["hopper"].instructions[float16]
    return Result(
        name="matmul",
        question="How wrong is a float16 matrix product, and whose bits has it?",
        settings={"longest": longest, "size": size, "seed": seed},
        head=("accumulator", f"error, k = {longest:,}", "of hopper's bits", "mean, positive"),
        rows=tuple(
            (
                name,
                relative(worst[name][-1]),
                f"{same[name][-1]:.1%}",
                f"{drift[name][-1]:+.1e}" if name in drift else "-",
            )
            for name in products
        ),
        findings=_findings(worst, same, drift, longest),
        panels=(
            _panel(
                "accumulated in float32", "worst |C - AB| / |A||B|", lengths,
                {name: worst[name] for name in wide if name != _REFERENCE},
                {
                    "γ_k, u = 2^-24": [gamma(k, _UNIT) for k in lengths],
                    "bound of hopper's": [tensor_core_bound(k, core) for k in lengths],
                },
            ),
            _panel(
                "accumulated in 2 bytes", "worst |C - AB| / |A||B|", lengths,
                {name: worst[name] for name in narrow}, {},
            ),
            _panel(
                "bits of Hopper's tensor core", "share of elements, %", lengths,
                {name: [100 * x for x in same[name]] for name in wide if name != _CORE}, {}, False,
            ),
            _panel(
                "positive matrices: errors that have a sign", "mean (C - AB) / AB", lengths,
                {name: drift[name] for name in wide if name != _REFERENCE}, {}, False,
            ),
        ),
    )  # fmt: skip


def _float32_accumulators() -> dict[str, Accumulator]:
    cores = {
        f"tensor core, {name}": accumulator("tensor_core", architecture=name)
        for name in ARCHITECTURES
    }
    return {
        **cores,
        "float32, as NumPy does": accumulator("float32"),
        "float32, in order": accumulator("sequential", dtype="float32", rounding="nearest_even"),
        _REFERENCE: accumulator("float64"),
    }


def _float16_accumulators() -> dict[str, Accumulator]:
    half = {"dtype": "float16", "rounding": "nearest_even"}
    return {
        "float16": accumulator("sequential", **half),
        "float16, truncated": accumulator("sequential", dtype="float16", rounding="toward_zero"),
        "float16, stochastic": accumulator("stochastic"),
        "float16, chunks of 64": accumulator("chunked", size=64, **half),
        "float16, pairwise": accumulator("pairwise", **half),
        "float16, Kahan": accumulator("kahan", **half),
        "bfloat16": accumulator("sequential", dtype="bfloat16", rounding="nearest_even"),
    }


def _product(how: Accumulator, factors: list[Array], k: int) -> Array:
    """Product of the first `k` columns and rows of two matrices, as float32."""
    a, b = factors
    left, right = Packed(a[:, :k], float16), Packed(b[:k], float16)
    return np.asarray(how.packed_matmul(get_device("cpu"), left, right))


def _worst(found: list[Array], factors: list[Array], lengths: list[int]) -> list[float]:
    a, b = (x.astype(np.float64) for x in factors)
    return [
        float((np.abs(c - a[:, :k] @ b[:k]) / (np.abs(a[:, :k]) @ np.abs(b[:k]))).max())
        for c, k in zip(found, lengths, strict=True)
    ]


def _drift(found: list[Array], factors: list[Array], lengths: list[int]) -> list[float]:
    a, b = (x.astype(np.float64) for x in factors)
    return [float((c / (a[:, :k] @ b[:k]) - 1).mean()) for c, k in zip(found, lengths, strict=True)]


def _panel(
    title: str,
    y_label: str,
    lengths: list[int],
    measured: dict[str, list[float]],
    bounds: dict[str, list[float]],
    logarithmic: bool = True,
) -> Panel:
    x = tuple(lengths)
    # One accumulator looks the same in every panel.
    styles = {
        name: i
        for group in (_float32_accumulators(), _float16_accumulators())
        for i, name in enumerate(group)
    }
    curves = [Curve(name, x, tuple(y), style=styles[name]) for name, y in measured.items()]
    curves += [Curve(name, x, tuple(y), "bound") for name, y in bounds.items()]
    return Panel(
        title, "inner length k", y_label, tuple(curves), "log" if logarithmic else "linear"
    )


def _findings(
    worst: dict[str, list[float]],
    same: dict[str, list[float]],
    drift: dict[str, list[float]],
    longest: int,
) -> tuple[str, ...]:
    plain = "float32, in order"
    return (
        f"At k = 16 a plain float32 loop has Hopper's bits in {same[plain][0]:.0%} of the "
        f"elements, at k = {longest:,} in {same[plain][-1]:.0%}.",
        "Tensor cores cut instead of rounding: of positive matrices Hopper's products are too "
        f"small, by {-drift[_CORE][-1]:.1e} on average; those of the loop are off by "
        f"{drift[plain][-1]:+.1e}.",
        f"A float16 accumulator is off by {worst['float16'][-1]:.0e}, "
        f"{worst['float16'][-1] / worst[_CORE][-1]:,.0f} times as much as Hopper.",
    )
