"""Sums, extremes, softmax and products against PyTorch on the CPU, in every dtype.

As in `test_operations.py`, PyTorch computes in float64, and a bound is allowed before rounding
only. Sums of n terms err by γ_n Σ|x_i|, whatever their order (Higham, Accuracy and Stability of
Numerical Algorithms, section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinymp as mp
from tinymp.formats import active_rounding
from tinymp.testing import check_operation, pytorch_oracle, unit_roundoff

torch = pytest.importorskip("torch")
F = torch.nn.functional

FLOATS = [mp.float64, mp.float32, mp.float16, mp.bfloat16]
SHAPES = st.lists(st.integers(0, 5), min_size=1, max_size=3).map(tuple)
a = np.abs


def leaf(rng: Any, shape: tuple[int, ...], dtype: Any, transposed: bool = False) -> Any:
    """A leaf of normal random values, or one whose memory is laid out the other way round."""
    x = mp.tensor(rng.standard_normal(shape[::-1] if transposed else shape), dtype)
    return (x.T if transposed else x).detach().requires_grad_()


def roundoff(dtype: Any) -> float:
    """Unit roundoff of computing, twice that of float64, in which the oracle errs as much."""
    return unit_roundoff(dtype) * (2 if dtype is mp.float64 else 1)


def rounding_of(dtype: Any, out: Any, error: Any) -> Any:
    """How far a result that was rounded to be stored is from the exact one."""
    u = dtype.unit_roundoff(active_rounding().mode(dtype))
    return error + u * (a(out) + error) + dtype.smallest_subnormal


class Reduction(NamedTuple):
    """Ours and PyTorch's, and bounds on the errors of value and gradient.

    `errors(u, n, s, x, g, out, d)`: `n` terms a result, `s(v)` the sum of v along the dimension,
    which is kept in `s(v)`, `g` and `out`; `d(e)` the error of `out` as stored after error e.
    """

    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    errors: Callable[..., tuple[Any, Any]]
    empty: bool = True


def _var_errors(u: float, n: int, s: Any, x: Any, g: Any, out: Any, d: Any) -> tuple[Any, Any]:
    m = s(x) / max(n, 1)
    deviation = a(x - m) + (n + 3) * u * s(a(x)) / max(n, 1)  # what the rounded mean makes of it
    slack = (n + 8) * u * s(a(x)) / max(n, 1) + 4 * u * a(x)
    left = max(n - 1, 0)
    with np.errstate(all="ignore"):
        value = (s(2 * deviation * slack + slack**2) + (n + 4) * u * s(deviation**2)) / left
        return value, a(g) * 2 * (slack + 4 * u * deviation) / left


def _shift(x: Any) -> Any:
    """The largest element is taken off in softmax: an error in the exponent."""
    return 2 * np.abs(x).max(initial=0)


def _softmax_errors(u: float, n: int, s: Any, x: Any, g: Any, out: Any, d: Any) -> tuple[Any, Any]:
    value = (n + 20 + _shift(x)) * u * out
    e = d(value)
    from_result = e * (a(g) + s(a(g) * (out + e))) + out * s(a(g) * e)
    return value, from_result + (n + 6) * u * (out + e) * (a(g) + s(a(g) * (out + e)))


def _log_softmax_errors(
    u: float, n: int, s: Any, x: Any, g: Any, out: Any, d: Any
) -> tuple[Any, Any]:
    value = (n + 20 + 2 * _shift(x) + 9 * np.log(max(n, 1))) * u + 0 * out
    from_result = np.exp(out) * np.expm1(d(value)) * s(a(g))
    return value, from_result * (1 + n * u) + (n + 12) * u * np.exp(out) * s(a(g)) + 2 * u * a(g)


REDUCTIONS = {
    "sum": Reduction(
        lambda x, dim, keep: x.sum(dim, keep),
        lambda x, dim, keep: x.sum(dim, keep),
        lambda u, n, s, x, g, out, d: (n * u * s(a(x)), 0),
    ),
    "mean": Reduction(
        lambda x, dim, keep: x.mean(dim, keep),
        lambda x, dim, keep: x.mean(dim, keep),
        lambda u, n, s, x, g, out, d: ((n + 1) * u * s(a(x)) / max(n, 1), u * a(g) / max(n, 1)),
    ),
    "var": Reduction(
        lambda x, dim, keep: x.var(dim, keepdim=keep),
        lambda x, dim, keep: x.var(dim, keepdim=keep),
        _var_errors,
        empty=False,
    ),
    "amax": Reduction(
        mp.amax,
        torch.amax,
        lambda u, n, s, x, g, out, d: (0, 2 * u * a(g)),
        empty=False,
    ),
    "amin": Reduction(
        mp.amin,
        torch.amin,
        lambda u, n, s, x, g, out, d: (0, 2 * u * a(g)),
        empty=False,
    ),
    "max": Reduction(
        lambda x, dim, keep: x.max(dim, keep).values,
        lambda x, dim, keep: x.max(dim, keep).values,
        lambda u, n, s, x, g, out, d: (0, 0),
        empty=False,
    ),
    "logsumexp": Reduction(
        mp.logsumexp,
        torch.logsumexp,
        # exp and log to 4 ulps each, n terms; the gradient's exponent errs by that much, too.
        lambda u, n, s, x, g, out, d: (
            (n + 20 + 9 * a(out) + _shift(x)) * u,
            (n + 40 + 10 * a(out) + 2 * _shift(x)) * u * a(g),
        ),
    ),
    "softmax": Reduction(
        lambda x, dim, keep: mp.softmax(x, dim),
        lambda x, dim, keep: torch.softmax(x, dim),
        _softmax_errors,
    ),
    "log_softmax": Reduction(
        lambda x, dim, keep: mp.log_softmax(x, dim),
        lambda x, dim, keep: torch.log_softmax(x, dim),
        _log_softmax_errors,
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", REDUCTIONS)
@settings(max_examples=15)
@given(data=st.data())
def test_reduction(name: str, dtype: Any, data: Any) -> None:
    case = REDUCTIONS[name]
    shape = data.draw(SHAPES)
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    keep = data.draw(st.booleans())
    if not case.empty:  # two elements to choose from, or to vary
        shape = tuple(max(length, 2) for length in shape)
    n = shape[dim]
    x = leaf(np.random.default_rng(data.draw(st.integers(0, 99))), shape, dtype, keep)
    u = roundoff(dtype)

    def errors(values: list[Any], out: Any, g: Any) -> list[Any]:
        (x,) = values
        flat = out.shape
        if out.ndim < x.ndim:
            out, g = np.expand_dims(out, dim), np.expand_dims(g, dim)
        value, gradient = case.errors(
            u,
            n,
            lambda v: v.sum(axis=dim, keepdims=True),
            x,
            g,
            out,
            lambda e: rounding_of(dtype, out, e),
        )
        return [np.broadcast_to(value, out.shape).reshape(flat), gradient]

    with mp.rounding(data.draw(st.sampled_from(["nearest_even", "toward_zero"]))):
        check_operation(
            lambda x: case.ours(x, dim, keep),
            pytorch_oracle(lambda x: case.theirs(x, dim, keep)),
            [x],
            dtype,
            errors,
        )


PRODUCTS = [
    ((3, 4), (4, 2)),
    ((5,), (5,)),
    ((4,), (4, 3)),
    ((3, 4), (4,)),
    ((2, 3, 4), (4, 2)),
    ((2, 1, 3, 4), (3, 4, 2)),
    ((4,), (2, 4, 3)),
    ((2, 3, 4), (4,)),
    ((0, 3), (3, 2)),
    ((2, 0), (0, 3)),
    ((1, 1), (1, 1)),
    ((33, 65), (65, 17)),
]


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("shapes", PRODUCTS, ids=str)
@pytest.mark.parametrize("transposed", [False, True])
def test_matmul(shapes: Any, dtype: Any, transposed: bool) -> None:
    rng = np.random.default_rng(1)
    inputs = [leaf(rng, shape, dtype, transposed) for shape in shapes]
    longest = max(1, *(int(np.prod(shape)) for shape in shapes))

    def errors(values: list[Any], out: Any, g: Any) -> list[Any]:
        # The same products of absolute values bound the sums of absolute terms.
        terms, sums = pytorch_oracle(torch.matmul)([a(v) for v in values], a(g))
        return [longest * roundoff(dtype) * bound for bound in (terms, *sums)]

    with mp.rounding("nearest_even"):
        check_operation(mp.matmul, pytorch_oracle(torch.matmul), inputs, dtype, errors)


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4), (0, 4), (2, 3, 0)], ids=str)
@pytest.mark.parametrize("biased", [False, True])
def test_linear(shape: Any, dtype: Any, biased: bool) -> None:
    rng = np.random.default_rng(2)
    inputs = [leaf(rng, shape, dtype), leaf(rng, (5, shape[-1]), dtype)]
    inputs += [leaf(rng, (5,), dtype)] if biased else []
    length = max(6, int(np.prod(shape)) + 1)

    def errors(values: list[Any], out: Any, g: Any) -> list[Any]:
        terms, sums = pytorch_oracle(F.linear)([a(v) for v in values], a(g))
        return [length * roundoff(dtype) * bound for bound in (terms, *sums)]

    check_operation(mp.linear, pytorch_oracle(F.linear), inputs, dtype, errors)


NAMED = {
    "mm": [(3, 4), (4, 2)],
    "bmm": [(2, 3, 4), (2, 4, 5)],
    "mv": [(3, 4), (4,)],
    "dot": [(5,), (5,)],
    "outer": [(3,), (4,)],
}


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", NAMED)
def test_named_products(name: str, dtype: Any) -> None:
    rng = np.random.default_rng(7)
    inputs = [leaf(rng, shape, dtype, True) for shape in NAMED[name]]
    theirs = pytorch_oracle(getattr(torch, name))

    def errors(values: list[Any], out: Any, g: Any) -> list[Any]:
        terms, sums = theirs([a(v) for v in values], a(g))
        return [8 * roundoff(dtype) * bound for bound in (terms, *sums)]

    check_operation(getattr(mp, name), theirs, inputs, dtype, errors)


EINSUMS: list[tuple[str, list[tuple[int, ...]]]] = [
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,jk", [(2, 3), (3, 4)]),
    ("ba,b", [(2, 3), (2,)]),
    ("bhqd,bhkd->bhqk", [(2, 3, 4, 2), (2, 3, 5, 2)]),
    ("...ij,...jk->...ik", [(5, 1, 2, 3), (4, 3, 2)]),
    ("i...,i...->...", [(3, 2, 4), (3, 4)]),
    ("i ... , ... -> i", [(3, 2), (2,)]),
    ("ij->ji", [(2, 3)]),
    ("ij->", [(2, 3)]),
    ("ii", [(3, 3)]),
    ("ii->i", [(3, 3)]),
    ("iji,ij->j", [(2, 3, 2), (2, 3)]),
    ("i,j->ij", [(2,), (3,)]),
    ("i,i->i", [(3,), (3,)]),
    (",ij->ij", [(), (2, 3)]),
    ("ij,k->i", [(2, 3), (4,)]),
    ("ij,ij,i->j", [(2, 3), (2, 3), (2,)]),
    ("ab,bc,cd->da", [(2, 3), (3, 4), (4, 5)]),
    ("ij,ij->i", [(2, 1), (2, 3)]),
    ("ij,jk->ik", [(2, 0), (0, 3)]),
    ("Ab,bA", [(2, 3), (3, 2)]),
    ("bA->", [(2, 3)]),
    ("bA", [(2, 3)]),
]


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize(("equation", "shapes"), EINSUMS, ids=str)
def test_einsum(equation: str, shapes: list[Any], dtype: Any) -> None:
    rng = np.random.default_rng(8)
    inputs = [leaf(rng, shape, dtype, len(shape) > 1) for shape in shapes]
    theirs = pytorch_oracle(lambda *x: torch.einsum(equation, *x))
    # Intermediate results are rounded to the dtype: each product, and each sum before or after one.
    unit = roundoff(dtype) if len(shapes) == 1 else 2 * dtype.unit_roundoff("nearest_even")

    def errors(values: list[Any], out: Any, g: Any) -> list[Any]:
        terms, sums = theirs([a(v) for v in values], a(g))
        return [40 * unit * bound for bound in (terms, *sums)]

    with mp.rounding("nearest_even"):
        check_operation(lambda *x: mp.einsum(equation, *x), theirs, inputs, dtype, errors)


def test_einsum_takes_a_list_and_multiplies_in_the_lower_precision_under_autocast() -> None:
    x = mp.randn(2, 3)
    assert mp.einsum("ij,kj->ik", [x, x]).tolist() == (x @ x.T).tolist()
    with mp.amp.autocast(mp.float16):
        assert mp.einsum("ij,kj->ik", x, x).dtype is mp.float16
        assert mp.dot(x[0], x[1].half()).dtype is mp.float32
        assert mp.outer(x[0], x[1]).dtype is mp.float32
