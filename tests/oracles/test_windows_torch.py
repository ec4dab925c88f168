"""Convolution and pooling against PyTorch: shapes, options and dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinymp as mp
from tinymp.nn import functional as F
from tinymp.numerics.bounds import gamma
from tinymp.testing import check_operation, pytorch_oracle, unit_roundoff

torch = pytest.importorskip("torch")
t = torch.nn.functional

FLOATS = [mp.float64, mp.float32, mp.float16, mp.bfloat16]
a = np.abs


def leaf(rng: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """A leaf of normal random values, whose memory is laid out the other way round."""
    return mp.tensor(rng.standard_normal(shape[::-1]), dtype).T.detach().requires_grad_()


def products(theirs: Any, dtype: Any, length: float, choice: bool = False) -> Any:
    """γ_n of the same sums of products of absolute values, for n = `length`.

    Of a `choice` among the inputs the gradients are summed where they were chosen.
    """
    unit = unit_roundoff(dtype) * (2 if dtype is mp.float64 else 1)

    def errors(values: list[Any], out: Any, g: Any) -> list[Any]:
        terms, sums = theirs(values if choice else [a(v) for v in values], a(g))
        terms = 0 * terms if choice else terms
        return [length * unit * bound for bound in (terms, *sums)]

    return errors


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@settings(max_examples=40)
@given(data=st.data())
def test_convolutions(dtype: Any, data: Any) -> None:
    def numbers(least: int, most: int) -> Any:
        return data.draw(st.tuples(*[st.integers(least, most)] * 2))

    kernel, stride, padding, dilation = numbers(1, 3), numbers(1, 3), numbers(0, 2), numbers(1, 2)
    groups, n = data.draw(st.integers(1, 2)), data.draw(st.integers(0, 2))
    inputs, outputs = (groups * k for k in numbers(1, 2))
    size = tuple(
        max(1, d * (k - 1) + 1 - 2 * p) + data.draw(st.integers(0, 4))
        for k, p, d in zip(kernel, padding, dilation, strict=True)
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    bias = [leaf(rng, (outputs,), dtype)] if data.draw(st.booleans()) else []
    if data.draw(st.booleans()):
        weight = leaf(rng, (outputs, inputs // groups, *kernel), dtype)

        def convolve(f: Any) -> Any:
            return lambda x, w, b=None: f.conv2d(x, w, b, stride, padding, dilation, groups)

    else:
        weight = leaf(rng, (inputs, outputs // groups, *kernel), dtype)
        extra = tuple(min(s, 2) - 1 for s in stride)
        spans = zip(size, stride, padding, dilation, kernel, extra, strict=True)
        if min((m - 1) * s - 2 * p + d * (k - 1) + e + 1 for m, s, p, d, k, e in spans) < 1:
            return

        def convolve(f: Any) -> Any:
            options = (stride, padding, extra, groups, dilation)
            return lambda x, w, b=None: f.conv_transpose2d(x, w, b, *options)

    theirs = pytorch_oracle(convolve(t))
    check_operation(
        convolve(F),
        theirs,
        [leaf(rng, (n, inputs, *size), dtype), weight, *bias],
        dtype,
        products(theirs, dtype, 400),  # the longest sum: over batch and places, for a kernel
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@settings(max_examples=40)
@given(data=st.data())
def test_pooling(dtype: Any, data: Any) -> None:
    def numbers(least: int, most: int) -> Any:
        return data.draw(st.tuples(*[st.integers(least, most)] * 2))

    kernel, stride = numbers(1, 3), data.draw(st.sampled_from([None, 1, (2, 3)]))
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    size = tuple(k + data.draw(st.integers(0, 4)) for k in kernel)
    include, parts = data.draw(st.booleans()), numbers(1, 4)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = leaf(rng, (2, 3, *size), dtype)
    cases = [
        (lambda f: lambda x: f.max_pool2d(x, kernel, stride, padding), 9),
        (
            lambda f: lambda x: f.avg_pool2d(x, kernel, stride, padding, count_include_pad=include),
            16,
        ),
    ]
    for pool, length in cases:
        x.grad = None
        theirs = pytorch_oracle(pool(t))
        check_operation(pool(F), theirs, [x], dtype, products(theirs, dtype, length, length == 9))

    def adaptive(f: Any) -> Any:
        return lambda x: f.adaptive_avg_pool2d(x, parts)

    x.grad = None
    theirs = pytorch_oracle(adaptive(t))
    # Parts that overlap are means of their own, whose gradients are rounded before they meet.
    with mp.rounding("nearest_even"):
        unit = 16 * dtype.unit_roundoff("nearest_even") / unit_roundoff(dtype)
        check_operation(adaptive(F), theirs, [x], dtype, products(theirs, dtype, unit))


def test_dilated_pooling_ties_infinities_and_nan() -> None:
    values = np.array([[1.0, 1.0, 0.0, -np.inf], [1.0, np.nan, -np.inf, -np.inf]] * 2)
    x = mp.tensor(values[None, None], requires_grad=True)
    y = torch.tensor(values[None, None], requires_grad=True)
    for options in ({"stride": 1}, {"padding": 1}, {"stride": 1, "dilation": 2}):
        x.grad = y.grad = None
        ours, theirs = F.max_pool2d(x, 2, **options), t.max_pool2d(y, 2, **options)
        np.testing.assert_array_equal(ours.numpy(), theirs.detach().numpy())
        ours.backward(mp.ones_like(ours))
        theirs.backward(torch.ones_like(theirs))
        finite = np.isfinite(values)  # among infinities and NaN PyTorch chooses another one
        np.testing.assert_array_equal(x.grad.numpy()[0, 0][finite], y.grad.numpy()[0, 0][finite])


@pytest.mark.parametrize("name", ["conv1d", "max_pool1d", "avg_pool1d", "adaptive_avg_pool1d"])
def test_signals(name: str) -> None:
    rng = np.random.default_rng(1)
    x = leaf(rng, (2, 3, 7), mp.float32)
    arguments = (leaf(rng, (4, 3, 2), mp.float32),) if name == "conv1d" else (3,)
    given = tuple(v if isinstance(v, int) else torch.tensor(v.numpy()) for v in arguments)
    found = getattr(F, name)(x, *arguments)
    expected = getattr(t, name)(torch.tensor(x.numpy()), *given).numpy()
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=20 * 2.0**-24 * 8)


@pytest.mark.parametrize(
    ("stride", "output_padding", "dilation", "padding"),
    [(2, 1, 1, 1), (1, 1, 2, 0), (2, 1, 3, 2), (3, 2, 1, 0), (1, (0, 1), 2, 1)],
)
def test_output_padding_may_leave_room_for_more_places_than_the_input_has(
    stride: int, output_padding: Any, dilation: int, padding: int
) -> None:
    """Both libraries are within γ_n of the sum of absolute values, which the same run of |x| gives.

    n: 4 channels of 6 taps forward, the square's factor 2, and the 60 places of both images.
    """
    rng = np.random.default_rng(0)
    ours = [leaf(rng, shape, mp.float64) for shape in ((2, 4, 5, 6), (4, 3, 3, 2))]
    options = (None, stride, padding, output_padding, 1, dilation)
    runs = []
    for library, inputs in (
        (F, ours),
        (t, [torch.tensor(x.numpy(), requires_grad=True) for x in ours]),
        (t, [torch.tensor(np.abs(x.numpy()), requires_grad=True) for x in ours]),
    ):
        out = library.conv_transpose2d(*inputs, *options)
        (out * out).sum().backward()
        runs.append([out.detach().numpy(), *(x.grad.numpy() for x in inputs)])
    for found, expected, size in zip(*runs, strict=True):
        assert (np.abs(found - expected) <= 2 * gamma(24 + 2 + 60, 2.0**-53) * size).all()


def test_a_convolution_of_ones_in_float16_does_not_stop_at_2048() -> None:
    """3,000 products of ones are accumulated in float32 and rounded once."""
    x, weight = (mp.ones(1, 3000, 1, 1, dtype=mp.float16) for _ in range(2))
    assert F.conv2d(x, weight).item() == 3000
    with mp.amp.autocast(mp.bfloat16):
        assert F.conv2d(x.float(), weight.float()).dtype is mp.bfloat16
        assert F.max_pool2d(x.float(), 1).dtype is mp.float32
