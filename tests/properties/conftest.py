"""Every law is tried in two sizes: for 100 seeds, and with `-m slow` for 1,000 new ones.

A seed stands for 1,000 or more values that are hard to round.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

SIZES = ["quick", pytest.param("thorough", marks=pytest.mark.slow)]


@pytest.fixture(params=SIZES)
def every_seed(request: pytest.FixtureRequest) -> Callable[[Callable[[int], None]], None]:
    """Try a law, a function of a seed, for many seeds: `@every_seed def law(seed): ...`."""
    quick = request.param == "quick"  # which HYPOTHESIS_PROFILE may have made larger

    def try_it(law: Callable[[int], None]) -> None:
        profile = settings.default if quick else settings.get_profile(request.param)
        settings(profile)(given(seed=st.integers(0, 2**32 - 1))(law))()

    return try_it
