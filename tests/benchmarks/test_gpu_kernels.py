"""What races on a GPU computes the same as PyTorch: tried on the CPU, with few rows."""

from __future__ import annotations

import numpy as np
import pytest

from tinymp.bench.gpu.kernels import backward_of, works
from tinymp.bench.gpu.pytorch import shared

WORKS = {work.name: work for work in works(shrink=4096)}
# float16 results of float32 computation: a rounding each. Dropout differs: each draws its own.
U = 2.0**-11


@pytest.fixture(autouse=True)
def _torch():
    pytest.importorskip("torch")


def close(ours, theirs, stochastic=False):
    ours, theirs = ours.astype(np.float64), theirs.detach().float().numpy().astype(np.float64)
    unit = 2.0**-7 if stochastic else 4 * U
    # Sums of thousands of terms of either sign: their errors are those of the largest.
    atol = unit * max(1e-3, np.abs(theirs).max())
    np.testing.assert_allclose(ours, theirs, rtol=unit, atol=atol)


@pytest.mark.parametrize("name", [name for name in WORKS if name != "dropout"])
def test_forward_is_pytorchs(name):
    work = WORKS[name]
    inputs = work.inputs("cpu")
    out = work.ours(*inputs)
    theirs = work.pytorchs(*[shared(x) for x in inputs])
    assert str(theirs.dtype) == f"torch.{out.dtype.name}"
    close(out.numpy(), theirs, stochastic="bfloat16" in name)


@pytest.mark.parametrize("name", [name for name in WORKS if WORKS[name].backward])
def test_backward_is_pytorchs(name):
    work = WORKS[name]
    ours, pytorchs, inputs = backward_of(work, "cpu")
    found = {id(source): gradient for source, gradient in ours()}
    theirs = pytorchs()
    wanted = [x for x in inputs if x.requires_grad]
    assert len(found) == len(theirs) == len(wanted)
    if name == "dropout":
        return
    for gradient, expected in zip(found.values(), theirs, strict=True):
        close(gradient.reshape(expected.shape), expected)
    ours()  # as often as one likes
