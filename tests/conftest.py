"""What every test shares: repeatable examples, a fixed seed, and one `device` fixture.

`HYPOTHESIS_PROFILE=thorough` draws ten times as many examples, new ones each time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

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


@pytest.fixture(params=["mlp", "wide mlp", "convnet", "gpt"])
def small_model(request: pytest.FixtureRequest) -> Callable[[], tuple[Any, Callable[[], Any]]]:
    """Give what makes a model, new each time, and what draws a batch for it: inputs and labels."""
    import tinymp as mp
    from tinymp import models

    make: dict[str, Callable[[], tuple[Any, Callable[[], Any]]]] = {
        "mlp": lambda: (
            models.MLP(8, (16,), 5),
            lambda: (mp.randn(6, 8), mp.randint(0, 5, (6,))),
        ),
        "wide mlp": lambda: (  # its arrays are too long to stay decoded
            models.MLP(150, (130,), 5),
            lambda: (mp.randn(140, 150), mp.randint(0, 5, (140,))),
        ),
        "convnet": lambda: (
            models.ConvNet(blocks=1),
            lambda: (mp.randn(3, 1, 8, 8), mp.randint(0, 10, (3,))),
        ),
        "gpt": lambda: (
            models.GPT(vocabulary=7, context=5, layers=1, heads=2, width=8),
            lambda: (mp.randint(0, 7, (2, 5)), mp.randint(0, 7, (2, 5))),
        ),
    }
    return make[request.param]
