"""At the edges, and where dtypes meet: PyTorch's answers, and what was decided otherwise."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import tinymp as mp

torch = pytest.importorskip("torch")

INF, NAN = float("inf"), float("nan")
EDGES = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -2.0,
    3.0,
    INF,
    -INF,
    NAN,
    65504.0,
    -65520.0,
    6e-8,
    -1e-40,
    3e38,
]
DTYPES = [mp.float64, mp.float32, mp.float16, mp.bfloat16]

UNARY = {
    "neg": torch.neg, "abs": torch.abs, "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt,
    "tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu,
}  # fmt: skip
BINARY = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "pow": torch.pow,
    "maximum": torch.maximum, "minimum": torch.minimum,
}  # fmt: skip
COMPARE = {name: getattr(torch, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")}


def to_torch(x: mp.Tensor) -> Any:
    """The same values in PyTorch, in the same dtype."""
    return torch.tensor(x.numpy()).to(getattr(torch, x.dtype.name))


def close(ours: mp.Tensor, theirs: Any, dtype: Any, near_one: float = 0) -> None:
    """Equal but for the last places: infinities and NaNs in the same ones.

    `near_one` unit roundoffs of 1 are allowed besides, where 1 - out² cancels.
    """
    expected = theirs.detach().to(torch.float64).numpy()
    found = ours.numpy().astype(np.float64)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
    floor = 4 * dtype.smallest_subnormal + near_one * dtype.unit_roundoff("nearest_even")
    slack = 8 * dtype.unit_roundoff("nearest_even")  # 4 ulps, of exp, log, tanh and pow
    np.testing.assert_allclose(found, expected, rtol=slack, atol=floor)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", UNARY)
def test_unary_at_the_edges(name: str, dtype: Any) -> None:
    with mp.rounding("nearest_even"):
        x = mp.tensor(EDGES, dtype, requires_grad=True)
        theirs = to_torch(x).requires_grad_()
        out, expected = getattr(mp, name)(x), UNARY[name](theirs)
        close(out, expected, dtype)
        out.backward(mp.ones_like(out))
        expected.backward(torch.ones_like(expected))
        if name == "abs":  # where x is NaN the derivative is not 0, as PyTorch has it, but unknown
            theirs.grad[x.numpy() != x.numpy()] = NAN
        close(x.grad, theirs.grad, dtype, near_one=20 if name in ("tanh", "sigmoid") else 0)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", BINARY)
def test_binary_at_the_edges(name: str, dtype: Any) -> None:
    """Every pair of edges. Gradients in the two wide dtypes: PyTorch's CPU rounds its narrow ones
    in between, which moves infinities."""
    pairs = list(itertools.product(EDGES, EDGES))
    with mp.rounding("nearest_even"):
        x, y = (mp.tensor(side, dtype, requires_grad=True) for side in zip(*pairs, strict=True))
        a, b = to_torch(x).requires_grad_(), to_torch(y).requires_grad_()
        out, expected = getattr(mp, name)(x, y), BINARY[name](a, b)
        close(out, expected, dtype)
        if dtype.bits < 32:
            return
        out.backward(mp.ones_like(out))
        expected.backward(torch.ones_like(expected))
        for ours, theirs in ((x, a), (y, b)):
            close(ours.grad, theirs.grad, dtype)


@pytest.mark.parametrize("name", COMPARE)
def test_comparison_at_the_edges(name: str) -> None:
    pairs = list(itertools.product(EDGES, EDGES))
    x, y = (mp.tensor(side) for side in zip(*pairs, strict=True))
    found = getattr(mp, name)(x, y)
    assert found.dtype is mp.bool
    np.testing.assert_array_equal(found.numpy(), COMPARE[name](to_torch(x), to_torch(y)).numpy())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x: mp.softmax(x, 0), lambda x: torch.softmax(x, 0)),
        (lambda x: mp.log_softmax(x, 0), lambda x: torch.log_softmax(x, 0)),
        (lambda x: mp.logsumexp(x, 0), lambda x: torch.logsumexp(x, 0)),
        (lambda x: mp.amax(x, 0), lambda x: torch.amax(x, 0)),
        (lambda x: mp.sum(x, 0), lambda x: torch.sum(x, 0)),
        (lambda x: x.clamp(-1, 2), lambda x: x.clamp(-1, 2)),
        (lambda x: x**0, lambda x: x**0),
        (lambda x: 0.0**x, lambda x: 0.0**x),
        (lambda x: (-2.0) ** x, lambda x: (-2.0) ** x),
    ],
    ids=["softmax", "log_softmax", "logsumexp", "amax", "sum", "clamp", "x**0", "0**x", "-2**x"],
)
@pytest.mark.parametrize(
    "values",
    [[INF, 1.0], [-INF, 1.0], [-INF, -INF], [INF, INF], [NAN, 1.0], [3e38, 3e38], [0.0, -0.0]],
    ids=str,
)
def test_reductions_and_powers_at_the_edges(ours: Any, theirs: Any, values: Any) -> None:
    x = mp.tensor(values, requires_grad=True)
    y = torch.tensor(values, requires_grad=True)
    out, expected = ours(x), theirs(y)
    close(out, expected, mp.float32)
    out.backward(mp.ones_like(out))
    expected.backward(torch.ones_like(expected))
    close(x.grad, y.grad, mp.float32)


KINDS = ["float64", "float32", "float16", "bfloat16", "int64", "bool"]
NUMBERS = [True, 2, 1.5]


def same_dtype(ours: Any, theirs: Any) -> None:
    assert ours.dtype.name == str(theirs).removeprefix("torch.")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", [*KINDS, *NUMBERS], ids=str)
@pytest.mark.parametrize("axes", [(1, 1), (1, 0), (0, 1), (0, 0)], ids=str)
def test_promotion_is_pytorchs(kind: str, other: Any, axes: tuple[int, int]) -> None:
    """Tensors with axes, then tensors without, then Python numbers."""
    x = mp.ones((1,) * axes[0], dtype=kind)
    a = torch.ones((1,) * axes[0], dtype=getattr(torch, kind))
    if isinstance(other, str):
        y: Any = mp.ones((1,) * axes[1], dtype=other)
        b: Any = torch.ones((1,) * axes[1], dtype=getattr(torch, other))
    else:
        y = b = other
    expected = torch.result_type(a, b)
    for ours in (x * y, y * x, mp.maximum(x, y)):
        same_dtype(ours, expected)
    same_dtype(x / y, torch.div(a, b).dtype)
    assert (x < y).dtype is mp.bool
    if "bool" not in str(expected):
        same_dtype(x - y, expected)
    if isinstance(y, mp.Tensor) and "float" in x.dtype.name + y.dtype.name:
        same_dtype(mp.where(mp.tensor([True]), x, y), torch.where(torch.tensor([True]), a, b).dtype)


def test_a_number_enters_the_computation_unrounded() -> None:
    """0.1 is not rounded to bfloat16 first: 3 · 0.1 in float32, then one rounding."""
    three = mp.tensor([3.0], dtype=mp.bfloat16)
    with mp.rounding("nearest_even"):
        once = mp.tensor([float(np.float32(3) * np.float32(0.1))], dtype=mp.bfloat16)
        assert (three * 0.1).item() == once.item()


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "tanh", "sigmoid", "gelu", "mean", "var"])
def test_functions_of_integers_are_float32(name: str) -> None:
    for values in ([1, 2], [True, False]):
        assert getattr(mp, name)(mp.tensor(values)).dtype is mp.float32
    assert mp.softmax(mp.tensor([1, 2]), 0).dtype is mp.float32
    assert mp.layer_norm(mp.tensor([1, 2]), (2,)).dtype is mp.float32
    assert mp.sum(mp.tensor([True, True])).dtype is mp.int64


def test_integers_beyond_float64_stay_exact() -> None:
    big = 2**60 + 1
    x = mp.tensor([big, -big])
    for same in (x.clamp(min=-(2**62)), x.clip(max=2**62), mp.maximum(x, -(2**62)), x + 0, x * 1):
        assert same.dtype is mp.int64
        assert same.tolist() == [big, -big]
    assert x.clamp(0, 1.5).dtype is mp.float32


def test_variance_of_too_few() -> None:
    """PyTorch warns and divides by zero degrees of freedom, too, not by less."""
    assert np.isnan(mp.tensor([1.0]).var().item())
    assert mp.tensor([1.0, 2.0]).var(correction=3).item() == INF


def test_reductions_of_nothing() -> None:
    empty = mp.zeros(2, 0)
    assert empty.sum(1).tolist() == [0, 0]
    assert np.isnan(empty.mean(1).numpy()).all()
    assert mp.logsumexp(empty, 1).tolist() == [-INF, -INF]
    assert mp.softmax(empty, 1).shape == mp.log_softmax(empty, 0).shape == (2, 0)
    assert empty.argmax(0).shape == (0,)


def test_argmax_keeps_dimensions() -> None:
    x = mp.tensor([[1.0, 5.0], [2.0, 3.0]])
    y = torch.tensor(x.tolist())
    for dim, keep in itertools.product([None, 0, 1, -1], [False, True]):
        found, expected = x.argmax(dim, keep), y.argmax(dim, keep)
        assert found.shape == tuple(expected.shape)
        assert found.tolist() == expected.tolist()
