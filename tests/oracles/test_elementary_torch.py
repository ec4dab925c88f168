"""The elementary functions and activations against PyTorch: in every dtype, and at the edges.

As in `test_operations.py`, PyTorch computes in float64, and bounds are on what is computed in
float32 before the one rounding. They count unit roundoffs u of the exact result: 8 (4 ulps, NumPy's
promise) for each elementary function, 20 for those of `numerics.special`, 1 for + − × ÷ √.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinymp as mp
from tinymp.nn import functional as F
from tinymp.testing import check_operation, pytorch_oracle, unit_roundoff

torch = pytest.importorskip("torch")

FLOATS = [mp.float64, mp.float32, mp.float16, mp.bfloat16]
LAYOUTS = ["contiguous", "transposed", "reversed"]
INF, NAN = float("inf"), float("nan")
EDGES = [0.0, 1.0, -1.0, 0.5, -2.0, 3.0, 20.5, INF, -INF, NAN, 65504.0, -65520.0, 6e-8, 3e38]
a = np.abs


class Case(NamedTuple):
    """An operation, PyTorch's, a domain, and how many u value and gradient may err.

    Where terms cancel, `slack` adds to the value's bound, and to the gradient's for g = 1, an error
    that is not relative to the result: a function of x.
    """

    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    domain: tuple[float, float]
    value: float
    gradient: float
    slack: Callable[[Any], Any] = np.zeros_like


def same(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return getattr(mp, name), getattr(torch, name)


W = (-4.0, 4.0)
P = (0.125, 8.0)
t = torch.nn.functional
CASES = {
    "sin": Case(*same("sin"), W, 8, 10),
    "cos": Case(*same("cos"), W, 8, 10),
    "tan": Case(*same("tan"), (-1.5, 1.5), 8, 40),
    "asin": Case(*same("asin"), (-0.99, 0.99), 8, 8),
    "acos": Case(*same("acos"), (-0.99, 0.99), 8, 8),
    "atan": Case(*same("atan"), W, 8, 8),
    "sinh": Case(*same("sinh"), W, 8, 10),
    "cosh": Case(*same("cosh"), W, 8, 10),
    "asinh": Case(*same("asinh"), W, 8, 10),
    "acosh": Case(*same("acosh"), (1.125, 8.0), 8, 8),
    "atanh": Case(*same("atanh"), (-0.9, 0.9), 8, 8),
    "expm1": Case(*same("expm1"), (-2.0, 4.0), 8, 24),
    "log1p": Case(*same("log1p"), (-0.75, 8.0), 8, 4),
    "log2": Case(*same("log2"), P, 8, 4),
    "log10": Case(*same("log10"), P, 8, 4),
    "rsqrt": Case(*same("rsqrt"), P, 3, 8),
    "square": Case(*same("square"), W, 8, 10),
    "reciprocal": Case(*same("reciprocal"), P, 2, 4),
    "number over x": Case(lambda x: 1.7 / x, lambda x: 1.7 / x, P, 4, 6),
    # e^(-x²): 20 u here, and x² u in the oracle, which is why float64 counts twice.
    "erf": Case(*same("erf"), W, 24, 60),
    "softplus": Case(F.softplus, t.softplus, W, 30, 12),
    "softplus of -x/2": Case(
        lambda x: F.softplus(x, -0.5, 1.0), lambda x: t.softplus(x, -0.5, 1.0), W, 30, 14
    ),
    "silu": Case(F.silu, t.silu, W, 12, 16, lambda x: 16 * (1 + a(x))),
    "elu": Case(F.elu, t.elu, W, 10, 12),
    "elu 2": Case(lambda x: F.elu(x, 2.0), lambda x: t.elu(x, 2.0), W, 10, 12),
    "leaky_relu": Case(F.leaky_relu, t.leaky_relu, W, 2, 2),
    "hardtanh": Case(
        lambda x: F.hardtanh(x, -1, 3), lambda x: t.hardtanh(x, -1, 3), W, 0, 0
    ),
    "sign": Case(*same("sign"), W, 0, 0),
    "floor": Case(*same("floor"), W, 0, 0),
    "ceil": Case(*same("ceil"), W, 0, 0),
    "round": Case(*same("round"), W, 0, 0),
    "trunc": Case(*same("trunc"), W, 0, 0),
    "masked_fill": Case(
        lambda x: x.masked_fill(x > 1, -1.5), lambda x: x.masked_fill(x > 1, -1.5), W, 0, 0
    ),
}  # fmt: skip


def errors(case: Case, dtype: Any) -> Any:
    """Bounds on the errors of value and gradient, for `check_operation`."""
    u = unit_roundoff(dtype) * (2 if dtype is mp.float64 else 1)  # the oracle's are of that size
    tiny = float(np.finfo(np.float64 if dtype is mp.float64 else np.float32).tiny)

    def bounds(values: list[Any], out: Any, g: Any) -> list[Any]:
        (x,) = values
        _, (slope,) = pytorch_oracle(case.theirs)([x], np.ones_like(out))
        slack = case.slack(x)
        # Functions of NumPy lose subnormals; a gradient may pass through them.
        value = case.value * u * a(out) + u * slack + 4 * u * tiny
        gradient = a(g) * u * (case.gradient * a(slope) + slack) + 4 * u * tiny
        return [value, gradient if case.gradient else 0.0]

    def quietly(values: list[Any], out: Any, g: Any) -> list[Any]:
        with np.errstate(all="ignore"):
            return [np.nan_to_num(b, nan=0.0, posinf=0.0) for b in bounds(values, out, g)]

    return quietly


def laid_out(values: Any, dtype: Any, layout: str) -> mp.Tensor:
    """A leaf of these values, in memory in one of several ways."""
    x = mp.tensor(values if layout == "contiguous" else values.T, dtype)
    x = x if layout == "contiguous" else x.T
    if layout == "reversed":
        x = mp.tensor(np.flip(values), dtype)[(slice(None, None, -1),) * values.ndim]
    return x.detach().requires_grad_()


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", CASES)
@settings(max_examples=20)
@given(data=st.data())
def test_values_and_gradients(name: str, dtype: Any, data: Any) -> None:
    case = CASES[name]
    shape = tuple(data.draw(st.lists(st.integers(0, 4), max_size=3)))
    values = np.random.default_rng(data.draw(st.integers(0, 2**32))).uniform(*case.domain, shape)
    x = laid_out(
        values, dtype, data.draw(st.sampled_from(["contiguous", "transposed", "reversed"]))
    )
    with mp.rounding(data.draw(st.sampled_from(["nearest_even", "toward_zero"]))):
        check_operation(case.ours, pytorch_oracle(case.theirs), [x], dtype, errors(case, dtype))


AT_EDGES = [name for name in CASES if name not in ("softplus of -x/2", "masked_fill")]


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", AT_EDGES)
def test_at_the_edges(name: str, dtype: Any) -> None:
    # Of NaN PyTorch's sign is 0 and its elu has slope 1; here they are NaN, which nothing hides.
    edges = [e for e in EDGES if e == e or name not in ("sign", "elu", "elu 2")]
    if name == "acosh":  # below 1 its slope is no number, though PyTorch takes √(x² - 1)
        edges = [e for e in edges if not e < 1]
    x = mp.tensor(edges, dtype, requires_grad=True)
    with mp.rounding("nearest_even"):
        check_operation(
            CASES[name].ours, pytorch_oracle(CASES[name].theirs), [x], dtype,
            errors(CASES[name], dtype),
        )  # fmt: skip


@pytest.mark.parametrize("function", [mp.sign, mp.elu])
def test_nan_stays_nan(function: Any) -> None:
    assert np.isnan(function(mp.tensor(NAN)).item())


@pytest.mark.parametrize("name", ["isnan", "isinf", "isfinite", "logical_not"])
@pytest.mark.parametrize("dtype", [*FLOATS, mp.int64, mp.bool], ids=lambda dtype: dtype.name)
def test_tests_of_elements(name: str, dtype: Any) -> None:
    x = mp.tensor(EDGES if dtype.is_float else [0, 1], dtype)
    found = getattr(mp, name)(x)
    assert found.dtype is mp.bool
    assert found.tolist() == getattr(torch, name)(torch.tensor(x.numpy())).tolist()


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor"])
def test_logic(name: str) -> None:
    x = mp.tensor([[0.0, 2.0, NAN, -0.0]], mp.float16)
    y = mp.tensor([[0], [3]])
    found = getattr(mp, name)(x, y)
    assert found.dtype is mp.bool
    expected = getattr(torch, name)(torch.tensor(x.numpy()), torch.tensor(y.numpy()))
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", [mp.bool, mp.int64], ids=lambda dtype: dtype.name)
def test_bitwise_operators(dtype: Any) -> None:
    x, y = mp.tensor([[0, 1, 1, 0]], dtype), mp.tensor([[0], [1]], dtype)
    p, q = torch.tensor(x.numpy()), torch.tensor(y.numpy())
    pairs = [(x & y, p & q), (x | y, p | q), (x ^ y, p ^ q), (~x, ~p), (x & True, p & True)]
    for ours, theirs in [*pairs, (1 | x, 1 | p)]:
        assert ours.tolist() == theirs.tolist()
        assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.")


def test_integers_become_float32_or_stay() -> None:
    x = mp.tensor([1, 2])
    for name in ("sin", "expm1", "log2", "rsqrt", "reciprocal", "erf"):
        assert getattr(mp, name)(x).dtype is mp.float32
    assert (1 / x).tolist() == [1, 0.5]
    for name in ("floor", "ceil", "round", "trunc", "sign", "square"):
        assert getattr(mp, name)(x).dtype is mp.int64
    big = mp.tensor([2**60 + 1])
    assert mp.floor(big).item() == 2**60 + 1
    assert big.masked_fill(mp.tensor([False]), 0.5).item() == 2**60 + 1
    assert mp.tensor([True, False]).masked_fill(mp.tensor([False, True]), 1).dtype is mp.bool


def test_masked_fill_takes_a_tensor_without_dimensions_and_its_gradient() -> None:
    x, value = mp.ones(2, 2, dtype=mp.float16), mp.tensor(3.0, requires_grad=True)
    out = x.masked_fill(mp.tensor([True, False]), value)
    assert out.dtype is mp.float16
    assert out.tolist() == [[3, 1], [3, 1]]
    out.sum().backward()
    assert value.grad.item() == 2


def test_a_number_over_a_tensor_is_float32_under_autocast() -> None:
    """PyTorch spells it as a reciprocal, which stands in its float32 list; it is rounded once."""
    x = mp.tensor([3.0], dtype=mp.float16)
    with mp.amp.autocast(mp.float16):
        assert (1 / x).dtype is mp.float32
        assert (np.float64(1) / x).dtype is mp.float32
        assert (x / 2).dtype is mp.float16
    assert (7 / x).item() == np.float16(np.float32(7) / np.float32(3))
