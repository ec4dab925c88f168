"""Where nothing is to be decoded or rounded, a rule is called directly: the same results."""

from __future__ import annotations

import numpy as np
import pytest

import tinymp as mp
from tinymp.autograd import Op, apply


def widened(xp, x):
    return x.astype(np.float64) * 0.1


@pytest.mark.parametrize(
    "rule", [lambda xp, x: x * 3, lambda xp, x: xp.sum(x), widened, lambda xp, x: x.T]
)
@pytest.mark.parametrize("dtype", [mp.float32, mp.float64])
def test_the_direct_way_gives_what_the_contract_gives(rule, dtype):
    op = Op("direct", rule, x=lambda xp, g: g, listed=False)
    x = mp.randn(4, 3, dtype=dtype)
    directly = apply(op, x)
    (contract,) = op.contracts.values()
    assert contract.is_direct
    contract.is_direct = False
    by_contract = apply(op, x)
    assert directly.dtype is by_contract.dtype is dtype
    assert directly.shape == by_contract.shape
    assert isinstance(directly.storage, np.ndarray)
    assert directly.storage.tobytes() == by_contract.storage.tobytes()


def test_what_is_decoded_moved_or_left_behind_does_not_go_directly():
    double = Op("double", lambda xp, x: 2 * x, listed=False)
    apply(double, mp.ones(3).half())
    moved = Op("moved", lambda xp, x: x[::-1], forward_on="words", listed=False)
    apply(moved, mp.ones(3))
    halves = Op("halves", lambda xp, x: (x / 2, x), residuals=("left",), listed=False)
    assert apply(halves, mp.ones(3)).tolist() == [0.5, 0.5, 0.5]
    for op in (double, moved, halves):
        (contract,) = op.contracts.values()
        assert not contract.is_direct


def test_what_a_rule_does_not_take_is_said_as_ever():
    with pytest.raises(
        ValueError, match=r"add\(float32\[2\], float32\[3\]\).*lengths must be equal"
    ):
        mp.ones(2) + mp.ones(3)
    with np.errstate(all="raise"):
        assert (mp.ones(2) / mp.zeros(2)).tolist() == [float("inf")] * 2
