"""The checkers themselves: they pass what is right, and see what is wrong."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp.autograd import Op, apply
from tinymp.autograd.op import OPS
from tinymp.testing import assert_rounded, check_operation, gradcheck, unit_roundoff
from tinymp.testing.peers import encoders_of, verify_peers

CUBE = Op("cube", lambda xp, x: x * x * x, x=lambda xp, g, x: 3 * x * x * g)
WRONG_SLOPE = Op("cube", lambda xp, x: x * x * x, x=lambda xp, g, x: 2 * x * x * g)
ONE_PLACE_WRONG = Op(
    "cube",
    lambda xp, x: x * x * x,
    x=lambda xp, g, x: 3 * x * x * g + 1e-4 * (xp.arange(x.size) == 2),
)
NO_GRADIENT = Op("cube", lambda xp, x: x * x * x)
for _op in (CUBE, WRONG_SLOPE, ONE_PLACE_WRONG, NO_GRADIENT):
    OPS.pop(_op.name, None)  # they are no operations of the engine


def cube(op: Op) -> Any:
    return lambda x: apply(op, x)


def cube_oracle(values: list[Any], g: Any) -> Any:
    (x,) = values
    return x**3, [None if g is None else 3 * x**2 * g]


X = [0.5, -1.25, 2.0, 0.0]


@pytest.mark.parametrize("dtype", [mp.float64, mp.float32, mp.float16, mp.bfloat16])
def test_gradcheck_passes_a_right_gradient(dtype: Any) -> None:
    x = mp.tensor(X, dtype, requires_grad=True)
    assert gradcheck(cube(CUBE), x)
    assert x.grad is None
    assert gradcheck(lambda x, n, y: (x**n * y).sum(), [x, 3, mp.ones(2, 4)])


@pytest.mark.parametrize("op", [WRONG_SLOPE, ONE_PLACE_WRONG, NO_GRADIENT])
def test_gradcheck_sees_a_wrong_gradient(op: Op) -> None:
    with pytest.raises(
        AssertionError, match=r"gradient of input 0 at \(\d,\).*difference quotient"
    ):
        gradcheck(cube(op), mp.tensor(X))


def test_gradcheck_sees_a_gradient_of_the_second_input() -> None:
    wrong = Op("sub", lambda xp, x, y: x - y, x=lambda xp, g: g, y=lambda xp, g: g)
    with pytest.raises(AssertionError, match="gradient of input 1"):
        gradcheck(lambda x, y: apply(wrong, x, y), [mp.tensor(X), mp.ones(1)])


def test_gradcheck_of_nothing() -> None:
    with pytest.raises(TypeError, match="no floating-point tensor among its inputs"):
        gradcheck(lambda x: x * 1.0, mp.tensor([1, 2]))
    with pytest.raises(TypeError, match=r"returned bool.*float tensor"):
        gradcheck(lambda x: x > 0, mp.tensor([1.0]))
    with pytest.raises(TypeError, match=r"returned float.*float tensor"):
        gradcheck(lambda x: 1.0, mp.tensor([1.0]))


def test_check_operation_passes_what_is_right() -> None:
    for dtype in (mp.float32, mp.float16, mp.bfloat16):
        x = mp.tensor(X, dtype, requires_grad=True)
        check_operation(
            cube(CUBE),
            cube_oracle,
            [x],
            dtype,
            lambda v, out, g: [
                2 * unit_roundoff(dtype) * abs(out),
                3 * unit_roundoff(dtype) * abs(3 * v[0] ** 2 * g),
            ],
        )


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (lambda x: x * x * x * 1.01, "result"),
        (lambda x: (x * x * x).to(mp.float32), "result is float32, expected float16"),
        (lambda x: (x * x * x).reshape(2, 2), r"result has shape \(2, 2\), expected \(4,\)"),
        (lambda x: x * x * x.detach(), "gradient of input 0"),
        (lambda x: x.detach() ** 3 + 0 * x, "gradient of input 0"),
        (lambda x: (x * x) * x, "elements are wrong"),  # x² is rounded before the last product
    ],
)
def test_check_operation_sees_what_is_wrong(function: Any, complaint: str) -> None:
    x = mp.tensor([0.333, -1.77, 2.01, 1.999], mp.float16, requires_grad=True)
    with pytest.raises(AssertionError, match=complaint):
        check_operation(
            function, cube_oracle, [x], mp.float16, lambda v, out, g: [1e-6 * abs(out), 1e-6]
        )


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(RuntimeError, match=r"ml_dtypes is not installed; install it with: pip"):
        encoders_of("ml_dtypes")


def test_peers_are_put_through_the_laws_from_both_sources() -> None:
    def up(values: Any) -> Any:  # away from zero
        return mp.formats.encode(values * (1 + 2.0**-7), mp.bfloat16, "nearest_even")

    found = list(verify_peers([("mine", mp.bfloat16, up)]))
    assert [f.subject for f in found] == ["mine from float32", "mine from float64"]
    assert all(f.problem and "a value of the format stays what it is" in f.problem for f in found)
    assert not any(f.promise.startswith("10 of 10") for f in found)


def test_rounding_twice_is_seen() -> None:
    """Just above the middle of two float16: once rounds up, by way of float32 rounds to even."""
    value = np.array(1 + 2.0**-11 + 2.0**-40)
    assert_rounded(mp.tensor(value, mp.float16), value, mp.float16)
    with pytest.raises(AssertionError, match=r"float16, nearest_even\) is .*1\.0.* at \(\)"):
        assert_rounded(mp.tensor(value, mp.float32).half(), value, mp.float16)


@pytest.mark.parametrize("mode", ["nearest_even", "toward_zero"])
def test_the_criterion_holds_at_overflow_and_among_subnormals(mode: str) -> None:
    values = np.array([65519.99, 65520.0, -7e4, 3e-8, 2.0**-25, np.inf, np.nan, -0.0])
    with mp.rounding(mode):
        assert_rounded(mp.tensor(values, mp.float16), values, mp.float16)
        off = mp.tensor(np.where(values == 65520.0, 65000.0, values), mp.float16)
        with pytest.raises(AssertionError, match="1 of 8 elements"):
            assert_rounded(off, values, mp.float16)
