"""Layer normalisation, losses and gathered gradients against PyTorch on the CPU, in every dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp.testing import assert_rounded, check_operation, pytorch_oracle, unit_roundoff

torch = pytest.importorskip("torch")
F = torch.nn.functional

FLOATS = [mp.float64, mp.float32, mp.float16, mp.bfloat16]
a = np.abs


def leaf(rng: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """A leaf of normal random values."""
    return mp.tensor(rng.standard_normal(shape), dtype, requires_grad=True)


def roundoff(dtype: Any) -> float:
    """Unit roundoff of computing, twice that of float64, in which the oracle errs as much."""
    return unit_roundoff(dtype) * (2 if dtype is mp.float64 else 1)


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 4), (0, 4), (3, 1)], ids=str)
def test_layer_norm(dtype: Any, affine: bool, shape: Any) -> None:
    rng = np.random.default_rng(3)
    n = shape[-1]
    inputs = [leaf(rng, shape, dtype), *(leaf(rng, (n,), dtype) for _ in range(2 * affine))]

    def errors(values: list[Any], out: Any, g: Any) -> list[Any]:
        x, *_ = values
        size, rows = float(np.abs(x).max(initial=1)), int(np.prod(shape[:-1]))
        # Mean and variance of n terms; rstd magnifies what the deviations lose. Then it is a few
        # products, at most (1 + |normalised|²) times the gradient.
        rstd = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        loss = (4 * n + 16) * roundoff(dtype) * size**2 * (1 + rstd**3)
        weight = np.abs(values[1]).max() if affine else 1.0
        total = np.abs(g).sum() * (rows + n + 4)
        bound = (loss * weight, loss * weight * np.abs(g).sum(-1, keepdims=True) * n)
        return [*bound, *[loss.sum() * total for _ in values[1:]]]

    def theirs(x: Any, weight: Any = None, bias: Any = None) -> Any:
        return F.layer_norm(x, (n,), weight, bias)

    check_operation(
        lambda x, *p: mp.layer_norm(x, (n,), *p), pytorch_oracle(theirs), inputs, dtype, errors
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 2), (1, 1), (4,), (2, 3, 2, 2)], ids=str)
def test_cross_entropy(dtype: Any, reduction: str, shape: Any) -> None:
    rng = np.random.default_rng(4)
    classes = shape[1] if len(shape) > 1 else shape[0]
    labels = rng.integers(0, classes, shape[:1] + shape[2:] if len(shape) > 1 else ())
    x = leaf(rng, shape, dtype)

    def errors(values: list[Any], out: Any, g: Any) -> list[Any]:
        # exp and log to 4 ulps, sums of `classes` and of `labels.size` terms, of logits up to 8.
        terms = labels.size if reduction == "sum" else 1
        unit = (classes + labels.size + 40 + 10 * 8) * roundoff(dtype)
        return [unit * 16 * terms, unit * 2 * np.abs(g).max(initial=0)]

    check_operation(
        lambda x: mp.cross_entropy(x, mp.tensor(labels), reduction=reduction),
        pytorch_oracle(lambda x: F.cross_entropy(x, torch.tensor(labels), reduction=reduction)),
        [x],
        dtype,
        errors,
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", [(6, 5), (), (1, 3, 2)], ids=str)
def test_mse_loss(dtype: Any, reduction: str, shape: Any) -> None:
    rng = np.random.default_rng(5)
    inputs = [leaf(rng, shape, dtype), leaf(rng, shape, dtype)]

    def errors(values: list[Any], out: Any, g: Any) -> list[Any]:
        n = int(np.prod(shape))
        scale = n if reduction == "mean" else 1
        gradient = 6 * roundoff(dtype) * 2 * a(g * (values[0] - values[1])) / scale
        return [(n + 5) * roundoff(dtype) * out, gradient, gradient]

    check_operation(
        lambda x, y: mp.mse_loss(x, y, reduction),
        pytorch_oracle(lambda x, y: F.mse_loss(x, y, reduction=reduction)),
        inputs,
        dtype,
        errors,
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
def test_a_gradient_gathered_from_many_places_is_rounded_once(dtype: Any) -> None:
    """3,000 gradients of 1 and one of 1/4 meet in one element: a float16 sum would stop at 2048."""
    index = np.zeros(3001, np.int64)
    weights = np.ones(3001)
    weights[1500] = 0.25

    check_operation(
        lambda x: x[index],
        pytorch_oracle(lambda x: x[torch.tensor(index)]),
        [mp.ones(2, dtype=dtype, requires_grad=True)],
        dtype,
        lambda values, out, g: [0, 3001 * roundoff(dtype) * a(g).sum()],
    )
    x = mp.ones(2, dtype=dtype, requires_grad=True)
    x[index].backward(mp.tensor(weights, dtype))
    assert_rounded(x.grad, np.array([3000.25, 0]), dtype)
