"""Each error says what was given, what was expected and what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp.autograd import Op, apply
from tinymp.autograd.op import OPS


def leaf(*shape: int) -> Any:
    return mp.ones(*shape, requires_grad=True)


def twice() -> None:
    loss = (leaf(2) * 2).sum()
    loss.backward()
    loss.backward()


def twice_through_a_shared_part() -> None:
    shared = leaf(2) * 2
    shared.sum().backward()
    (shared * 3).sum().backward()


@pytest.mark.parametrize(
    ("call", "error", "complaint"),
    [
        (twice, RuntimeError, "second time.*freed.*retain_graph=True"),
        (twice_through_a_shared_part, RuntimeError, "'mul' a second time.*retain_graph=True"),
        ((leaf(2, 3) * 2).backward, RuntimeError, r"\(2, 3\).*\.sum\(\) or"),
        (leaf(0).backward, RuntimeError, r"\(0,\).*one element"),
        (mp.ones(2).sum().backward, RuntimeError, "no graph.*requires_grad=True"),
        (
            lambda: (leaf(2) * 2).backward(mp.ones(3)),
            ValueError,
            r"gradient of shape \(3,\).*\(2,\).*equal",
        ),
        (lambda: (leaf(2) * 2).backward(np.ones(2)), TypeError, "ndarray.*gradient is a tensor"),
        ((leaf(2) * 2).requires_grad_, RuntimeError, "only leaves.*detach"),
        (lambda: mp.ones(2) + mp.ones(3), ValueError, r"add\(float32\[2\], float3.*equal or 1"),
        (lambda: mp.ones(2) + "a", TypeError, "add was given a str.*tensors and Python numbers"),
        (lambda: mp.ones(2) + np.ones(2), TypeError, "ndarray.*tinymp.tensor"),
        (lambda: np.ones(2) * mp.ones(2), TypeError, "ndarray.*tinymp.tensor"),
        (lambda: mp.ones(2) + None, TypeError, "add was given a NoneType"),
        (lambda: mp.add(1, 2), TypeError, "add was given no tensor.*tinymp.tensor"),
        (
            lambda: mp.ones(2, dtype=mp.float8_e5m2) + 1,
            TypeError,
            "add was given float8_e5m2.*convert it first",
        ),
        (
            lambda: mp.ones(2, dtype=mp.float8_e5m2) + mp.ones(2),
            TypeError,
            "float8_e5m2 does not promote with float32.*cast it first",
        ),
        (lambda: -mp.tensor([True]), TypeError, r"neg\(bool\[1\]\)"),
        (lambda: mp.tensor([2]) ** -1, ValueError, r"pow\(int64\[1\], -1\)"),
        (lambda: list(mp.tensor(1.0)), TypeError, "0|without dimensions"),
        (lambda: len(mp.tensor(1.0)), TypeError, "without dimensions"),
        (mp.ones(2).item, ValueError, r"\(2,\).*exactly one element"),
        (lambda: bool(mp.ones(2)), ValueError, "exactly one element"),
        (lambda: [0, 1][mp.tensor(1.0)], TypeError, r"float32 tensor cannot be an index.*int"),
        (lambda: setattr(mp.ones(2), "data", mp.ones(3)), ValueError, r"\(3,\).*\(2,\)"),
        (
            lambda: Op("odd", lambda xp, x: x, y=lambda xp, g: g),
            TypeError,
            r"op 'odd'.*'y'.*inputs are \['x'\]",
        ),
        (
            lambda: Op("odd", lambda xp, x: x, x=lambda xp, g, z: g),
            TypeError,
            r"'x' asks for \['z'\].*may ask for \['out', 'x', 'x_shape'\]",
        ),
    ],
)  # fmt: skip
def test_complaints(call: Any, error: Any, complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        call()


def test_a_gradient_of_another_dtype_that_is_already_there() -> None:
    x = mp.ones(2, dtype=mp.bfloat16, requires_grad=True)
    x.grad = mp.ones(2, dtype=mp.float16)
    with pytest.raises(RuntimeError, match=r"bfloat16 gradient.*float16.*set it to None"):
        x.sum().backward()


class Elsewhere:
    """A device that is not the CPU, as far as its name goes."""

    name = "elsewhere"


def test_mixing_devices() -> None:
    far = mp.Tensor(np.ones(2, np.float32), mp.float32, Elsewhere())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"add was given tensors on cpu and on elsewhere.*\.to\("):
        mp.ones(2) + far


@pytest.mark.gpu
def test_mixing_a_gpu_and_the_cpu(device: str) -> None:
    if device == "cpu":
        pytest.skip("needs two devices")
    with pytest.raises(ValueError, match=r"on cpu and on cuda:0.*\.to\("):
        mp.ones(2) + mp.ones(2, device=device)
    x = mp.ones(2, device=device, requires_grad=True)
    with pytest.raises(ValueError, match=r"cpu.*cuda"):
        (x * 2).backward(mp.ones(2))


def test_an_input_that_must_be_there_is_missed_by_its_type() -> None:
    """What may be left out is optional inputs alone, though None stands at the end."""
    with pytest.raises(TypeError, match="linear was given a NoneType"):
        apply(OPS["linear"], mp.ones(2, 2), None, None)
