"""Casts of large and of small arrays, there and back, beside NumPy's and ml_dtypes' own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymp.bench.machine import installed
from tinymp.bench.measure import Contestant, Race
from tinymp.formats import DType, bfloat16, float8_e4m3fn, float16, pack, unpack

LARGE, SMALL = 1 << 24, 1 << 12


def _values(size: int) -> Any:
    return np.random.default_rng(0).standard_normal(size).astype(np.float32)


def _there_and_back(values: Any, dtype: DType, mode: str) -> Callable[[], Any]:
    return lambda: unpack(pack(values, dtype, mode), dtype)


def _peer_there_and_back(values: Any, peer: Any) -> Callable[[], Any]:
    return lambda: values.astype(peer).astype(np.float32)


def _bfloat16(size: int) -> list[Contestant]:
    import ml_dtypes

    values = _values(size)
    return [
        Contestant("ml_dtypes", _peer_there_and_back(values, ml_dtypes.bfloat16)),
        Contestant("tinymp, truncated", _there_and_back(values, bfloat16, "toward_zero")),
        Contestant("tinymp, to nearest", _there_and_back(values, bfloat16, "nearest_even")),
    ]


def _float16(size: int) -> list[Contestant]:
    values = _values(size)
    return [
        Contestant("NumPy", _peer_there_and_back(values, np.float16)),
        Contestant("tinymp", _there_and_back(values, float16, "nearest_even")),
    ]


def _float8(size: int) -> list[Contestant]:
    import ml_dtypes

    values = _values(size)
    return [
        Contestant("ml_dtypes", lambda: values.astype(ml_dtypes.float8_e4m3fn)),
        Contestant("tinymp", lambda: pack(values, float8_e4m3fn)),
    ]


def _copy(size: int) -> list[Contestant]:
    values = _values(size)
    there = np.empty_like(values)
    return [Contestant("NumPy", lambda: np.copyto(there, values))]


def _races() -> list[Race]:
    races = [Race("copy of 16M float32, for comparison", "NumPy", lambda: _copy(LARGE), speed=True)]
    for size, name in ((LARGE, "16M"), (SMALL, "4096")):
        large = size == LARGE
        if installed("ml_dtypes"):
            races.append(
                Race(
                    f"{name} float32 to BF16 and back",
                    "ml_dtypes",
                    lambda size=size: _bfloat16(size),  # type: ignore[misc]
                    speed=True,
                    goals={"tinymp, truncated": (1.0, 1.5)} if large else None,
                )
            )
        races.append(
            Race(
                f"{name} float32 to FP16 and back",
                "NumPy",
                lambda size=size: _float16(size),  # type: ignore[misc]
                speed=True,
                goals={"tinymp": (2.0, 3.0)} if large else None,
            )
        )
        if installed("ml_dtypes"):
            races.append(
                Race(
                    f"{name} float32 to FP8 E4M3",
                    "ml_dtypes",
                    lambda size=size: _float8(size),  # type: ignore[misc]
                    speed=True,
                    goals={"tinymp": (3.0, 4.0)} if large else None,
                )
            )
    return races


RACES = _races()
