"""What every test shares: repeatable examples, a fixed seed, and one `device` fixture.

`HYPOTHESIS_PROFILE=thorough` draws ten times as many examples, new ones each time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

# Workers already fill the cores, so BLAS gets one thread in each. It reads this when it is loaded,
# which is why the imports below come second.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

_UNTIMED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile(
    "quick", derandomize=True, deadline=None, max_examples=100, suppress_health_check=_UNTIMED
)
settings.register_profile(
    "thorough", deadline=None, max_examples=1000, suppress_health_check=_UNTIMED
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    """Start each test from the same seed, whatever ran before it in this process."""
    from tinymp.devices import manual_seed

    manual_seed(0)


@pytest.fixture(autouse=True)
def _own_operations_end_with_the_test() -> Iterator[None]:
    """An operation that a test defines is in no table afterwards."""
    from tinymp.autograd.op import OPS

    before = dict(OPS)
    yield
    OPS.clear()
    OPS.update(before)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Give each device's name in turn; "cuda" is skipped, with the reason, where there is none."""
    from tinymp.devices import get_device

    name: str = request.param
    try:
        get_device(name)
    except RuntimeError as missing:
        pytest.skip(str(missing))
    return name
