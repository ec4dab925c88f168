"""Laws that every operation obeys: the list is held against the modules of `tinymp.ops`."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import numpy as np
import pytest

import tinymp as mp
import tinymp.ops
from tinymp.autograd import Op
from tinymp.autograd.op import GradientRule
from tinymp.formats import DType, promote
from tinymp.ops.conversion import TRANSFER
from tinymp.ops.elementwise import DROPOUT
from tinymp.testing import gradcheck

RNG = np.random.default_rng(3)
X = RNG.uniform(-2, 2, (3, 4))
Y = RNG.uniform(-2, 2, (3, 4))
ROW = RNG.uniform(-2, 2, (4,))
COLUMN = RNG.uniform(-2, 2, (3, 1))
POSITIVE = RNG.uniform(0.5, 2, (3, 4))
SQUARE = RNG.uniform(-2, 2, (4, 4))
IMAGE = RNG.uniform(-2, 2, (2, 2, 3, 5))
KERNEL = RNG.uniform(-2, 2, (2, 2, 2, 3))
LABELS = mp.tensor([1, 0, 3])
ALONG = mp.tensor([[3, 0, 3], [1, 1, 1]])
WEIGHT = mp.tensor([0.5, 1.0, 2.0, 0.0])
MASK = mp.tensor([[True, False, True, True]])


def dropped_attention(q: Any, k: Any) -> Any:
    """Attention that drops the same weights each time it is called."""
    mp.manual_seed(1)
    return mp.scaled_dot_product_attention(q, k, k, dropout_p=0.4)


def dropped_self_attention(x: Any) -> Any:
    """Self-attention with dropout, from the same state of the generator."""
    mp.manual_seed(1)
    return mp.self_attention(x.reshape(1, 2, 3, 1, 2), dropout_p=0.4)


def transferred(x: Any) -> Any:
    """A transfer to where it already is: the operation itself, without a second device."""
    return mp.autograd.apply(TRANSFER, x, device=x.device, source=x.device)


USES: dict[str, list[Any]] = {
    "add": [(mp.add, X, Y), (mp.add, X, ROW), (mp.add, COLUMN, ROW), (lambda x: 2 + x + 1.5, X)],
    "sub": [(mp.sub, X, Y), (mp.sub, ROW, X), (lambda x: 2 - x - 1.5, X)],
    "mul": [(mp.mul, X, Y), (mp.mul, X, COLUMN), (lambda x: 2 * x * 1.5, X), (lambda x: x * x, X)],
    "div": [(mp.div, X, POSITIVE), (mp.div, ROW, POSITIVE), (lambda x: 2 * x / 1.5, POSITIVE)],
    "floor_divide": [(mp.floor_divide, X, POSITIVE), (lambda x: x // 2.0, X)],
    "remainder": [(mp.remainder, X, POSITIVE), (lambda x: x % 1.75, X), (lambda x: 5 % x, Y)],
    "neg": [(mp.neg, X)],
    "pow": [
        (mp.pow, POSITIVE, Y),
        (lambda x: x**3, X),
        (lambda x: x**0, X),
        (lambda x: 2**x, X),
        (lambda x: 1.5**x, X),
        (mp.pow, POSITIVE, ROW),
    ],
    "exp": [(mp.exp, X)],
    "log": [(mp.log, POSITIVE)],
    "sqrt": [(mp.sqrt, POSITIVE)],
    "tanh": [(mp.tanh, X)],
    "sin": [(mp.sin, X)],
    "cos": [(mp.cos, X)],
    "tan": [(mp.tan, X)],
    "sinh": [(mp.sinh, X)],
    "cosh": [(mp.cosh, X)],
    "asinh": [(mp.asinh, X)],
    "expm1": [(mp.expm1, X)],
    "atan": [(mp.atan, X)],
    "erf": [(mp.erf, X)],
    "sign": [(mp.sign, X)],
    "floor": [(mp.floor, X)],
    "ceil": [(mp.ceil, X)],
    "round": [(mp.round, X)],
    "trunc": [(mp.trunc, X)],
    "asin": [(mp.asin, X / 2.1)],
    "acos": [(mp.acos, X / 2.1)],
    "atanh": [(mp.atanh, X / 2.1)],
    "acosh": [(mp.acosh, POSITIVE + 1)],
    "log1p": [(mp.log1p, POSITIVE - 1)],
    "log2": [(mp.log2, POSITIVE)],
    "log10": [(mp.log10, POSITIVE)],
    "rsqrt": [(mp.rsqrt, POSITIVE)],
    "reciprocal": [(mp.reciprocal, POSITIVE), (lambda x: 2 / x, POSITIVE)],
    "softplus": [(mp.softplus, 3 * X), (lambda x: mp.softplus(x, 2.0, 3.0), X)],
    "silu": [(mp.silu, 3 * X)],
    "elu": [(mp.elu, X), (lambda x: mp.elu(x, 0.5), X)],
    "leaky_relu": [(mp.leaky_relu, X), (lambda x: mp.leaky_relu(x, 0.2), X)],
    "hardtanh": [(mp.hardtanh, X), (lambda x: mp.hardtanh(x, -0.5, 1.5), X)],
    "abs": [(mp.abs, X)],
    "relu": [(mp.relu, X)],
    "sigmoid": [(mp.sigmoid, X)],
    "gelu": [(mp.gelu, 3 * X)],
    "gelu_tanh": [(lambda x: mp.gelu(x, approximate="tanh"), 3 * X)],
    "maximum": [(mp.maximum, X, Y), (mp.maximum, X, ROW), (lambda x: mp.maximum(x, 0.5), X)],
    "minimum": [(mp.minimum, X, Y), (mp.minimum, X, ROW), (lambda x: mp.minimum(0.5, x), X)],
    "clamp": [
        (lambda x: mp.clamp(x, -1, 1), X),
        (lambda x: x.clip(min=0.1), X),
        (lambda x: x.clamp(max=0.1), X),
    ],
    "where": [
        (lambda x, y: mp.where(MASK, x, y), X, Y),
        (lambda x, y: mp.where(MASK, x, y), COLUMN, ROW),
        (lambda x: mp.where(MASK, x, 1.0), X),
        (lambda x: mp.where(MASK, 1.0, x), X),
    ],
    "dropout": [
        (lambda x: mp.autograd.apply(DROPOUT, x, p=0.25, seed=3, draw=1), X)
    ],
    "cast": [(lambda x: x.double() * 1.0, X)],
    "transfer": [(transferred, X)],
    "clone": [(mp.clone, X)],
    "sum": [(mp.sum, X), (lambda x: x.sum(-1), X), (lambda x: x.sum((0, 1), keepdim=True), X)],
    "mean": [(mp.mean, X), (lambda x: x.mean(0), X), (lambda x: x.mean(-1, keepdim=True), X)],
    "var": [(mp.var, X), (lambda x: x.var(1, correction=0), X), (lambda x: x.var(0), X)],
    "std": [(mp.std, X), (lambda x: x.std(1, 0), X), (lambda x: x.std((0,), keepdim=True), X)],
    "prod": [(mp.prod, X), (lambda x: x.prod(-1), X * MASK.numpy()), (lambda x: x.prod(0), X)],
    "norm": [
        (mp.norm, X),
        (lambda x: x.norm(dim=1), X),
        (lambda x: x.norm(1, (0, 1), keepdim=True), X),
        (lambda x: x.norm(3.5, 0), X),
        (lambda x: x.norm(float("inf"), 1), X),
        (lambda x: x.norm(-float("inf")), X),
        (lambda x: x.norm(0, -1), X),
    ],
    "cumsum": [(lambda x: x.cumsum(0), X), (lambda x: mp.cumsum(x, -1), X)],
    "cumprod": [(lambda x: x.cumprod(0), X), (lambda x: mp.cumprod(x, -1), X * MASK.numpy())],
    "median": [(mp.median, X), (lambda x: x.median() * 1.0, ROW)],
    "argmedian": [(lambda x: x.median(1).indices, X)],
    "argsort": [(lambda x: x.argsort(), X), (lambda x: x.argsort(0, descending=True), X)],
    "argtopk": [(lambda x: x.topk(2, 0).indices, X)],
    "logsumexp": [(mp.logsumexp, X), (lambda x: x.logsumexp(1, True), X)],
    "amax": [(mp.max, X), (lambda x: mp.amax(x, 1), X), (lambda x: mp.amax(x, (0, 1), True), X)],
    "amin": [(mp.min, X), (lambda x: mp.amin(x, 1), X), (lambda x: mp.amin(x, (0,), True), X)],
    "argmax": [(lambda x: x.argmax(1), X)],
    "argmin": [(lambda x: x.argmin(1), X)],
    "softmax": [(lambda x: mp.softmax(x, 0), X), (lambda x: x.softmax(-1), X)],
    "log_softmax": [(lambda x: mp.log_softmax(x, 0), X), (lambda x: x.log_softmax(-1), X)],
    "layer_norm": [
        (lambda x: mp.layer_norm(x, (4,)), X),
        (lambda x, w: mp.layer_norm(x, (4,), w), X, ROW),
        (lambda x, b: mp.layer_norm(x, (4,), None, b), X, ROW),
        (lambda x, w, b: mp.layer_norm(x, (3, 4), w, b), X, Y, POSITIVE),
    ],
    "rms_norm": [
        (lambda x: mp.rms_norm(x, (4,)), X),
        (lambda x, w: mp.rms_norm(x, (3, 4), w, 0.1), X, Y),
    ],
    "batch_norm": [
        (lambda x: mp.batch_norm(x, None, None, training=True), X),
        (lambda x: mp.batch_norm(x, mp.ones(4), mp.full((4,), 2.0)), X),
        (
            lambda x, w, b: mp.batch_norm(x.reshape(3, 2, 2), None, None, w, b, True),
            X,
            ROW[:2],
            ROW[2:],
        ),
    ],
    "group_norm": [
        (lambda x: mp.group_norm(x, 2), X),
        (lambda x, w, b: mp.group_norm(x.reshape(1, 4, 3), 2, w, b), X, ROW, ROW),
    ],
    "cross_entropy": [
        (lambda x: mp.cross_entropy(x, LABELS), X),
        (lambda x: mp.cross_entropy(x, LABELS, reduction="sum"), X),
        (lambda x: mp.cross_entropy(x, LABELS, reduction="none"), X),
        (lambda x: mp.cross_entropy(x, mp.tensor(2)), ROW),
        (lambda x: mp.cross_entropy(x, LABELS, WEIGHT.to(x.dtype), 0, label_smoothing=0.25), X),
        (lambda x: mp.cross_entropy(x, LABELS, WEIGHT.to(x.dtype), 3, "none"), X),
        (lambda x: mp.cross_entropy(x.reshape(1, 4, 3), mp.tensor([[1, 3, 0]])), X),
    ],
    "nll_loss": [
        (lambda x: mp.nll_loss(x, LABELS), X),
        (lambda x: mp.nll_loss(x, LABELS, WEIGHT.to(x.dtype), 0, "sum"), X),
        (lambda x: mp.nll_loss(x, LABELS, reduction="none"), X),
    ],
    "binary_cross_entropy_with_logits": [
        (mp.binary_cross_entropy_with_logits, 3 * X, POSITIVE / 2),
        (lambda x, y: mp.binary_cross_entropy_with_logits(x, y, MASK * 2, "none"), X, POSITIVE / 2),
        (
            lambda x, y: mp.binary_cross_entropy_with_logits(x, y, None, "sum", WEIGHT.to(x.dtype)),
            X,
            POSITIVE / 2,
        ),
    ],
    "binary_cross_entropy": [
        (mp.ops.binary_cross_entropy, POSITIVE / 2.1, POSITIVE / 2),
        (
            lambda x, y: mp.ops.binary_cross_entropy(x, y, WEIGHT.to(x.dtype), "sum"),
            POSITIVE / 2.1,
            POSITIVE / 2,
        ),
    ],
    "l1_loss": [(mp.l1_loss, X, Y), (lambda x, y: mp.l1_loss(x, y, "none"), X, Y)],
    "huber_loss": [(mp.huber_loss, X, Y), (lambda x, y: mp.huber_loss(x, y, "sum", 0.5), X, Y)],
    "smooth_l1_loss": [
        (mp.smooth_l1_loss, X, Y),
        (lambda x, y: mp.smooth_l1_loss(x, y, "none", 0.5), X, Y),
    ],
    "kl_div": [
        (mp.kl_div, X, POSITIVE),
        (lambda x, y: mp.kl_div(x, y, "batchmean", log_target=True), X, Y),
    ],
    "mse_loss": [
        (mp.mse_loss, X, Y),
        (lambda x, y: mp.mse_loss(x, y, reduction="sum"), X, Y),
        (lambda x, y: mp.mse_loss(x, y, reduction="none"), X, Y),
    ],
    "matmul": [
        (mp.matmul, X, SQUARE),
        (mp.matmul, X, ROW),
        (mp.matmul, ROW, SQUARE),
        (mp.matmul, ROW, ROW),
        (lambda x, y: x.reshape(3, 1, 4) @ y.reshape(3, 4, 1), X, Y),
        (lambda x, y: x @ y.reshape(1, 4, 4).expand(2, 4, 4), X, SQUARE),
    ],
    "linear": [
        (mp.linear, X, SQUARE),
        (mp.linear, X, SQUARE, ROW),
        (mp.linear, ROW, SQUARE, ROW),
        (lambda x, w: mp.linear(x.reshape(3, 1, 4), w), X, SQUARE),
    ],
    "dot": [(mp.dot, ROW, SQUARE[0])],
    "embedding": [
        (lambda w: mp.embedding(LABELS, w), SQUARE),
        (lambda w: mp.embedding(mp.tensor([[2, 2], [0, 2]]), w), X),
    ],
    "scatter_add": [
        (lambda x, y: x.scatter_add(1, ALONG, y), X, Y),
        (lambda x, y: mp.scatter_add(x, 0, ALONG[:, :2] - ALONG[:, :2], y), X, SQUARE),
    ],
    "flip": [(lambda x: x.flip(0), X), (lambda x: x.flip((0, 1)), X)],
    "roll": [(lambda x: x.roll(2), X), (lambda x: x.roll((1, -1), (0, -1)), X)],
    "tril": [(mp.tril, X), (lambda x: x.tril(-1), SQUARE)],
    "triu": [(mp.triu, X), (lambda x: x.triu(1), SQUARE)],
    "diagonal": [(mp.diagonal, X), (lambda x: x.diagonal(-1), X), (mp.trace, SQUARE)],
    "conv2d": [
        (mp.conv2d, IMAGE, KERNEL),
        (lambda x, w, b: mp.conv2d(x, w, b, (2, 1), (1, 2), (1, 2)), IMAGE, KERNEL, ROW[:2]),
        (lambda x, w: mp.conv2d(x, w[:, :1], padding="same", groups=2), IMAGE, KERNEL),
        (lambda x, w: mp.conv1d(x[:, :, 0], w[:, :, 0], stride=2), IMAGE, KERNEL),
    ],
    "conv_transpose2d": [
        (mp.conv_transpose2d, IMAGE, KERNEL),
        (
            lambda x, w, b: mp.conv_transpose2d(x, w, b, 2, 1, (0, 1), 2),
            IMAGE,
            KERNEL,
            RNG.uniform(-2, 2, 4),
        ),
    ],
    "max_pool2d": [
        (lambda x: mp.max_pool2d(x, 2), IMAGE),
        (lambda x: mp.max_pool2d(x, (2, 3), 1, 1, (2, 1)), IMAGE),
    ],
    "avg_pool2d": [
        (lambda x: mp.avg_pool2d(x, 2), IMAGE),
        (lambda x: mp.avg_pool2d(x, 2, 1, 1, count_include_pad=False), IMAGE),
        (lambda x: mp.avg_pool2d(x, 2, (2, 3), 1, True), IMAGE),
        (lambda x: mp.adaptive_avg_pool2d(x, (3, 5)), IMAGE),
    ],
    "scaled_dot_product_attention": [
        (mp.scaled_dot_product_attention, X, Y, SQUARE[:3]),
        (lambda q, k, v: mp.scaled_dot_product_attention(q, k, v, is_causal=True), SQUARE, X, Y),
        (lambda q, k: mp.scaled_dot_product_attention(q, k, k, MASK, scale=1.5), X, SQUARE),
        (lambda q, k: mp.scaled_dot_product_attention(q, k, k[:, :2], WEIGHT), X, SQUARE),
        (dropped_attention, X, Y),
    ],
    "self_attention": [
        (lambda x: mp.self_attention(x.reshape(1, 2, 3, 1, 2), is_causal=True), X),
        (dropped_self_attention, X),
    ],
    "reshape": [(lambda x: x.reshape(4, -1), X), (lambda x: x.T.flatten(), X)],
    "permute": [(lambda x: x.reshape(3, 2, 2).permute(2, 0, 1), X), (lambda x: x.mT, X)],
    "expand": [(lambda x: x.expand(2, 3, 4), COLUMN), (lambda x: x.expand(3, -1), ROW)],
    "cat": [(lambda x, y: mp.cat([x, y, x], dim=-1), X, Y)],
    "stack": [(lambda x, y: mp.stack([x, y, x], dim=1), X, Y)],
    "pad": [(lambda x: mp.pad(x, (1, 2, 0, 3), value=7.0), X)],
    "slice": [
        (lambda x: x[1], X),
        (lambda x: x[1, 2], X),
        (lambda x: x[::-2, None, 1:], X),
        (lambda x: x.split([1, 3], dim=1)[1], SQUARE),
    ],
    "gather": [
        (lambda x: x[mp.tensor([2, 0, 2, 2])], X),
        (lambda x: x[[0, 0], [-1, -1]], X),
        (lambda x: x[MASK.expand(3, 4)], X),
        (lambda x: x.max(1).values, X),
        (lambda x: x.median(-1, keepdim=True).values, X),
        (lambda x: x.sort(0, descending=True).values, X),
        (lambda x: x.topk(2, largest=False).values, X),
        (lambda x: x.gather(1, ALONG), X),
        (lambda x: x.index_select(0, LABELS[:2]), X),
        (lambda x: mp.take_along_dim(x, mp.tensor([[0, 0], [3, 1], [2, 2]]), 1), X),
    ],
}  # fmt: skip
COMPARISONS = {name: [(getattr(mp, name), X, Y)] for name in ("eq", "ne", "lt", "le", "gt", "ge")}
TRUTHS = {
    **{name: [(getattr(mp, name), X)] for name in ("isnan", "isinf", "isfinite", "logical_not")},
    **{name: [(getattr(mp, name), X, Y)] for name in ("logical_and", "logical_or", "logical_xor")},
    **{name: [(getattr(mp, name), X)] for name in ("all", "any")},
    "count_nonzero": [(mp.count_nonzero, X), (lambda x: x.count_nonzero((0, 1)), X)],
    "bitwise_and": [(lambda x, y: (x > 0) & (y > 0), X, Y)],
    "bitwise_or": [(lambda x, y: (x > 0) | (y > 0), X, Y)],
    "bitwise_xor": [(lambda x, y: (x > 0) ^ (y > 0), X, Y)],
    "bitwise_not": [(lambda x: ~(x > 0), X)],
}
ALL = USES | COMPARISONS | TRUTHS
# Uses with indices, masks or weights that live on the CPU.
ON_CPU = (
    "where dropout cross_entropy nll_loss gather scatter_add embedding batch_norm "
    "binary_cross_entropy binary_cross_entropy_with_logits scaled_dot_product_attention "
    "self_attention"
).split()
FLOATS = [mp.float64, mp.float32, mp.float16, mp.bfloat16]


def operations() -> dict[str, Op]:
    """Every Op that a module of `tinymp.ops` defines."""
    found = {}
    for module in pkgutil.iter_modules(tinymp.ops.__path__):
        namespace = vars(importlib.import_module(f"tinymp.ops.{module.name}"))
        found |= {value.name: value for value in namespace.values() if isinstance(value, Op)}
    return found


def cases(uses: dict[str, list[Any]]) -> list[Any]:
    return [
        pytest.param(name, use[0], use[1:], id=f"{name}-{i}")
        for name, many in uses.items()
        for i, use in enumerate(many)
    ]


def leaves(values: tuple[Any, ...], dtype: DType, device: str) -> list[Any]:
    return [mp.tensor(v, dtype, device, requires_grad=True) for v in values]


def names(node: Any) -> set[str]:
    """Names of all operations in a graph."""
    found, waiting = set(), [node]
    while waiting:
        node = waiting.pop()
        if node is not None and not isinstance(node, mp.Tensor):
            found.add(node.name)
            waiting.extend(node.sources)
    return found


def test_no_operation_is_left_out() -> None:
    assert set(operations()) == set(ALL)


@pytest.mark.parametrize(("name", "function", "values"), cases(USES))
def test_gradient_is_the_derivative(name: str, function: Any, values: Any) -> None:
    tensors = leaves(values, mp.float64, "cpu")
    result = function(*tensors)
    if not result.dtype.is_float:
        assert not result.requires_grad
        return
    # A cast to the dtype it has is no operation, so gradcheck's float64 cannot see that one.
    assert name == "cast" or name in names(result.node)
    assert gradcheck(function, tensors)


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize(("name", "function", "values"), cases(ALL))
def test_dtypes_of_result_and_gradients(
    name: str, function: Any, values: Any, dtype: DType, device: str, monkeypatch: Any
) -> None:
    """Nothing computes in float64 that was not asked to: no result, no gradient, no raw array."""
    if name == "cast" and dtype is not mp.float64:
        pytest.skip("this one asks for float64")
    if device != "cpu" and name in ON_CPU:
        pytest.skip("its indices and masks live on the CPU")
    compute = np.float64 if dtype is mp.float64 else np.float32
    seen: list[Any] = []

    def watched(rule: Any) -> Any:
        def run(*arguments: Any, **attributes: Any) -> Any:
            out = rule(*arguments, **attributes)
            result, *residuals = out if isinstance(out, tuple) else (out,)
            seen.append(result)
            # Whatever else is kept, such as which element was chosen, may be narrower, never wider.
            seen.extend(r for r in residuals if r is not None and r.dtype == np.float64)
            return out

        return run

    op = operations()[name]
    if op.forward_on != "words" and op.result not in ("bool", "int64") and name not in TRUTHS:
        monkeypatch.setattr(op, "forward", watched(op.forward))
    if op.backward_on != "words":
        for rule in filter(None, op.rules):
            assert isinstance(rule, GradientRule)
            monkeypatch.setattr(rule, "function", watched(rule.function))

    tensors = leaves(values, dtype, device)
    result = function(*tensors)
    if not result.dtype.is_float:
        assert result.dtype.name == operations()[name].result.replace("promote", "bool")
        return
    assert result.dtype is dtype
    assert result._array.dtype == dtype.storage
    result.backward(mp.ones(*result.shape, dtype=dtype, device=device))
    for x in tensors:
        assert x.grad.dtype is dtype
        assert x.grad._array.dtype == dtype.storage
        assert x.grad.shape == x.shape
        assert x.grad.device == x.device
    assert all(out.dtype == compute for out in seen)


@pytest.mark.parametrize(("x", "y"), [(x, y) for x in FLOATS for y in FLOATS], ids=str)
def test_operands_of_two_dtypes(x: DType, y: DType) -> None:
    a, b = mp.tensor(X, x, requires_grad=True), mp.tensor(Y, y, requires_grad=True)
    result = a * b
    assert result.dtype is promote(x, y)
    result.sum().backward()
    assert (a.grad.dtype, b.grad.dtype) == (x, y)


@pytest.mark.parametrize(("name", "function", "values"), cases(USES))
def test_leaf_gradients_are_not_shared(name: str, function: Any, values: Any) -> None:
    tensors = leaves(values, mp.float32, "cpu")
    result = function(*tensors)
    if not result.requires_grad:
        return
    gradient = mp.ones(*result.shape, dtype=result.dtype)
    result.backward(gradient)
    held = [x.grad._array for x in tensors]
    for i, array in enumerate(held):
        assert array.flags.writeable
        for other in (gradient._array, *(x._array for x in tensors), *held[:i]):
            assert not np.shares_memory(array, other)
