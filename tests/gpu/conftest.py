"""What the kernels' tests share: operands on a GPU, and what results are allowed to be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinymp.devices import get_device
from tinymp.devices.kernels.twin import Target
from tinymp.formats import DType, bfloat16, decode, encode, float16, float32, int64
from tinymp.numerics.kit import Packed, kit

U = 2.0**-24  # unit roundoff of float32
ROUNDINGS = [
    (float16, "nearest_even"),
    (float16, "toward_zero"),
    (bfloat16, "nearest_even"),
    (bfloat16, "toward_zero"),
    (float32, "nearest_even"),
]


class Bench:
    """A GPU and the ways to and from it."""

    def __init__(self) -> None:
        self.gpu = get_device("cuda")
        self.rules = kit("cpu")

    def packed(self, values: Any, dtype: DType) -> Packed:
        """Values on the GPU as `dtype` stores them, rounded to nearest."""
        words = encode(np.asarray(values, np.float32), dtype, "nearest_even")
        return Packed(self.gpu.asarray(words.view(dtype.storage)), dtype)

    def put(self, array: Any) -> Any:
        return self.gpu.asarray(np.asarray(array))

    def integers(self, array: Any) -> Packed:
        return Packed(self.put(np.asarray(array, np.int64)), int64)

    def numpy(self, array: Any) -> Any:
        return self.gpu.to_numpy(array)

    def values(self, storage: Any, dtype: DType) -> Any:
        """What is stored, as NumPy float32 values."""
        array = storage.storage if isinstance(storage, Packed) else storage
        return decode(self.numpy(array).view(dtype.words), dtype)

    def exact(self, packed: Packed | None) -> Any:
        """What is stored, as float64 values."""
        return None if packed is None else self.values(packed, packed.dtype).astype(np.float64)

    @staticmethod
    def check(result: Any, exact: Any, bound: Any, dtype: DType, mode: str) -> None:
        """Assert that `result`, of float32 error `bound`, was rounded to `dtype` once."""
        assert result.shape == np.shape(exact)
        reach = np.abs(exact) + bound
        allowed = bound + dtype.unit_roundoff(mode) * reach + dtype.smallest_subnormal
        error = np.abs(result.astype(np.float64) - exact)
        worst = np.unravel_index(np.argmax(error - allowed), error.shape) if error.size else ()
        assert (error <= allowed).all(), (
            f"at {worst}: {result[worst]} for {exact[worst]}, allowed {allowed[worst]}"
        )

    @staticmethod
    def same_kind(result: Any, expected: Any) -> None:
        """Assert NaN where NaN is expected and infinities of the sign where those are."""
        np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
        infinite = np.isinf(expected)
        np.testing.assert_array_equal(result[infinite], expected[infinite])
        assert not np.isinf(result[~infinite]).any()


@pytest.fixture(scope="session")
def bench() -> Bench:
    """Give the first GPU; skip, with the reason, where there is none."""
    try:
        return Bench()
    except RuntimeError as missing:
        pytest.skip(str(missing))


@pytest.fixture(params=ROUNDINGS, ids=lambda p: f"{p[0].name}-{p[1]}")
def target(request: pytest.FixtureRequest) -> Target:
    """Give each format and deterministic mode in which kernels store results."""
    return Target(*request.param)


def random(shape: Any, seed: int = 0, scale: float = 1.0, shift: float = 0.0) -> Any:
    """Normal numbers."""
    rng = np.random.default_rng([seed, *np.atleast_1d(shape)])
    return (rng.standard_normal(shape) * scale + shift).astype(np.float32)
