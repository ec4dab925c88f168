"""Autocast: its table is PyTorch's, and holds in blocks, in decorated functions and in threads."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tinymp as mp
from tinymp.amp.autocast import autocast, categories
from tinymp.autograd import Op, apply
from tinymp.autograd.op import OPS
from tinymp.inspect import trace

# PyTorch 2.13's CUDA lists (ATen/autocast_mode.h), for names that tinymp may come to have. What is
# listed nowhere follows its inputs.
LOWER = """
    addbmm addmm addmv addr baddbmm bmm chain_matmul conv1d conv2d conv3d conv_tbc conv_transpose1d
    conv_transpose2d conv_transpose3d convolution einsum gru_cell linalg_multi_dot linalg_vecdot
    linear lstm_cell matmul mm mv prelu rnn_relu_cell rnn_tanh_cell scaled_dot_product_attention
""".split()
FLOAT32 = """
    acos asin binary_cross_entropy_with_logits cdist cosh cosine_embedding_loss cosine_similarity
    cumprod cumsum dist erfinv exp expm1 frobenius_norm group_norm hinge_embedding_loss huber_loss
    kl_div l1_loss layer_norm linalg_matrix_norm linalg_vector_norm log log10 log1p log2 log_softmax
    logsumexp margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss
    native_layer_norm nll_loss nll_loss2d norm nuclear_norm pdist poisson_nll_loss pow prod
    reciprocal renorm rms_norm rsqrt sinh smooth_l1_loss soft_margin_loss softmax softplus sum tan
    triplet_margin_loss
""".split()
WIDEST = """
    addcdiv addcmul atan2 bilinear cross dot grid_sampler index_put scatter_add tensordot vdot
""".split()
# Operations that PyTorch composes of others: of log_softmax and nll_loss, of attention and views.
# binary_cross_entropy is refused by its autocast, for what its lower formats would do to it.
COMPOSED = {
    "cross_entropy": "float32",
    "self_attention": "lower",
    "binary_cross_entropy": "float32",
}


def expected_category(name: str) -> str:
    for category, names in (("lower", LOWER), ("float32", FLOAT32), ("widest", WIDEST)):
        if name in names:
            return category
    return COMPOSED.get(name, "follow")


def test_every_operation_is_in_the_category_that_pytorch_gives_it() -> None:
    table = categories()
    assert set(table) == {"lower", "float32", "widest", "follow"}
    found = {name: category for category, names in table.items() for name in names}
    ours = {name for name in OPS if not name.startswith("attention")}
    assert {name: found[name] for name in ours} == {name: expected_category(name) for name in ours}


def test_the_lists_are_those_of_the_header_that_ships_with_pytorch() -> None:
    torch = pytest.importorskip("torch")
    header = Path(torch.__file__).parent / "include" / "ATen" / "autocast_mode.h"
    text = header.read_text(encoding="utf-8")

    def names(*macros: str) -> set[str]:
        bodies = [re.search(rf"#define {m}\(_\)(.*?)\n\n", text, re.S) for m in macros]
        return {n for b in bodies if b is not None for n in re.findall(r"_\((\w+)", b[1])}

    def without(found: set[str], *patterns: str) -> set[str]:
        return {n for n in found if not any(re.search(p, n) for p in patterns)}

    lower = without(names("AT_FORALL_LOWER_PRECISION_FP"), "^_")
    float32 = without(names("AT_FORALL_FP32", "AT_FORALL_FP32_SET_OPT_DTYPE"), "^_", "^upsample")
    assert lower == set(LOWER)
    assert float32 | {"norm"} == set(FLOAT32)  # norm stands in a list of its own
    assert names("AT_FORALL_PROMOTE") == set(WIDEST)


# Dtypes of results

UNARY: dict[str, Callable[[mp.Tensor], mp.Tensor]] = {
    "exp": mp.exp,
    "log": mp.log,
    "pow": lambda x: x**2,
    "sum": mp.sum,
    "logsumexp": mp.logsumexp,
    "softmax": lambda x: mp.softmax(x, 1),
    "log_softmax": lambda x: mp.log_softmax(x, 1),
    "layer_norm": lambda x: mp.layer_norm(x, (3,)),
    "mse_loss": lambda x: mp.mse_loss(x, x.detach()),
    "cross_entropy": lambda x: mp.cross_entropy(x, mp.tensor([0, 1, 2], device=x.device)),
    "matmul": lambda x: x @ x,
    "linear": lambda x: mp.linear(x, x, x[0]),
    "relu": mp.relu,
    "tanh": mp.tanh,
    "sqrt": mp.sqrt,
    "mean": mp.mean,
    "add": lambda x: x + x,
    "mul": lambda x: x * 2.5,
    "reshape": lambda x: x.reshape(-1),
    "var": mp.var,
}


@pytest.mark.parametrize("lower", [mp.float16, mp.bfloat16], ids=lambda d: d.name)
@pytest.mark.parametrize(
    "given", [mp.float16, mp.bfloat16, mp.float32, mp.float64], ids=lambda d: d.name
)
@pytest.mark.parametrize("name", UNARY)
def test_result_and_gradient_dtypes(
    name: str, given: mp.DType, lower: mp.DType, device: str
) -> None:
    values = mp.rand(3, 3, device=device) + 0.5
    x = values.to(given).detach().requires_grad_()
    with autocast(lower):
        result = UNARY[name](x)
    category = expected_category(name)
    if given is mp.float64 or category == "follow":
        assert result.dtype is given
    else:
        assert result.dtype is (lower if category == "lower" else mp.float32)
    result.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype is given


def test_integers_and_booleans_pass_untouched() -> None:
    x = mp.tensor([[1, 2], [3, 4]])
    with trace() as run, autocast(mp.float16):
        assert x.sum().dtype is mp.int64
        assert (x**2).dtype is mp.int64
        assert (x > 1).dtype is mp.bool
        assert mp.exp(x).dtype is mp.float32
    assert run.casts == []


@pytest.fixture
def widest_op() -> Iterator[Op]:
    op = Op(
        "test_widest",
        lambda xp, x, y: x * y,
        x=lambda xp, g, y: g * y,
        y=lambda xp, g, x: g * x,
        autocast="widest",
    )
    yield op
    del OPS["test_widest"]


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (mp.float16, mp.float32, mp.float32),
        (mp.float16, mp.float16, mp.float16),
        (mp.float16, mp.bfloat16, mp.float32),
        (mp.bfloat16, mp.bfloat16, mp.bfloat16),
    ],
)
def test_widest_casts_to_the_widest_operand(
    widest_op: Op, x: mp.DType, y: mp.DType, expected: mp.DType
) -> None:
    operands = [mp.ones(2, dtype=d, requires_grad=True) for d in (x, y)]
    with trace() as run, autocast(mp.float16):
        result = apply(widest_op, *operands)
    assert result.dtype is expected
    narrower = sum(operand.dtype is not expected for operand in operands)
    assert [event.cast for event in run.casts] == ["autocast"] * narrower
    result.sum().backward()
    assert [o.grad.dtype for o in operands if o.grad is not None] == [x, y]


# Blocks

PRODUCT = mp.ones(2, 2)


def product_dtype() -> mp.DType:
    return (PRODUCT @ PRODUCT).dtype


def test_blocks_nest_and_end() -> None:
    assert product_dtype() is mp.float32
    with autocast(mp.float16):
        assert product_dtype() is mp.float16
        with autocast(mp.bfloat16):
            assert product_dtype() is mp.bfloat16
            with autocast(mp.float16, enabled=False):
                assert product_dtype() is mp.float32
                with autocast(mp.float16):
                    assert product_dtype() is mp.float16
            assert product_dtype() is mp.bfloat16
        assert product_dtype() is mp.float16
    assert product_dtype() is mp.float32


def test_disabled_inside_takes_lower_operands_as_they_are() -> None:
    with autocast(mp.float16):
        half = PRODUCT @ PRODUCT
        with autocast(enabled=False):
            assert (half @ half).dtype is mp.float16
            assert mp.exp(half).dtype is mp.float16
            assert (half + PRODUCT).dtype is mp.float32


def test_one_block_object_serves_again_and_inside_itself() -> None:
    block = autocast(mp.float16)
    for _ in range(2):
        with block:
            with block:
                assert product_dtype() is mp.float16
            assert product_dtype() is mp.float16
    assert product_dtype() is mp.float32


def test_an_error_inside_ends_the_block() -> None:
    with pytest.raises(ZeroDivisionError), autocast(mp.float16):
        _ = 1 / 0
    assert product_dtype() is mp.float32


def test_the_decorator_covers_recursion_and_keeps_the_name() -> None:
    seen = []

    @autocast(mp.bfloat16)
    def nested(depth: int) -> int:
        """What it does."""
        seen.append(product_dtype())
        return depth if depth == 0 else nested(depth - 1)

    assert nested(3) == 0
    assert seen == [mp.bfloat16] * 4
    assert product_dtype() is mp.float32
    assert (nested.__name__, nested.__doc__) == ("nested", "What it does.")


def test_decorated_calls_overlap_in_threads() -> None:
    both_inside, first_left = threading.Barrier(2, timeout=10), threading.Event()
    found: dict[str, Any] = {}

    @autocast(mp.float16)
    def work(name: str) -> None:
        both_inside.wait()
        if name == "second":  # entered last, leaves last: not the order of a stack
            first_left.wait(10)
        found[name] = product_dtype()

    def run(name: str) -> None:
        work(name)
        first_left.set()
        found[f"after {name}"] = product_dtype()

    threads = [threading.Thread(target=run, args=(name,)) for name in ("first", "second")]
    with autocast(mp.bfloat16):  # a block is of this thread alone
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert product_dtype() is mp.bfloat16
    assert found == {
        "first": mp.float16,
        "second": mp.float16,
        "after first": mp.float32,
        "after second": mp.float32,
    }


# How it is called


@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        ((), {}, mp.float16),
        ((mp.bfloat16,), {}, mp.bfloat16),
        (("bfloat16",), {}, mp.bfloat16),
        ((), {"dtype": mp.bfloat16}, mp.bfloat16),
        (("cuda",), {}, mp.float16),
        (("cpu",), {}, mp.bfloat16),
        (("cuda", mp.bfloat16), {}, mp.bfloat16),
        (("cpu",), {"dtype": mp.float16}, mp.float16),
    ],
)
def test_call_forms(
    arguments: tuple[Any, ...], options: dict[str, Any], expected: mp.DType
) -> None:
    with autocast(*arguments, **options):
        assert product_dtype() is expected


@pytest.mark.parametrize("dtype", [mp.float32, mp.float64, mp.float8_e5m2, mp.int64, mp.bool])
def test_other_dtypes_are_refused(dtype: mp.DType) -> None:
    expected = f"given {dtype.name}; it casts matrix products to float16 or bfloat16"
    with pytest.raises(TypeError, match=expected):
        autocast(dtype)


def test_unknown_and_double_dtypes_are_refused() -> None:
    with pytest.raises(TypeError, match="unknown dtype 'float17'; expected one of float64"):
        autocast("float17")
    with pytest.raises(TypeError, match=r"give one dtype, after an optional device type"):
        autocast(mp.float16, dtype=mp.float16)
    with pytest.raises(TypeError, match=r"give one dtype, after an optional device type"):
        autocast("cuda", mp.float16, mp.float16)
