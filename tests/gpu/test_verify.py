"""Every promise of `tinymp verify` on the GPU, laws of rounding included."""

from __future__ import annotations

import pytest

from tinymp.testing.verify import verify

pytestmark = pytest.mark.gpu


# CuPy compiles its kernels to flush float32 subnormals (-ftz=true, which no option overrides), and
# BF16 has the range of float32. `tinymp verify` says so on a GPU; kernels of our own would not.
FLUSHED = {f"bfloat16 {operation}" for operation in "+-×÷"}


@pytest.mark.parametrize("seed", range(3))
def test_every_promise_holds(device, seed):
    broken = [finding for finding in verify(device, seed) if finding.problem]
    if device != "cpu":
        broken = [finding for finding in broken if finding.subject not in FLUSHED]
    assert not broken, "\n".join(f"{f.subject}, {f.promise}: {f.problem}" for f in broken)
