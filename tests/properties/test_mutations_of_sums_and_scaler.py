"""Errors planted in accumulators, in orders and in the loss scaler, as in `test_mutations`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import pytest

import tinymp
import tinymp as mp
from tinymp.amp import GradScaler
from tinymp.devices import get_device
from tinymp.formats import float16, rounding
from tinymp.numerics import tensor_core_matmul
from tinymp.numerics.packed import Packed
from tinymp.numerics.tensor_core import parts
from tinymp.optim import SGD

PACKAGE = Path(tinymp.__file__).parent
ACCUMULATORS, ORDERED = "numerics/accumulators.py", "numerics/ordered.py"
NAMED, SUMMATION = "numerics/named.py", "numerics/summation.py"
REPRODUCIBLE, ORDER = "numerics/reproducible.py", "numerics/order.py"
TENSOR_CORE, SCALER = "numerics/tensor_core.py", "amp/grad_scaler.py"
UNSCALE, POLICY = "amp/unscale.py", "amp/loss_scale.py"


def name_of(file):
    return "tinymp." + file.removesuffix(".py").replace("/", ".")


@pytest.fixture
def altered(monkeypatch):
    """Gives the module of a file, run from its text with one change."""

    def run(file, old="", new=""):
        text = (PACKAGE / file).read_text(encoding="utf-8")
        assert old in text, f"{file} no longer contains {old!r}: keep the list of mutations up"
        name = name_of(file)
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)  # what imports it from now on gets this one
        monkeypatch.setattr(name, module, raising=False)
        exec(compile(text.replace(old, new, 1), file, "exec"), vars(module))
        return module

    return run


def accumulators(module, altered):
    """What the names mean, in every shape."""
    for file in (ACCUMULATORS, ORDERED):  # anew, so that they use the altered module
        if module.__name__ != name_of(file):
            altered(file)
    make = module.accumulator if module.__name__ == name_of(NAMED) else altered(NAMED).accumulator
    ones = np.ones(2304, np.float32)
    with rounding("nearest_even"):
        expected = {
            "float32": 2304, "float64": 2304, "float16": 2048, "bfloat16": 256, "pairwise": 2304,
            "kahan": 2304, "chunked": 2304,
        }  # fmt: skip
        for name, total in expected.items():
            assert make(name).sum(ones) == total, name
        running = np.minimum(np.arange(1, 2305), 2048)
        assert (make("float16").cumsum(ones, 0) == running).all()  # two lists take minutes to tell
        first = np.array([0, 4])
        assert make("float16").segment_sums(ones, first).tolist() == [4, 2048]
        assert make("bfloat16").rounding == "nearest_even"
        assert make("chunked", dtype="float16").sum(ones) == 2304
        assert make("chunked", size=1, dtype="float16").sum(ones) == 2048
    assert make("bfloat16").rounding == "toward_zero"
    assert make("float64").sum(np.array([2.0**30, 1, -(2.0**30)], np.float32)) == 1
    assert make("float64").sum(np.array([2**53, 1, 1])) == 2**53 + 2
    assert make("float64").cumsum(np.array([2.0**30, 1, -(2.0**30)], np.float32), 0)[2] == 1
    many = make("stochastic").sum(np.ones((2304, 20), np.float32), 0)
    assert len(set(many.tolist())) > 1
    x = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    y = np.arange(40, dtype=np.float32).reshape(2, 1, 5, 4) % 7
    big = np.array([[2.0**30, 1, -(2.0**30)]], np.float32)
    for name in ("float32", "float64", "sequential", "pairwise", "kahan"):
        how = make(name)
        for axis in (None, 0, 1, -1, (0, 2), (-1, 0)):
            for keep in (False, True):
                total = how.sum(x, axis, keep)
                np.testing.assert_array_equal(total, x.sum(axis, keepdims=keep))
                assert np.shape(total) == x.sum(axis, keepdims=keep).shape
        np.testing.assert_array_equal(how.matmul(x, y), x @ y)
        assert how.sum(np.array([2**30, 1, 2], np.int64)) == 2**30 + 3
        assert how.matmul(x, y).dtype == np.float32
    assert make("float64").matmul(big, np.ones((3, 1), np.float32)) == 1
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((6, 40)).astype(np.float16) for _ in "ab")
    for architecture in ("hopper", "volta"):
        how = make("tensor_core", architecture=architecture)
        ours = how.packed_matmul(get_device("cpu"), Packed(a, float16), Packed(b.T, float16))
        theirs = tensor_core_matmul(a, b.T, float16, architecture=architecture)
        np.testing.assert_array_equal(ours, theirs)
    for wrong in ({"size": 0}, {"dtype": "int64"}):
        with pytest.raises(ValueError, match=r"size|floating-point"):
            make("chunked", **wrong)


def fixed_order(module, altered):
    """Sums by halves, products in parts, functions rounded from float64."""
    x = np.random.default_rng(0).standard_normal((13, 3)).astype(np.float32)
    terms = list(x)
    while len(terms) > 1:
        half = len(terms) // 2
        terms = [terms[i] + terms[half + i] for i in range(half)] + terms[2 * half :]
    assert (module.sum_by_halves(x) == terms[0]).all()
    assert module.sum_by_halves(x[:0]).tolist() == [0, 0, 0]
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((4, 2100)).astype(np.float16) for _ in "ab")
    parts = [
        tensor_core_matmul(a[:, i : i + 1024], b.T[i : i + 1024], float16) for i in (0, 1024, 2048)
    ]
    found = module.product_in_parts(get_device("cpu"), Packed(a, float16), Packed(b.T, float16))
    assert (found == parts[0] + parts[1] + parts[2]).all()
    y = rng.standard_normal((13, 2)).astype(np.float32)
    total = np.zeros((3, 2), np.float32)
    for row, other in zip(x, y, strict=True):
        total += row[:, None] * other
    assert (module.product_in_order(x.T, y) == total).all()
    exp = module.functions(np)["exp"]
    values = rng.standard_normal(2000).astype(np.float32)
    assert (exp(values) == np.exp(values.astype(np.float64)).astype(np.float32)).all()
    assert exp(values).dtype == np.float32
    assert (exp(values.astype(np.float64)) == np.exp(values.astype(np.float64))).all()
    assert exp(values, out=values) is values


def order(module, altered):
    """Parts of an inner dimension: found again, and refused where they are none."""

    for m, n, k, length in ((4, 3, 300, 192), (2, 5, 1437, 368), (3, 3, 64, 64), (2, 2, 16, 16)):

        def multiply(a, b, shape=((m, k), (k, n)), length=length):
            assert (a.shape, b.shape) == shape
            return tensor_core_matmul(a, b, float16, part=length)

        assert module.parts_of(multiply, m, n, k, float16) == parts(k, length)

    def interleaved(a, b):
        return tensor_core_matmul(a[:, ::2], b[::2], float16) + tensor_core_matmul(
            a[:, 1::2], b[1::2], float16
        )

    def nested(a, b):
        first, second, third = (
            tensor_core_matmul(a[:, p], b[p], float16) for p in np.split(np.arange(192), 3)
        )
        return first + (second + third)

    def jumbled(a, b):
        first, second, third = (
            tensor_core_matmul(a[:, p], b[p], float16) for p in np.split(np.arange(192), 3)
        )
        return (first + third) + second

    for wrong in (interleaved, nested, jumbled):
        with pytest.raises(ValueError, match=r"adds its terms|is no chain"):
            module.parts_of(wrong, 3, 3, 192, float16)


def splitting(module, altered):
    """Parts as cuBLAS makes them, added in order."""
    assert [part.stop for part in module.parts(4096, 1408)] == [1408, 2816, 4096]
    assert [part.stop for part in module.parts(100, 100)] == [100]
    rng = np.random.default_rng(2)
    a, b = (rng.standard_normal((4, 200)).astype(np.float16) for _ in "ab")
    found = module.tensor_core_matmul(a, b.T, float16, part=128)
    cuts = slice(0, 128), slice(128, 200)
    first, second = (tensor_core_matmul(a[:, cut], b.T[cut], float16) for cut in cuts)
    assert (found == first + second).all()


def scaler(module, altered):
    """A few steps of the scaler of a module, against what must come out."""
    scaler_of(module.GradScaler)


def unscaling(module, altered):
    class Scaler(GradScaler):
        """The real one, but for what `unscale_` calls."""

        def unscale_(self, optimizer):
            if self.is_enabled():
                with mock.patch.multiple(
                    "tinymp.amp.grad_scaler",
                    unscale=module.unscale,
                    with_gradients=module.with_gradients,
                ):
                    super().unscale_(optimizer)

    with mock.patch("tinymp.amp.grad_scaler.Check", module.Check):
        scaler_of(Scaler)


def policy(module, altered):
    def make(**settings):
        enabled = settings.pop("enabled", True)
        return GradScaler(policy=module.DynamicLossScale(**settings), enabled=enabled)

    scaler_of(make)


def scaler_of(make):
    weight, beside, other = (mp.ones(3).requires_grad_() for _ in "abc")
    optimizer, second = SGD([beside, weight], lr=1.0), SGD([other], lr=1.0)
    scaler = make(init_scale=8.0, growth_interval=2)
    loss = mp.tensor([3.0], requires_grad=True)
    scaler.scale(loss).backward()
    assert loss.grad.item() == 8
    scales = []
    bad = [None, np.nan, -np.inf, np.inf, None, None, None]
    for step, value in enumerate(bad):
        before = weight.numpy().copy()
        weight.grad = mp.tensor([1.0, -2.0, 3.0]) * scaler.get_scale()
        beside.grad, other.grad = (mp.ones(3) * scaler.get_scale() for _ in "bc")
        if value is not None:
            weight.grad._array[1] = value
        if step == 6:  # to look at the gradients first is allowed
            scaler.unscale_(optimizer)
            assert weight.grad.numpy().tolist() == [1, -2, 3]
        scaler.step(optimizer)
        scaler.step(second)  # whose gradients are clean
        scaler.update()
        scales.append(scaler.get_scale())
        moved = (before - weight.numpy()).tolist()
        assert moved == ([1, -2, 3] if value is None else [0, 0, 0])
    assert scales == [8, 4, 2, 1, 1, 2, 2]
    assert other.numpy().tolist() == [1 - len(bad)] * 3
    saved = scaler.state_dict()
    assert (saved["scale"], saved["_growth_tracker"]) == (2, 1)
    high = make(init_scale=2.0**127, growth_interval=1)
    high.scale(loss)
    weight.grad = mp.zeros(3)
    high.step(optimizer)
    high.update()
    assert high.get_scale() == 2.0**127
    weight.grad = mp.zeros(3).half()
    with pytest.raises(ValueError, match="float16 gradient"):
        high.step(optimizer)
    none = make(enabled=False)
    assert none.scale(loss) is loss
    weight.grad = mp.tensor([np.inf, 1.0, 1.0])
    none.step(optimizer)  # as if it were not there: the infinity arrives
    assert weight.numpy()[0] == -np.inf


MUTATIONS = [
    (accumulators, SUMMATION, "sorted(a % x.ndim for a in axes)", "sorted(axes)"),
    (accumulators, SUMMATION, "transpose(*summed, *kept)", "transpose(*kept, *summed)"),
    (accumulators, SUMMATION, "1 if a in summed else n", "n if a in summed else 1"),
    (accumulators, ACCUMULATORS, "keepdims=keepdims, dtype=np.float64", "keepdims=keepdims"),
    (accumulators, ACCUMULATORS, "y.astype(np.float64))", "y.astype(np.float64)) * (1 + 2**-22)"),
    (accumulators, NAMED, '"dtype": bfloat16', '"dtype": float16'),
    (accumulators, NAMED, 'setdefault("rounding", active', 'setdefault("x", active'),
    (accumulators, ACCUMULATORS, ", architecture=self.architecture", ""),
    (accumulators, ORDERED, "zero, self.size", "zero, 4096"),
    (accumulators, NAMED, '"rounding": "stochastic"', '"rounding": "nearest_even"'),
    (accumulators, NAMED, "size < 1", "size < 0"),
    (accumulators, NAMED, "if not dtype.is_float:", "if False:"),
    (accumulators, ACCUMULATORS, "axis=axis, dtype=np.float64", "axis=axis"),
    (accumulators, ACCUMULATORS, "- first\n", "- first + 1\n"),
    (accumulators, SUMMATION, "        found[i] = total\n", "        found[i] = values[i]\n"),
    (accumulators, ORDERED, "return self.dtype or compute", "return compute"),
    (fixed_order, REPRODUCIBLE, "x[half : 2 * half]", "x[-half:]"),
    (fixed_order, REPRODUCIBLE, "if len(x) % 2 else pairs", "if False else pairs"),
    (fixed_order, REPRODUCIBLE, "if len(x) == 0:", "if len(x) < 0:"),
    (fixed_order, REPRODUCIBLE, "x.dtype, part=PART", "x.dtype"),
    (fixed_order, REPRODUCIBLE, "PART, TILE = 1024", "PART, TILE = 2048"),
    (fixed_order, REPRODUCIBLE, "float32, np.float64)", "float32, np.float32)"),
    (
        fixed_order,
        REPRODUCIBLE,
        "        out[...] = result\n        return out",
        "        return result",
    ),
    (fixed_order, REPRODUCIBLE, "Products(x, y), zero)", "Products(x[:, ::-1], y[::-1]), zero)"),
    (order, ORDER, "// BLOCK + 1) * BLOCK, k)", "// BLOCK) * BLOCK, k)"),
    (order, ORDER, "or met[first:].tolist() != expected", ""),
    (order, ORDER, "if (met != np.minimum(steps", "if (met < np.minimum(steps"),
    (order, ORDER, "by_rows = m >= n", "by_rows = True"),
    (order, ORDER, "huge, minus\n", "huge, huge\n"),
    (splitting, TENSOR_CORE, "min(start + length, k)", "start + length"),
    (splitting, TENSOR_CORE, "total = total + product", "total = product + 0 * total"),
    (scaler, SCALER, "None if check.found_inf else optimizer.step", "optimizer.step"),
    (scaler, SCALER, "outputs * self.scale_of(outputs)", "outputs * 1.0"),
    (scaler, SCALER, '        check.stage = "unscaled"\n', ""),
    (scaler, SCALER, "found_inf=bool(overflown)", "found_inf=len(overflown) == len(checks)"),
    (scaler, SCALER, "        self._checks.clear()\n", ""),
    (scaler, SCALER, 'enabled", True))', 'enabled", True)) or True'),
    (scaler, SCALER, "record.found_inf, record.largest", "not record.found_inf, record.largest"),
    (
        unscaling,
        UNSCALE,
        "values.item(values.argmax()), -values",
        "values.item(values.argmin()), -values",
    ),
    (unscaling, UNSCALE, "-values.item(values.argmin())", "values.item(values.argmin())"),
    (unscaling, UNSCALE, "1 / scale", "1.0"),
    (unscaling, UNSCALE, "any(map(math.isnan, found))", "all(map(math.isnan, found))"),
    (unscaling, UNSCALE, "not math.isfinite(self.largest)", "math.isnan(self.largest)"),
    (unscaling, UNSCALE, "< float32.exponent_bits", "< 5"),
    (policy, POLICY, "state.scale * self.backoff_factor", "state.scale"),
    (policy, POLICY, "self.backoff_factor), clean_steps=0", "self.backoff_factor)"),
    (policy, POLICY, "clean_steps + 1 != self.growth_interval", "clean_steps != 2"),
    (policy, POLICY, "grown if math.isfinite(grown) else state.scale", "grown"),
    (policy, POLICY, "state.scale, clean_steps=0)", "state.scale)"),
]


@pytest.mark.parametrize(
    ("check", "file"),
    [
        (accumulators, SUMMATION),
        (accumulators, ACCUMULATORS),
        (accumulators, ORDERED),
        (accumulators, NAMED),
        (fixed_order, REPRODUCIBLE),
        (order, ORDER),
        (splitting, TENSOR_CORE),
        (scaler, SCALER),
        (unscaling, UNSCALE),
        (policy, POLICY),
    ],
)
@pytest.mark.filterwarnings("ignore::tinymp.amp.diagnosis.LossScaleWarning")
def test_the_code_as_it_is_passes(altered, check, file):
    check(altered(file), altered)


@pytest.mark.parametrize(("check", "file", "old", "new"), MUTATIONS)
@pytest.mark.filterwarnings("ignore::tinymp.amp.diagnosis.LossScaleWarning")
def test_a_planted_error_is_caught(altered, check, file, old, new):
    module = altered(file, old, new)
    with pytest.raises(
        (AssertionError, TypeError, ValueError, IndexError, RuntimeError, pytest.fail.Exception)
    ):
        check(module, altered)
