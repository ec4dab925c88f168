"""Every operation against PyTorch on the CPU: value, dtype, gradient and gradient dtype.

PyTorch computes in float64 what tinymp computes in float32 (float64 for float64) and then rounds
once. The bounds are on the float32 part; rounding itself is not allowed to err. They count unit
roundoffs `u` of the compute type: 1 for each + − × ÷ √, 8 (4 ulps, NumPy's promise) for exp, log
and tanh, n for a sum of n terms; `d` is the error of a result that is stored and used again in
backward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

import tinymp as mp
from tinymp.formats import active_rounding
from tinymp.testing import check_operation, pytorch_oracle, unit_roundoff

torch = pytest.importorskip("torch")
F = torch.nn.functional

FLOATS = [mp.float64, mp.float32, mp.float16, mp.bfloat16]
LAYOUTS = ["contiguous", "transposed", "reversed", "strided"]


def leaf(rng: Any, shape: tuple[int, ...], dtype: Any, low: float, high: float, layout: str) -> Any:
    """A leaf of uniform random values, laid out in memory in one of several ways."""
    if layout == "transposed":
        x = mp.tensor(rng.uniform(low, high, shape[::-1]), dtype).T
    elif layout == "reversed":
        x = mp.tensor(rng.uniform(low, high, shape), dtype)[(slice(None, None, -1),) * len(shape)]
    elif layout == "strided":
        doubled = tuple(2 * n for n in shape)
        x = mp.tensor(rng.uniform(low, high, doubled), dtype)[(slice(None, None, 2),) * len(shape)]
    else:
        x = mp.tensor(rng.uniform(low, high, shape), dtype)
    return x.detach().requires_grad_()


class Case(NamedTuple):
    """An elementwise operation: ours, PyTorch's, the domain of each input, and the error bounds.

    `errors(u, d, g, out, *inputs)` bounds the error of the value and of each gradient; `d` is a
    function of the value's bound.
    """

    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    domains: tuple[tuple[float, float], ...]
    errors: Callable[..., list[Any]]


def stored(dtype: Any, out: Any, computing: Any) -> Any:
    """How far a stored result is from the exact one: error of computing it, then of rounding it."""
    return (
        computing
        + dtype.unit_roundoff(active_rounding().mode(dtype)) * (np.abs(out) + computing)
        + dtype.smallest_subnormal
    )


W = (-4.0, 4.0)
P = (0.125, 8.0)
a = np.abs
ELEMENTWISE = {
    "add": Case(mp.add, torch.add, (W, W), lambda u, d, g, o, x, y: [u * a(o), u * a(g), u * a(g)]),
    "sub": Case(mp.sub, torch.sub, (W, W), lambda u, d, g, o, x, y: [u * a(o), u * a(g), u * a(g)]),
    "mul": Case(
        mp.mul, torch.mul, (W, W), lambda u, d, g, o, x, y: [u * a(o), u * a(g * y), u * a(g * x)]
    ),
    "div": Case(
        mp.div,
        torch.div,
        (W, P),
        lambda u, d, g, o, x, y: [u * a(o), u * a(g / y), 4 * u * a(g * o / y)],
    ),
    "neg": Case(mp.neg, torch.neg, (W,), lambda u, d, g, o, x: [0, 0]),
    "pow": Case(
        mp.pow,
        torch.pow,
        (P, (-2.0, 2.0)),
        # x^y in float32 (4 ulps); the gradient multiplies twice more, y - 1 is rounded too.
        lambda u, d, g, o, x, y: [
            8 * u * a(o),
            (12 + 2 * a(np.log(x))) * u * a(g * o * y / x),
            a(g) * (a(np.log(x)) * d(8 * u * a(o)) + 12 * u * a(o * np.log(x))),
        ],
    ),
    "exp": Case(
        mp.exp,
        torch.exp,
        (W,),
        lambda u, d, g, o, x: [8 * u * o, a(g) * d(8 * u * o) + u * a(g * o)],
    ),
    "log": Case(
        mp.log, torch.log, (P,), lambda u, d, g, o, x: [8 * u * a(o), u * a(g / x)]
    ),
    "sqrt": Case(
        mp.sqrt,
        torch.sqrt,
        (P,),
        lambda u, d, g, o, x: [
            u * o,
            a(g) / 2 * (1 / (o - d(u * o)) - 1 / o) + 2 * u * a(g) / o,
        ],
    ),
    "tanh": Case(
        mp.tanh,
        torch.tanh,
        (W,),
        lambda u, d, g, o, x: [
            8 * u * a(o),
            a(g) * (2 * a(o) * d(8 * u * a(o)) + d(8 * u * a(o)) ** 2 + 4 * u),
        ],
    ),
    "sigmoid": Case(
        mp.sigmoid,
        torch.sigmoid,
        (W,),
        lambda u, d, g, o, x: [10 * u * o, a(g) * (d(10 * u * o) + d(10 * u * o) ** 2 + 3 * u * o)],
    ),
    "abs": Case(mp.abs, torch.abs, (W,), lambda u, d, g, o, x: [0, 0]),
    "relu": Case(mp.relu, torch.relu, (W,), lambda u, d, g, o, x: [0, 0]),
    # Φ to 10 ulps, and a product (the oracle rounds x/√2, which costs x² ulps); the gradient adds
    # x·φ(x), 10 ulps and two products.
    "gelu": Case(
        mp.gelu,
        lambda x: 0.5 * x * torch.erfc(-x / 2**0.5),  # F.gelu and ndtr cancel for negative x
        (W,),
        lambda u, d, g, o, x: [(21 + x * x) * u * a(o), a(g) * 24 * u * (1 + a(x))],
    ),
    "gelu_tanh": Case(
        lambda x: mp.gelu(x, approximate="tanh"),
        lambda x: F.gelu(x, approximate="tanh"),
        (W,),
        # 1 + tanh(z) cancels for negative z: its error is absolute. dtanh ≤ 1, and |z| < 6.2.
        lambda u, d, g, o, x: [a(x) * 16 * u, a(g) * 64 * u * (1 + a(x))],
    ),
    "maximum": Case(mp.maximum, torch.maximum, (W, W), lambda u, d, g, o, x, y: [0, 0, 0]),
    "minimum": Case(mp.minimum, torch.minimum, (W, W), lambda u, d, g, o, x, y: [0, 0, 0]),
    "clamp": Case(
        lambda x: mp.clamp(x, -1, 1.5), lambda x: torch.clamp(x, -1, 1.5), (W,),
        lambda u, d, g, o, x: [0, 0],
    ),
    "cast": Case(
        lambda x: x.to(mp.float64).to(x.dtype), lambda x: x, (W,), lambda u, d, g, o, x: [0, 0]
    ),
    "where": Case(
        lambda x, y: mp.where(x > y, x, y * 2.0),
        lambda x, y: torch.where(x > y, x, y * 2.0),
        (W, W),
        lambda u, d, g, o, x, y: [0, 0, 0],
    ),
    "mse_loss": Case(
        lambda x: mp.mse_loss(x, mp.ones(*x.shape, dtype=x.dtype), reduction="none"),
        lambda x: F.mse_loss(x, torch.ones_like(x), reduction="none"),
        (W,),
        lambda u, d, g, o, x: [4 * u * a(o), 4 * u * a(g * (x - 1))],
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", ELEMENTWISE)
@settings(max_examples=15)
@given(data=st.data())
def test_elementwise(name: str, dtype: Any, data: Any) -> None:
    case = ELEMENTWISE[name]
    shapes = data.draw(
        mutually_broadcastable_shapes(
            num_shapes=len(case.domains), max_dims=3, min_side=0, max_side=4
        )
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    inputs = [
        leaf(rng, shape, dtype, low, high, data.draw(st.sampled_from(LAYOUTS)))
        for shape, (low, high) in zip(shapes.input_shapes, case.domains, strict=True)
    ]
    mode = data.draw(st.sampled_from(["nearest_even", "toward_zero"]))
    with mp.rounding(mode):
        check_operation(
            case.ours,
            pytorch_oracle(case.theirs),
            inputs,
            dtype,
            lambda values, out, g: summed(case, dtype, values, out, g),
        )


def summed(case: Case, dtype: Any, values: list[Any], out: Any, g: Any) -> list[Any]:
    """The bounds of a case, those of gradients summed over the axes that were broadcast."""
    u = unit_roundoff(dtype)
    if dtype is mp.float64:
        u *= 2  # the oracle's own errors are of the same size
    value, *errors = case.errors(
        u, lambda computing: stored(dtype, out, computing), g, out, *values
    )
    # The terms of each sum: the gradients of inputs that are not broadcast but repeated.
    _, gradients = pytorch_oracle(case.theirs)(
        [np.broadcast_to(x, out.shape).copy() for x in values], g
    )
    bounds = [value]
    for error, terms, x in zip(errors, gradients, values, strict=True):
        added = out.ndim - x.ndim
        axes = tuple(i for i in range(out.ndim) if i < added or x.shape[i - added] == 1)
        n = int(np.prod([out.shape[i] for i in axes]))
        each = error + (n - 1) * u * (np.abs(terms) + error)  # summing n terms adds γ_(n-1)
        bounds.append(np.broadcast_to(each, out.shape).sum(axis=axes).reshape(x.shape))
    return bounds


@pytest.mark.parametrize("dtype", FLOATS[1:], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "sqrt"])
def test_correctly_rounded_under_nearest_even(name: str, dtype: Any) -> None:
    """Computing in float32 first does no harm: 24 ≥ 2·11 + 2 bits (Figueroa 1995). Any words."""
    rng = np.random.default_rng(5)
    count = len(ELEMENTWISE[name].domains)
    words = rng.integers(0, 1 << dtype.bits, (count, 20_000), np.uint64, endpoint=False)
    words = words.astype(dtype.words)
    words[:, :1000] &= dtype.words.type(dtype.significand_mask | dtype.sign_mask)  # subnormals
    inputs = [mp.Tensor(row.view(dtype.storage), dtype) for row in words]
    with mp.rounding("nearest_even"), np.errstate(all="ignore"):
        check_operation(
            ELEMENTWISE[name].ours, pytorch_oracle(ELEMENTWISE[name].theirs), inputs, dtype
        )
