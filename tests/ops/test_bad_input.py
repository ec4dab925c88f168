"""Whatever is wrong with an argument of whichever function: one sentence that names the function.

From one right call of every public function wrong ones are made: each argument in turn becomes a
word, None, a list, an array, a number of another kind, one far out of range, a tensor of another
dtype, of other shapes, on another device. What is not refused must be a result.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp.devices.cpu import CpuDevice
from tinymp.ops import reductions

X = mp.tensor([[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]])
Y = mp.tensor([[1.0, 2.0, 0.5], [0.25, 0.5, 1.0]])
SQUARE = mp.ones(3, 3)
ROW = mp.tensor([0.5, 1.0, 2.0])
STACK = mp.ones(2, 2, 3)
IMAGE = mp.ones(2, 2, 4, 4)
SIGNAL = mp.ones(2, 2, 5)
IDS = mp.tensor([0, 1])
ALONG = mp.tensor([[0, 1, 1], [1, 0, 0]])
MASK = mp.tensor([[True, False, True], [False, True, True]])

#: A right call of each function, of several where options need different tensors.
RIGHT: dict[str, list[tuple[Any, ...]]] = {
    **{
        name: [(X,)]
        for name in (
            "abs acos acosh asin asinh atan atanh ceil clone cos cosh count_nonzero erf exp expm1 "
            "floor isfinite isinf isnan log log1p log2 log10 logical_not median neg ones_like "
            "logsigmoid mish rand_like randn_like reciprocal relu relu6 round selu rsqrt sigmoid "
            "sign silu sin sinh sqrt square t tan tanh tril triu trunc zeros_like"
        ).split()
    },
    **{
        name: [(X, Y), (X, 1.5)]
        for name in (
            "add div eq floor_divide ge gt le logical_and logical_or logical_xor lt maximum "
            "minimum mul ne pow remainder sub"
        ).split()
    },
    **{name: [(X, 1), (X, (0, 1), True)] for name in "all any amax amin mean sum prod".split()},
    **{name: [(X, 1), (X, None, True)] for name in ("argmax", "argmin")},
    **{name: [(X, 1, True)] for name in ("max", "min", "logsumexp")},
    **{name: [(X, 1)] for name in "cumsum cumprod softmax log_softmax argsort sort unbind".split()},
    **{name: [(MASK, MASK), (IDS, 1)] for name in ("bitwise_and", "bitwise_or", "bitwise_xor")},
    **{name: [(X, 0, 1)] for name in ("transpose", "swapaxes", "swapdims", "movedim", "moveaxis")},
    **{name: [(X, (3, 2))] for name in ("reshape", "view")},
    **{name: [(X, Y, "sum")] for name in ("mse_loss", "l1_loss")},
    "bitwise_not": [(MASK,)],
    "adaptive_avg_pool1d": [(SIGNAL, 2)],
    "adaptive_avg_pool2d": [(IMAGE, (2, 3))],
    "adaptive_max_pool1d": [(SIGNAL, 2)],
    "adaptive_max_pool2d": [(IMAGE, (2, 3))],
    "arange": [(0, 5, 2, mp.float16)],
    "avg_pool1d": [(SIGNAL, 2, 1, 1, True, False)],
    "avg_pool2d": [(IMAGE, 2, (1, 2), 1, True, False)],
    "max_pool1d": [(SIGNAL, 2, 1, 1, 1, True)],
    "max_pool2d": [(IMAGE, 2, (1, 2), 1, 1, True)],
    "batch_norm": [(X, ROW, ROW, ROW, ROW, True, 0.1, 1e-5)],
    "binary_cross_entropy_with_logits": [(X, Y, ROW, "mean", ROW)],
    "allclose": [(X, Y, 0.1, 0.1, True)],
    "bernoulli": [(X.sigmoid(),)],
    "diag": [(X, 1)],
    "equal": [(X, Y)],
    "eye": [(2, 3, mp.float16)],
    "full_like": [(X, 1.5)],
    "linspace": [(0, 1, 5, mp.float16)],
    "multinomial": [(X.sigmoid(), 2, True)],
    "one_hot": [(IDS, 3)],
    "randint": [(0, 5, (2, 3), mp.float16)],
    "randperm": [(5,)],
    "repeat_interleave": [(X, 2, 1)],
    "binary_cross_entropy": [(X.sigmoid(), Y.sigmoid(), ROW, "mean")],
    "bmm": [(STACK, mp.ones(2, 3, 2))],
    "broadcast_to": [(X, (2, 2, 3))],
    "cast": [(X, mp.float16)],
    "cat": [([X, Y], 1)],
    "chunk": [(X, 2, 1)],
    "clamp": [(X, -1, 1.5)],
    "clip": [(X, -1, 1.5)],
    "concatenate": [([X, Y], 1)],
    "conv1d": [(SIGNAL, mp.ones(4, 1, 2), mp.ones(4), 1, "same", 1, 2)],
    "conv2d": [(IMAGE, mp.ones(4, 1, 2, 2), mp.ones(4), (1, 2), 1, 1, 2)],
    "conv_transpose1d": [(SIGNAL, mp.ones(2, 1, 2), mp.ones(2), 2, 1, 1, 2, 1)],
    "conv_transpose2d": [(IMAGE, mp.ones(2, 1, 2, 2), mp.ones(2), 2, 1, 1, 2, 1)],
    "cross_entropy": [(X, IDS, ROW, 0, "mean", 0.5)],
    "diagonal": [(X, 1, 0, 1)],
    "dot": [(ROW, ROW)],
    "einsum": [("ij,kj->ik", X, Y)],
    "elu": [(X, 0.5)],
    "embedding": [(IDS, X)],
    "expand": [(X, (2, 2, 3))],
    "flatten": [(X, 0, 1)],
    "flip": [(X, (0, 1))],
    "from_numpy": [(np.ones(2, np.float32),)],
    "full": [((2, 3), 1.5, mp.float16, "cpu", True)],
    "gather": [(X, 1, ALONG)],
    "gelu": [(X, "tanh")],
    "group_norm": [(mp.ones(2, 4, 3), 2, mp.ones(4), mp.ones(4), 1e-5)],
    "hardtanh": [(X, -1, 1)],
    "huber_loss": [(X, Y, "sum", 0.5)],
    "index_select": [(X, 1, IDS)],
    "kl_div": [(X, Y, "batchmean", True)],
    "layer_norm": [(X, (3,), ROW, ROW, 1e-5)],
    "leaky_relu": [(X, 0.1)],
    "linear": [(X, SQUARE, ROW)],
    "masked_fill": [(X, MASK, 0.5)],
    "matmul": [(X, SQUARE)],
    "mm": [(X, SQUARE)],
    "mv": [(X, ROW)],
    "nll_loss": [(X, IDS, ROW, 0, "sum")],
    "norm": [(X, 2, 1, True)],
    "ones": [(2, 3)],
    "zeros": [(2, 3)],
    "rand": [(2, 3)],
    "randn": [(2, 3)],
    "outer": [(ROW, ROW)],
    "pad": [(X, (1, 2), "constant", 0.5), (X, (1, 1, 1, 0), "reflect")],
    "normalize": [(X, 2.0, 1, 1e-12)],
    "cosine_similarity": [(X, Y, 1, 1e-8)],
    "permute": [(X, (1, 0))],
    "rms_norm": [(X, (3,), ROW, 1e-5)],
    "roll": [(X, (1, 2), (0, 1))],
    "scaled_dot_product_attention": [(STACK, STACK, STACK, mp.ones(2, 2), 0.0, False, 0.5)],
    "scatter_add": [(X, 1, ALONG, Y)],
    "self_attention": [(mp.ones(1, 2, 3, 1, 2), False, 0.0, 0.5)],
    "smooth_l1_loss": [(X, Y, "sum", 0.5)],
    "softplus": [(X, 1.0, 20.0)],
    "split": [(X, [1, 2], 1)],
    "squeeze": [(X, 1)],
    "stack": [([X, Y], 1)],
    "std": [(X, 1, 1, True)],
    "var": [(X, 1, 1, True)],
    "take_along_dim": [(X, ALONG, 1)],
    "tensor": [([1.0, 2.0], mp.float16, "cpu", True)],
    "tile": [(X, (2, 1))],
    "to": [(X, mp.float16)],
    "topk": [(X, 2, 1)],
    "trace": [(X,)],
    "unsqueeze": [(X, 1)],
    "where": [(MASK, X, Y), (MASK, X, 0.5)],
}


#: A device that calls itself a GPU, and is one for all that is checked.
ELSEWHERE = CpuDevice()
ELSEWHERE.name = "cuda:63"


def other_tensors(x: mp.Tensor) -> Iterator[tuple[str, Any]]:
    for dtype in (mp.bool, mp.int64, mp.float8_e4m3fn, mp.float16):
        if dtype is not x.dtype:
            yield dtype.name, mp.ones(*x.shape, dtype=dtype)
    for shape in ((), (0,), (7,), (7, 5), (2, 7, 5), (1, 1, 1, 1), (2, 2, 2, 2, 2)):
        yield (
            f"shape {shape}",
            mp.ones(*shape, dtype=x.dtype) if shape else mp.ones((), dtype=x.dtype),
        )
    if x.dtype is mp.int64:
        yield "too large", x + 99
        yield "negative", x - 99


def wrong_arguments(right: Any) -> Iterator[tuple[str, Any]]:
    """What might be put in the place of a right argument."""
    yield from [("word", "word"), ("None", None), ("object", object()), ("dict", {})]
    if isinstance(right, mp.Tensor):
        yield from [("list", [1.0]), ("array", np.ones(2)), ("number", 2.5), ("class", mp.Tensor)]
        yield from other_tensors(right)
    elif isinstance(right, list | tuple) and right and isinstance(right[0], mp.Tensor):
        yield from [("tensor", right[0]), ("empty", []), ("words", ["a", "b"]), ("number", 3)]
        for kind, x in other_tensors(right[0]):
            yield f"of {kind}", [x, right[1]]
    elif isinstance(right, list | tuple):
        yield from [("tensor", X), ("empty", ()), ("words", ("a", "b")), ("floats", (1.5, 0.5))]
        yield from [("large", (99, 99)), ("negative", (-99, -99)), ("long", (1,) * 9), ("one", 99)]
    elif isinstance(right, mp.DType):
        yield from [("number", 3), ("bool", mp.bool), ("int64", mp.int64), ("type", int)]
    else:
        yield from [("tensor", X), ("list", [1, 2, 3]), ("array", np.ones(2)), ("float", 1.5)]
        yield from [("99", 99), ("-99", -99), ("nan", float("nan")), ("inf", float("inf"))]


def wrong_calls(name: str) -> Iterator[tuple[str, list[Any]]]:
    """Calls with one wrong argument each, and what is wrong."""
    for right in RIGHT[name]:
        tensors = sum(isinstance(x, mp.Tensor) for x in right)
        for position, argument in enumerate(right):
            wrongs = list(wrong_arguments(argument))
            if isinstance(argument, mp.Tensor) and tensors > 1:
                away = mp.Tensor(argument._array, argument.dtype, ELSEWHERE)
                wrongs.append(("on another device", away))
            for kind, wrong in wrongs:
                arguments = [*right[:position], wrong, *right[position + 1 :]]
                yield f"argument {position}: {kind}", arguments


#: What NumPy and Python say, who do not know what the user called.
RAW = re.compile(
    "|".join(
        (
            "operands could not",
            "ufunc",
            "object is not",
            "has no attribute",
            "not supported between",
            "not subscript",
            "cannot be interpreted",
            "unhashable",
            "must be real number",
            "invalid literal",
            "can only concatenate",
            "axes don't match",
            r"axis \d+ is out",
            "input array",
            "of an array",
            "integer scalar arrays",
            "unexpected keyword",
            r"__\w+__",
            "an integer is required",
            "cannot reshape",
            "zero-size",
            "not iterable",
            "could not convert",
            "multiple values",
            "negative dimensions",
        )
    )
)
#: After what was given comes what was expected, or what to do.
ADVICE = re.compile(r"[;,] |must|expected|use the")


def test_no_function_is_left_out() -> None:
    assert set(RIGHT) == set(mp.ops.__all__)


@pytest.fixture(autouse=True)
def _another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinymp.devices.lookup._cuda_device", lambda index: ELSEWHERE)


@pytest.mark.parametrize("name", mp.ops.__all__)
def test_what_is_wrong_is_said_in_one_sentence(name: str) -> None:
    function = getattr(mp.ops, name)
    unclear = []
    for wrong, arguments in wrong_calls(name):
        try:
            function(*arguments)
        except (TypeError, ValueError, IndexError) as error:
            # NumPy's broadcasting complaint stays, where the dispatcher said which shapes met.
            said = str(error).replace("operands could not be broadcast", "")
            if function.__name__ not in said or RAW.search(said) or not ADVICE.search(said):
                unclear.append(f"{wrong}: {error}")
    assert not unclear, "\n".join(unclear)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: mp.sum(X, "rows"), "sum was given dim='rows'; it must be an integer or several"),
        (lambda: X.sum(dim=2.5), r"sum was given dim=2.5; it must be an integer or several integ"),
        (lambda: mp.flatten(X, None), "flatten was given start_dim=None; it must be an integer"),
        (lambda: mp.elu(X, X), r"elu was given alpha=a float32 tensor of shape \(2, 3\); it must"),
        (lambda: mp.full((2,), value="x"), "full was given .*'x'.*number"),
        (lambda: mp.zeros("ab"), "zeros was given shape=.*must be an integer or several integers"),
        (lambda: mp.layer_norm(X, (3,), [1, 2, 3]), r"layer_norm was given weight=\[1, 2, 3\];"),
        (lambda: mp.linear(X, SQUARE, np.ones(3)), r"linear was given bias=a NumPy array"),
        (lambda: mp.conv1d(SIGNAL, SIGNAL, None, {}), r"conv1d was given stride=\{\}; it must be"),
        (lambda: mp.einsum(X, X), r"einsum was given equation=a float32 tensor .* must be a name"),
        (lambda: mp.add(X, X.to(mp.float8_e5m2)), "add: .*8-bit float promotes with nothing"),
    ],
)  # fmt: skip
def test_an_argument_of_a_wrong_type_is_named(call: Any, complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        call()


def test_what_python_says_of_a_signature_stays() -> None:
    with pytest.raises(TypeError, match=r"exp\(\) missing 1 required positional argument: 'x'"):
        mp.exp()
    with pytest.raises(TypeError, match="unexpected keyword argument 'axis'"):
        mp.softmax(X, axis=1)


def test_an_explained_function_is_still_itself() -> None:
    assert mp.sum.__name__ == "sum"
    assert mp.sum.__doc__ == reductions.sum.__doc__
    assert inspect.signature(mp.sum) == inspect.signature(reductions.sum)
