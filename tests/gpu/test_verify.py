"""Every promise of `tinymp verify` on the GPU, laws of rounding included."""

from __future__ import annotations

import pytest

from tinymp.testing.verify import verify

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("seed", range(3))
def test_every_promise_holds(device, seed):
    broken = [finding for finding in verify(device, seed) if finding.problem]
    assert not broken, "\n".join(f"{f.subject}, {f.promise}: {f.problem}" for f in broken)
