"""The dispatcher on a device with kernels: a CPU on which each kernel is its rule, run aside.

What real kernels compute is tested in tests/gpu. Here it is tested that they are given the right
arguments and targets, and that what they return goes to the right place: results and gradients must
be those of a device without kernels, bit for bit.
"""

from __future__ import annotations

import inspect
import sys

import numpy as np
import pytest

import tinymp as mp
from tinymp.autograd.op import OPS
from tinymp.autograd.twins import TwinContract
from tinymp.devices import get_device
from tinymp.devices.kernels import elementwise, serving, twin
from tinymp.devices.kernels.compiler import KernelError
from tinymp.formats import active_rounding, pack, unpack
from tinymp.numerics.kit import Packed, kit
from tinymp.numerics.quiet import quietly

calls = []


class RuleAside:
    """Stands for a kernel: the rule itself on decoded arrays, the result rounded to the target."""

    def __init__(self, name, rule, forms, named, target):
        traced = elementwise.ElementwiseKernel(name, rule, forms, named, target)
        self.identity = traced.identity
        assert traced.source(1, 8)
        assert traced.source(3, 1)
        self.call = name, rule, forms, named, target

    def __call__(self, arrays, numbers):
        name, rule, forms, named, target = self.call
        calls.append(name)
        arrays, numbers = iter(arrays), iter(numbers)

        def shown(form):
            if isinstance(form, elementwise.Baked):
                return form.value
            if form is float:
                return next(numbers)
            array = next(arrays)
            if isinstance(form, np.dtype):
                return array
            return unpack(array, form) if form.is_float else array.astype(np.float32)

        arguments = [shown(form) for form in forms]
        options = {key: shown(form) for key, form in named}
        out = np.asarray(quietly(rule, kit("cpu"), *arguments, **options))
        return pack(out, target.dtype, target.mode)


def stand_in(name, rule, forms, named, target):
    try:
        return RuleAside(name, rule, forms, named, target)
    except (elementwise.Untraceable, AttributeError, TypeError):
        return None


@pytest.fixture
def kernels(monkeypatch):
    """The CPU with kernels, and without the contracts that it made before."""
    monkeypatch.setattr(get_device("cpu"), "kernels", serving, raising=False)
    monkeypatch.setattr(serving, "elementwise_kernel", stand_in)
    for table in ("FORWARD", "GRADIENTS", "RESIDUALS"):
        monkeypatch.setattr(serving, table, {})
    monkeypatch.setattr(serving, "_broken", set())
    for op in OPS.values():
        monkeypatch.setattr(op, "contracts", {})
    calls.clear()


def drawn(shape, seed, dtype):
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return mp.tensor(values).to(dtype).detach().requires_grad_()


def outcome(function, *inputs):
    out = function(*inputs)
    seed = mp.tensor(np.linspace(-1, 1, out.size, dtype=np.float32).reshape(out.shape))
    out.backward(seed.to(out.dtype))
    arrays = [out.storage, *[x.grad.storage for x in inputs]]
    for x in inputs:
        x.grad = None
    return [array.tobytes() for array in arrays], [str(a.dtype) + str(a.shape) for a in arrays]


FUNCTIONS = {
    "add": lambda x, y: x + y,
    "twice the same": lambda x, y: x * x + y + x,
    "numbers": lambda x, y: 2 - x * 0.37 + y / 3,
    "broadcast": lambda x, y: x * y[0] + y[:, :1],
    "where": lambda x, y: mp.where(x > y, x, y * 2),
    "gelu": lambda x, y: mp.nn.functional.gelu(x) * mp.nn.functional.gelu(y, "tanh"),
    "attribute": lambda x, y: mp.nn.functional.leaky_relu(x, 0.2) + mp.clamp(y, -0.5, 0.5),
    "cast": lambda x, y: x.to(mp.float32) * y.to(mp.bfloat16),
    "power": lambda x, y: (x.abs() + 1) ** 1.5 + y**2,
    "no kernel": lambda x, y: mp.softmax(x, 1) + y.sum(0),
    "scalar": lambda x, y: x * y.sum() + y,
    "mask": lambda x, y: mp.masked_fill(x, y > 0, -1.0) + y,
}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_kernels_are_given_what_the_rules_are(name, dtype, request):
    x, y = drawn((3, 4), 1, dtype), drawn((3, 4), 2, dtype)
    expected = outcome(FUNCTIONS[name], x, y)
    request.getfixturevalue("kernels")
    assert outcome(FUNCTIONS[name], x, y) == expected
    assert calls  # else nothing was compared


@pytest.mark.usefixtures("kernels")
def test_other_accumulators_and_float64_keep_to_the_rules():
    x = drawn((3, 4), 1, "float64")
    (x * x).sum().backward()
    with mp.accumulation("float16"):
        drawn((3, 4), 1, "float32") * 2.0
    assert not calls


def test_a_twin_from_the_tables_goes_first_and_may_decline(kernels, monkeypatch):
    seen = []

    def forward(x, *, dim, target):
        seen.append((x.dtype, target))
        return NotImplemented if x.shape[0] == 1 else (x.storage, "kept")

    def gradients(g, kept, *, targets):
        seen.append((g.dtype, kept, targets))
        return (g.storage * 0,) if kept else NotImplemented

    monkeypatch.setattr(serving, "load", {"here:f": forward, "here:g": gradients}.get)
    serving._asked_by.cache_clear()
    monkeypatch.setitem(serving.FORWARD, "softmax", "here:f")
    monkeypatch.setitem(serving.GRADIENTS, "softmax", (("x",), "here:g"))
    monkeypatch.setitem(serving.RESIDUALS, "softmax", ("kept",))
    x = drawn((2, 3), 1, "float16")
    out = mp.softmax(x, 1)
    assert out.node.contract.__class__ is TwinContract
    assert (out.storage == x.storage).all()
    out.backward(mp.ones(2, 3, dtype=mp.float16))
    assert (x.grad.storage == 0).all()
    assert [entry[0] for entry in seen] == [mp.float16] * 2
    assert seen[1][1] == "kept"
    assert seen[1][2] == (serving.Target(mp.float16, "nearest_even"),)
    row = drawn((1, 3), 1, "float16")
    out = mp.softmax(row, 1)
    np.testing.assert_allclose(out.numpy().sum(), 1, rtol=2e-3)
    out.backward(mp.tensor([[1.0, 0.0, 0.0]]).half())
    assert np.abs(row.grad.numpy()).max() > 0
    serving._asked_by.cache_clear()


def test_a_kernel_that_does_not_compile_is_named_once_and_the_rule_runs(kernels, monkeypatch):
    def broken(*arguments):
        raise KernelError("the kernel 'add' does not compile:\nadd.cu(1): error: nonsense")

    monkeypatch.setattr(serving, "elementwise_kernel", broken)
    x = mp.tensor([1.0, 2.0])
    with pytest.warns(RuntimeWarning, match=r"(?s)'add' does not compile.*'add' runs by its NumPy"):
        assert (x + x).numpy().tolist() == [2, 4]
    assert (x + x).numpy().tolist() == [2, 4]


def test_fused_self_attention_is_given_views_and_writes_one_gradient(kernels, monkeypatch):
    """The twins of attention, with the rules on NumPy in place of the fused kernels."""
    from tinymp.devices.kernels import attention_twin
    from tinymp.ops.attention import attention_gradients, attention_rule

    kept = {}
    how = {"p": 0.0, "rounding": active_rounding()}

    def forward(query, key, value, *, causal, scale, target):
        parts = [Packed(x.storage, x.dtype) for x in (query, key, value)]
        out, kept["weights"] = attention_rule(
            kit("cpu"), *parts, None, None, causal=causal, scale=scale, **how
        )
        return pack(out, target.dtype, target.mode), np.zeros(out.shape[:-1], np.float32)

    def backward(g, query, key, value, out, lse, *, causal, scale, targets, into=None):
        parts = [Packed(x.storage, x.dtype) for x in (g, query, key, value)]
        found = attention_gradients(
            kit("cpu"), *parts, kept["weights"], None, scale, 0.0, how["rounding"]
        )
        found = [pack(x, t.dtype, t.mode) for x, t in zip(found, targets, strict=True)]
        for place, gradient in zip(into or [], found, strict=bool(into)):
            place[...] = gradient
        return into or found

    monkeypatch.setitem(sys.modules, "cupy", np)
    monkeypatch.setattr(attention_twin, "attention_forward", forward)
    monkeypatch.setattr(attention_twin, "attention_backward", backward)

    def attend(packed):
        return mp.self_attention(packed, is_causal=True)

    def attend_apart(packed):
        query, key, value = (packed[:, :, i].transpose(1, 2) for i in range(3))
        return mp.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2)

    packed = drawn((2, 5, 3, 2, 8), 1, "float16")
    expected = outcome(attend, packed)
    for name in ("self_attention", "scaled_dot_product_attention"):
        monkeypatch.setitem(serving.FORWARD, name, twin.FORWARD[name])
        monkeypatch.setitem(serving.GRADIENTS, name, twin.GRADIENTS[name])
        monkeypatch.setitem(serving.RESIDUALS, name, twin.RESIDUALS[name])
        OPS[name].contracts.clear()
    assert outcome(attend, packed) == expected
    assert kept
    out, gradient = outcome(attend_apart, packed)[0]
    assert [out, gradient] == expected[0]


@pytest.mark.parametrize("name", twin.FORWARD)
def test_forward_twins_take_what_their_operations_give(name):
    parameters = inspect.signature(twin.load(twin.FORWARD[name])).parameters
    rule = inspect.signature(OPS[name].forward).parameters
    assert list(parameters)[: len(OPS[name].inputs)] == list(OPS[name].inputs)
    assert set(parameters) == {*rule, "target"} - {next(iter(rule))}


@pytest.mark.parametrize("name", twin.GRADIENTS)
def test_gradient_twins_ask_for_what_is_kept(name):
    """Inputs may be missing; all else must be what the rules ask for, or what is kept for twins."""
    op, (served, where) = OPS[name], twin.GRADIENTS[name]
    assert set(served) == set(op.gradients)
    kept = {need for rule in op.gradients.values() for need in rule.needs} | set(op.inputs)
    if name in twin.RESIDUALS:
        kept |= {"out", *op.attributes, *twin.RESIDUALS[name]}
    assert set(serving._asked_by(where)) <= kept
