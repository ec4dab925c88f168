"""Losses with all their options, and normalisation by channels, against PyTorch in every dtype."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp import nn
from tinymp.nn import functional as F
from tinymp.testing import check_operation, pytorch_oracle, unit_roundoff

torch = pytest.importorskip("torch")
t = torch.nn.functional

FLOATS = [mp.float64, mp.float32, mp.float16, mp.bfloat16]
REDUCTIONS = ["mean", "sum", "none"]
a = np.abs


def leaf(rng: Any, shape: tuple[int, ...], dtype: Any, scale: float = 1.0) -> Any:
    """A leaf of normal random values."""
    return mp.tensor(scale * rng.standard_normal(shape), dtype, requires_grad=True)


def roundoff(dtype: Any) -> float:
    """Unit roundoff of computing, twice that of float64, in which the oracle errs as much."""
    return unit_roundoff(dtype) * (2 if dtype is mp.float64 else 1)


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["cross_entropy", "smoothed", "nll_loss"])
@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 2), (4,)], ids=str)
def test_class_losses(name: str, weighted: bool, reduction: str, dtype: Any, shape: Any) -> None:
    rng = np.random.default_rng(len(shape))
    classes = shape[1] if len(shape) > 1 else shape[0]
    labels = rng.integers(0, classes, shape[:1] + shape[2:] if len(shape) > 1 else ())
    ignored = int(labels.flat[0]) if labels.size > 1 else -100
    weight = np.round(rng.uniform(0.5, 2, classes), 1) if weighted else None
    factor = None if weight is None else mp.tensor(weight, dtype)
    exact = None if factor is None else torch.tensor(factor.numpy(), dtype=torch.float64)
    options = {"label_smoothing": 0.3} if name == "smoothed" else {}
    ours, theirs = (
        getattr(x, "nll_loss" if name == "nll_loss" else "cross_entropy") for x in (F, t)
    )

    def errors(values: list[Any], out: Any, g: Any) -> list[Any]:
        # exp and log to 4 ulps, sums of `classes` and `labels.size` terms, of logits below 4.
        terms = 2 * labels.size if reduction == "sum" else 2
        unit = (2 * classes + labels.size + 60) * roundoff(dtype)
        return [unit * 8 * terms, unit * 2 * a(g).max()]

    check_operation(
        lambda x: ours(x, mp.tensor(labels), factor, ignored, reduction, **options),
        pytorch_oracle(
            lambda x: theirs(
                x,
                torch.tensor(labels),
                exact,
                ignore_index=ignored,
                reduction=reduction,
                **options,
            )
        ),
        [leaf(rng, shape, dtype)],
        dtype,
        errors,
    )


def test_rows_that_do_not_count_may_hold_anything() -> None:
    """Not even a NaN in an ignored row reaches the loss or the other gradients."""
    x = mp.tensor([[float("nan"), 0.0], [1.0, 2.0]], requires_grad=True)
    loss = mp.cross_entropy(x, mp.tensor([-100, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(np.log1p(np.exp(-1)), rel=2.0**-21)
    assert x.grad.tolist()[0] == [0, 0]
    assert np.isnan(mp.cross_entropy(x, mp.tensor([-100, -100])).item())


PAIRS: dict[str, list[dict[str, Any]]] = {
    "l1_loss": [{}],
    "huber_loss": [{}, {"delta": 0.3}],
    "smooth_l1_loss": [{}, {"beta": 0.3}, {"beta": 0}],
    "mse_loss": [{}],
    "kl_div": [{}, {"log_target": True}],
    "binary_cross_entropy_with_logits": [{}, {"weight": [2.0, 0.5, 1.0]}, {"pos_weight": [3.0]}],
}
PAIR_CASES = [
    (name, options, reduction)
    for name, many in PAIRS.items()
    for options, reduction in itertools.product(many, REDUCTIONS)
] + [("kl_div", {}, "batchmean")]


@pytest.mark.filterwarnings("ignore:reduction")  # PyTorch would rather not
@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize(("name", "options", "reduction"), PAIR_CASES, ids=str)
def test_losses_of_pairs(name: str, options: dict[str, Any], reduction: str, dtype: Any) -> None:
    rng = np.random.default_rng(5)
    shape = (4, 3)
    x = leaf(rng, shape, dtype)
    target = rng.uniform(0.125, 1, shape) if name[0] in "kb" else rng.standard_normal(shape)
    y = mp.tensor(target, dtype, requires_grad=True)
    ours = {k: mp.tensor(v, dtype) if isinstance(v, list) else v for k, v in options.items()}
    theirs = {
        k: torch.tensor(v, dtype=torch.float64) if isinstance(v, list) else v
        for k, v in options.items()
    }

    def errors(values: list[Any], out: Any, g: Any) -> list[Any]:
        # Each loss and slope is a few products and elementary functions of numbers below 8.
        unit = (12 + 40) * 8 * roundoff(dtype)
        bound = unit * a(g).max() * 8
        if reduction == "batchmean":  # the sum is rounded, then the quotient
            rounded = dtype.unit_roundoff("nearest_even")
            return [unit * 8 + 4 * rounded * a(out), *[bound + 4 * rounded * 8 * a(g)] * 2]
        return [unit * (12 if reduction == "sum" else 1) * 8, bound, bound]

    with mp.rounding("nearest_even"):
        check_operation(
            lambda x, y: getattr(F, name)(x, y, reduction=reduction, **ours),
            pytorch_oracle(lambda x, y: getattr(t, name)(x, y, reduction=reduction, **theirs)),
            [x, y],
            dtype,
            errors,
        )


def test_certain_answers_that_are_wrong_cost_100() -> None:
    for x, y in ([0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]), ([1e-38, 0.5], [1.0, 0.5]):
        ours, theirs = mp.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        found = F.binary_cross_entropy(ours, mp.tensor(y), reduction="sum")
        expected = t.binary_cross_entropy(theirs, torch.tensor(y), reduction="sum")
        found.backward()
        expected.backward()
        np.testing.assert_allclose(found.item(), expected.item(), rtol=40 * 2.0**-24)
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=40 * 2.0**-24)
    with pytest.raises(ValueError, match="takes probabilities; use binary_cross_entropy_with_log"):
        F.binary_cross_entropy(mp.tensor([1.5]), mp.tensor([1.0]))
    module = nn.BCELoss(mp.tensor([2.0]), "sum")
    assert module(mp.tensor([0.5]), mp.tensor([1.0])).item() == pytest.approx(2 * np.log(2))


def test_losses_far_out_and_at_the_limits() -> None:
    x = mp.tensor([200.0, -200.0], requires_grad=True)
    y = torch.tensor([200.0, -200.0], requires_grad=True)
    target = [0.0, 1.0]
    ours = F.binary_cross_entropy_with_logits(x, mp.tensor(target), reduction="none")
    theirs = t.binary_cross_entropy_with_logits(y, torch.tensor(target), reduction="none")
    assert ours.tolist() == theirs.tolist() == [200, 200]
    ours.sum().backward()
    assert x.grad.tolist() == [1, -1]
    zero = mp.tensor([0.0, 1.0], requires_grad=True)
    loss = F.kl_div(mp.tensor([-1.0, -1.0]), zero, "sum")
    loss.backward()
    assert loss.item() == 1
    assert zero.grad.tolist() == [0, 2]


NORMS = {
    "rms_norm": (
        lambda x, w=None, b=None: F.rms_norm(x, (12,), w, 1e-3),
        lambda x, w=None, b=None: t.rms_norm(x, (12,), w, 1e-3),
    ),
    "group_norm": (
        lambda x, w=None, b=None: F.group_norm(x, 3, w, b),
        lambda x, w=None, b=None: t.group_norm(x, 3, w, b),
    ),
    "batch_norm": (
        lambda x, w=None, b=None: F.batch_norm(x, None, None, w, b, True),
        lambda x, w=None, b=None: t.batch_norm(x, None, None, w, b, True),
    ),
}


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("parameters", [0, 2])
@pytest.mark.parametrize("name", NORMS)
def test_norms(name: str, parameters: int, dtype: Any) -> None:
    rng = np.random.default_rng(9)
    ours, theirs = NORMS[name]
    shape = (8, 12) if name != "group_norm" else (2, 12, 4)
    inputs = [leaf(rng, shape, dtype), *(leaf(rng, (12,), dtype) for _ in range(parameters))]
    inputs = inputs[:2] if name == "rms_norm" else inputs

    def errors(values: list[Any], out: Any, g: Any) -> list[Any]:
        # Statistics of at most 16 terms, numbers below 4, rstd below 4; sums of at most 16.
        unit = 100 * roundoff(dtype) * 4**2
        return [unit, unit * 8 * a(g).max(), *[unit * a(g).sum(0).max()] * 2][: 1 + len(values)]

    check_operation(ours, pytorch_oracle(theirs), inputs, dtype, errors)


@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
def test_running_statistics(momentum: Any) -> None:
    ours, theirs = (x.BatchNorm1d(3, momentum=momentum) for x in (nn, torch.nn))
    rng = np.random.default_rng(2)
    for _ in range(3):
        values = rng.standard_normal((5, 3, 2)).astype(np.float32) * 3 + 1
        ours(mp.tensor(values))
        theirs(torch.tensor(values))
    ours.eval()
    theirs.eval()
    out, expected = ours(mp.tensor(values)), theirs(torch.tensor(values)).detach()
    np.testing.assert_allclose(out.numpy(), expected.numpy(), rtol=0, atol=100 * 2.0**-24 * 4)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        found, wanted = getattr(ours, name), getattr(theirs, name)
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=40 * 2.0**-24)
    assert list(ours.state_dict()) == list(theirs.state_dict())


@pytest.mark.parametrize("dtype", [mp.float16, mp.bfloat16], ids=lambda dtype: dtype.name)
def test_batch_norm_in_low_precision_keeps_dtypes_and_float32_statistics(dtype: Any) -> None:
    layer, x = nn.BatchNorm2d(2), mp.randn(3, 2, 4, 4).to(dtype).requires_grad_()
    out = F.batch_norm(x, layer.running_mean, layer.running_var, training=True)
    assert out.dtype is dtype
    assert layer.running_mean.dtype is mp.float32
    expected = 0.1 * x.numpy().mean((0, 2, 3))
    np.testing.assert_allclose(layer.running_mean.numpy(), expected, rtol=0, atol=100 * 2.0**-24)
    with pytest.raises(ValueError, match=r"BatchNorm2d was given .*\(2, 2\); it takes 4 dim"):
        layer(mp.ones(2, 2))


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
def test_modules_of_class_losses_hold_their_weight_as_a_buffer(name: str) -> None:
    weight = mp.tensor([1.0, 2.0, 0.5])
    module = getattr(nn, name)(weight, reduction="sum")
    x, labels = mp.randn(4, 3), mp.tensor([0, 1, 2, -100])
    function = F.cross_entropy if name == "CrossEntropyLoss" else F.nll_loss
    assert module(x, labels).item() == function(x, labels, weight, reduction="sum").item()
    assert list(module.state_dict()) == ["weight"]
    assert module.half().weight.dtype is mp.float16


@pytest.mark.parametrize("name", ["L1Loss", "HuberLoss", "SmoothL1Loss", "KLDivLoss", "MSELoss"])
def test_modules_of_losses_of_pairs(name: str) -> None:
    x, y = np.random.default_rng(0).uniform(0.1, 1, (2, 3, 4)).astype(np.float32)
    found = getattr(nn, name)("sum")(mp.tensor(x), mp.tensor(y)).item()
    expected = getattr(torch.nn, name)(reduction="sum")(torch.tensor(x), torch.tensor(y)).item()
    assert found == pytest.approx(expected, rel=40 * 2.0**-24, abs=40 * 2.0**-24 * 12)
    logits = nn.BCEWithLogitsLoss(pos_weight=mp.tensor([2.0]))
    assert logits(mp.tensor(x), mp.tensor(y)).item() == pytest.approx(
        torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0]))(
            torch.tensor(x), torch.tensor(y)
        ).item(),
        rel=40 * 2.0**-24,
    )
