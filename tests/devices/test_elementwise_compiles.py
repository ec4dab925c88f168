"""Every elementwise rule there is becomes CUDA C++ that NVIDIA's compiler takes; needs no GPU."""

from __future__ import annotations

import numpy as np
import pytest

import tinymp as mp
from tinymp.autograd.op import OPS
from tinymp.devices.kernels.compiler import compile_to_binary
from tinymp.devices.kernels.elementwise import elementwise_kernel
from tinymp.devices.kernels.notes import SOURCE
from tinymp.devices.kernels.twin import Target
from tinymp.devices.range_checks import _SOURCE

NEAREST = Target(mp.float16, "nearest_even")


def kernels():
    """A kernel for each rule that can be traced, forward and gradients, in mixed formats."""
    for name, op in OPS.items():
        if op.forward_on == "values" and not op.variadic:
            forms = [form(op, x, i) for i, x in enumerate(op.inputs)]
            target = Target(mp.bool, "") if op.result == "bool" else NEAREST
            named = tuple((key, float) for key in op.attributes)
            yield elementwise_kernel(name, op.forward, tuple(forms), named, target)
        if op.backward_on != "values":
            continue
        for rule in dict.fromkeys(op.gradients.values()):
            needs = [form(op, need, i) for i, need in enumerate(rule.needs)]
            forms = (mp.bfloat16, *needs)
            yield elementwise_kernel(f"{name}_gradient", rule.function, forms, (), NEAREST)


def form(op, name, i):
    if name in op.undecoded:
        return np.dtype(bool)
    if name in op.inputs or name == "out":
        return (mp.float16, mp.float32, mp.bfloat16)[i % 3]
    return float


MADE = [kernel for kernel in kernels() if kernel is not None]


def test_most_elementwise_operations_have_a_kernel():
    names = {kernel.name.removesuffix("_kernel") for kernel in MADE}
    wanted = "add mul div exp tanh gelu relu where pow gelu_gradient relu_gradient div_gradient"
    assert set(wanted.split()) <= names
    assert len(MADE) > 100


@pytest.fixture
def nvrtc():
    pytest.importorskip("cupy_backends.cuda.libs.nvrtc", reason="CuPy is not installed")


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize("axes", [1, 3])
def test_they_compile(axes):
    for kernel in MADE:
        assert compile_to_binary(kernel.name, kernel.source(axes, 8 if axes == 1 else 1), "sm_80")


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize("mode", ["toward_zero", "stochastic"])
@pytest.mark.parametrize("dtype", [mp.bfloat16, mp.float8_e4m3fn, mp.float8_e5m2])
def test_every_format_and_mode_compiles(dtype, mode):
    rule = OPS["add"].forward
    made = elementwise_kernel("add", rule, (dtype, mp.float32), (), Target(dtype, mode))
    assert compile_to_binary("add", made.source(2, 8), "sm_75")


@pytest.mark.usefixtures("nvrtc")
def test_small_kernels_compile():
    for source in (SOURCE, _SOURCE):
        assert compile_to_binary("small", source, "sm_75")
