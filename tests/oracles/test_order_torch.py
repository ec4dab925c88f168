"""Products, norms, scans, medians and sorting against PyTorch: in every dtype, and at the edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinymp as mp
from tinymp.testing import check_operation, pytorch_oracle, unit_roundoff

torch = pytest.importorskip("torch")

FLOATS = [mp.float64, mp.float32, mp.float16, mp.bfloat16]
INF, NAN = float("inf"), float("nan")
a = np.abs


def roundoff(dtype: Any) -> float:
    """Unit roundoff of computing, twice that of float64, in which the oracle errs as much."""
    return unit_roundoff(dtype) * (2 if dtype is mp.float64 else 1)


class Case(NamedTuple):
    """Ours and PyTorch's, of (x, dim, keepdim), and the bounds on value and gradient.

    `errors(u, n, x, g, out, terms, sums, dim)`, with `n` elements along the dimension; `terms` and
    `sums` are the value and gradient of PyTorch's for |x| and |g|.
    """

    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    errors: Callable[..., list[Any]]
    least: int = 0


def same(function: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return function, function


def _std_errors(u: float, n: int, x: Any, g: Any, out: Any, terms: Any, sums: Any, d: int) -> Any:
    """Deviations are off by the rounded mean and by their own rounding; to first order, doubled."""
    if out.ndim < x.ndim:
        out, g = np.expand_dims(out, d), np.expand_dims(g, d)
    deviation = a(x - x.mean(d, keepdims=True))
    slack = (n + 8) * u * a(x).mean(d, keepdims=True) + 4 * u * a(x).max(d, keepdims=True)
    std = 2 * slack + (n + 6) * u * out
    slope = (slack + deviation * std / out + (n + 6) * u * deviation) / out / (n - 1)
    return [2 * std.reshape(terms.shape), 2 * a(g) * slope]


def positive(k: float) -> Callable[..., list[Any]]:
    """(n + k)·u of the same sums and products of absolute values."""
    return lambda u, n, x, g, out, terms, sums, d: [(n + k) * u * terms, 2 * (n + k) * u * sums]


CASES = {
    "prod": Case(*same(lambda x, d, k: x.prod(d, k)), positive(2)),
    "std": Case(
        lambda x, d, k: x.std(d, keepdim=k), lambda x, d, k: x.std(d, keepdim=k), _std_errors, 2
    ),
    "norm": Case(*same(lambda x, d, k: x.norm(dim=d, keepdim=k)), positive(20), 1),
    "norm 1": Case(*same(lambda x, d, k: x.norm(1, d, k)), positive(0)),
    "norm 3.5": Case(*same(lambda x, d, k: x.norm(3.5, d, k)), positive(60), 1),
    "norm 0": Case(*same(lambda x, d, k: x.norm(0, d, k)), positive(0), 1),
    "norm inf": Case(*same(lambda x, d, k: x.norm(INF, d, k)), positive(4), 1),
    "norm -inf": Case(*same(lambda x, d, k: x.norm(-INF, d, k)), positive(4), 1),
    "cumsum": Case(*same(lambda x, d, k: x.cumsum(d)), positive(0)),
    "cumprod": Case(*same(lambda x, d, k: x.cumprod(d)), positive(2)),
    "median": Case(*same(lambda x, d, k: x.median(d, k).values), positive(0), 1),
    "sort": Case(*same(lambda x, d, k: x.sort(d, k).values), positive(0)),
    "topk": Case(*same(lambda x, d, k: x.topk(1, d, k).values), positive(0), 1),
}  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", CASES)
@settings(max_examples=20)
@given(data=st.data())
def test_values_and_gradients(name: str, dtype: Any, data: Any) -> None:
    case = CASES[name]
    shape = tuple(data.draw(st.lists(st.integers(case.least, 5), min_size=1, max_size=3)))
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    keep = data.draw(st.booleans())
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = rng.permutation(np.arange(1, np.prod(shape) + 1) / 8) * rng.choice([-1, 1])
    if name.startswith(("cumprod", "prod")) and values.size:
        values[rng.integers(values.size)] = 0
    x = mp.tensor(values.reshape(shape[::-1]), dtype).T.detach().requires_grad_()

    def errors(values: list[Any], out: Any, g: Any) -> list[Any]:
        theirs = pytorch_oracle(lambda x: case.theirs(x, dim, keep))
        terms, (sums,) = theirs([a(values[0])], a(g))
        args = (roundoff(dtype), shape[dim], values[0], g, out, a(terms), a(sums), dim)
        if name in ("median", "sort", "topk", "norm 0"):
            return [0.0, 0.0]
        return case.errors(*args)

    with mp.rounding(data.draw(st.sampled_from(["nearest_even", "toward_zero"]))):
        check_operation(
            lambda x: case.ours(x, dim, keep),
            pytorch_oracle(lambda x: case.theirs(x, dim, keep)),
            [x],
            dtype,
            errors,
        )


TIES = [[2.0, 1.0, 2.0, NAN, -INF], [2.0, 0.0, 2.0, 1.0, 0.0], [INF, INF, -0.0, 0.0, 1.0]]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", [*FLOATS, mp.int64], ids=lambda dtype: dtype.name)
def test_order_of_equal_elements_and_of_nan(dtype: Any, descending: bool) -> None:
    x = mp.tensor(TIES if dtype.is_float else [[3, 1, 3, 1, 2]], dtype)
    y = torch.tensor(x.numpy())
    for dim in (0, 1, -1):
        ours = x.sort(dim, descending)
        theirs = y.sort(dim=dim, descending=descending, stable=True)
        np.testing.assert_array_equal(ours.values.numpy(), theirs.values.numpy())
        np.testing.assert_array_equal(ours.indices.numpy(), theirs.indices.numpy())
        assert ours.values.dtype is dtype
        assert ours.indices.dtype is mp.int64
        np.testing.assert_array_equal(x.argsort(dim, descending).numpy(), theirs.indices.numpy())
        for k in range(x.shape[dim] + 1):
            largest = x.topk(k, dim, descending).values.numpy()
            np.testing.assert_array_equal(largest, y.topk(k, dim, descending).values.numpy())


@pytest.mark.parametrize("values", [*TIES, [1.0, 2.0, 2.0, 3.0], [5.0], [2.0, 1.0]], ids=str)
def test_median(values: list[float]) -> None:
    x, y = mp.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    ours, theirs = x.median(), y.median()
    np.testing.assert_equal(ours.item(), theirs.item())
    np.testing.assert_equal(x.median(0).values.item(), y.median(0).values.item())
    if ours.item() == ours.item():
        ours.backward()
        theirs.backward()
        np.testing.assert_array_equal(x.grad.numpy(), y.grad.numpy())


@pytest.mark.parametrize("name", ["all", "any", "count_nonzero"])
@pytest.mark.parametrize("dtype", [*FLOATS, mp.int64, mp.bool], ids=lambda dtype: dtype.name)
def test_counts_and_truth(name: str, dtype: Any) -> None:
    x = mp.tensor(np.array([[0, 1, 2], [1, 3, 4], [0, 0, -0.0]]), dtype)
    for values in (x, x[:0], x[0, 0]):
        for dim in [None, *range(-values.ndim, values.ndim)]:
            ours = getattr(mp, name)(values, dim)
            theirs = getattr(torch, name)(torch.tensor(values.numpy()), dim=dim)
            assert ours.tolist() == theirs.tolist()
            assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
    if name != "count_nonzero":
        assert getattr(x, name)(1, keepdim=True).shape == (3, 1)


def test_integers_and_booleans() -> None:
    x, flags = mp.tensor([3, 1, 2]), mp.tensor([True, False, True])
    for result in (x.prod(), x.cumsum(0), x.cumprod(0), flags.prod(), flags.cumsum(0), x.median()):
        assert result.dtype is mp.int64
    assert flags.cumsum(0).tolist() == [1, 1, 2]
    assert x.median().item() == 2
    assert x.std().dtype is x.norm().dtype is mp.float32


@pytest.mark.parametrize("p", [1, 2, 3.5, INF, -INF])
def test_gradient_of_a_norm_at_zero_is_zero(p: float) -> None:
    for values in ([0.0, 0.0], [0.0, 3.0]):
        x, y = mp.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
        x.norm(p).backward()
        y.norm(p).backward()
        np.testing.assert_array_equal(x.grad.numpy(), y.grad.numpy())


def test_gradient_of_a_deviation_that_is_zero() -> None:
    x = mp.ones(3, requires_grad=True)
    x.std().backward()
    assert x.grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_products_with_zeros(zeros: int) -> None:
    """The derivative by the only zero is the product of the others; a second zero leaves none."""
    x = mp.tensor([2.0, 3.0, 5.0], requires_grad=True)
    x.data[:zeros] = 0
    x.prod().backward()
    assert x.grad.tolist() == [[15, 10, 6], [15, 0, 0], [0, 0, 0]][zeros]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("shape", [(1,), (40, 3, 50)])
def test_equal_elements_keep_their_order(shape, descending):
    """Few values, NaNs and zeros of both signs among them: places decide."""
    values = np.array([-np.inf, -1.5, -0.0, 0.0, 1e-40, 2.0, np.inf, np.nan, -np.nan], np.float32)
    x = values[np.random.default_rng(0).integers(0, len(values), shape)]
    ours, theirs = mp.tensor(x), torch.tensor(x)
    expected = torch.sort(theirs, dim=-1, descending=descending, stable=True).indices.numpy()
    np.testing.assert_array_equal(ours.argsort(-1, descending).numpy(), expected)
    for k in (0, 1, shape[-1] // 3, shape[-1]):
        chosen = ours.topk(k, -1, largest=descending).indices.numpy()
        np.testing.assert_array_equal(chosen, expected[..., :k])
    along_first = torch.sort(theirs, dim=0, stable=True).indices.numpy()
    np.testing.assert_array_equal(ours.argsort(0).numpy(), along_first)
