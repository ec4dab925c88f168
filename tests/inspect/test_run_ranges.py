"""Counting the values of a run: before rounding, once, where they were computed."""

from __future__ import annotations

import numpy as np
import pytest

import tinymp as mp
from tinymp.inspect import Histogram, RunRanges, histogram, ranges


def test_a_relu_zero_is_no_underflow_but_a_rounded_product_is(device: str) -> None:
    x = mp.tensor([-1.0, 2.0**-13, 1.0, 0.0], mp.float16, device)
    with ranges() as run:
        y = mp.relu(x)
        _ = y * y
    assert run.activations["1 relu"].classes["zero"] == 2
    assert run.activations["1 relu"].classes["underflow"] == 0
    product = run.activations["2 mul"].classes
    assert (product["zero"], product["underflow"], product["normal"]) == (2, 1, 1)


@pytest.mark.parametrize("scale", [1.0, 2.0**8, 2.0**16])
def test_a_float32_run_predicts_what_float16_loses(scale: float) -> None:
    slopes = mp.tensor(2.0 ** np.arange(-40, 10).astype(np.float32))

    def gradients(dtype: mp.DType, watch: RunRanges, loss_scale: float) -> Histogram:
        x = mp.ones(50, dtype=dtype, requires_grad=True)
        with watch:
            ((x * slopes).sum() * loss_scale).backward()
        return watch.gradients["1 mul: x"]

    predicted = gradients(mp.float32, ranges(mp.float16, scale=scale), 1.0)
    happened = gradients(mp.float16, ranges(), scale)
    assert predicted == happened
    # Slopes from 2^-40 on: those up to 2^-25 / scale vanish.
    assert predicted.classes["underflow"] == max(0, 16 - int(np.log2(scale)))
    assert predicted.classes["overflow"] == max(0, int(np.log2(scale)) + 9 - 15)


def test_float16_gradients_are_counted_before_they_are_rounded(device: str) -> None:
    x = mp.full((4,), 2.0**-12, dtype=mp.float16, device=device).requires_grad_()
    with ranges() as run:
        (x * x * x).sum().backward()
    assert run.activations["2 mul"].classes["underflow"] == 4  # x³ = 2^-36
    assert run.gradients["2 mul: x"].classes["subnormal"] == 0  # x = 2^-12
    assert run.gradients["2 mul: y"].classes["subnormal"] == 4  # x² = 2^-24, the smallest there is
    assert run.gradients["1 mul: x"].classes["subnormal"] == 4


def test_the_rounding_of_the_run_decides() -> None:
    """1.5·2^-25 survives to nearest, and is cut to zero; backward rounds as its forward did."""
    x = mp.ones(1, dtype=mp.float16, requires_grad=True)
    with ranges() as run:
        with mp.rounding("toward_zero"):
            loss = (x * mp.tensor([1.5 * 2.0**-25])).sum()
            _ = mp.tensor([1.5 * 2.0**-25]).half()
        loss.backward()
        _ = mp.tensor([1.5 * 2.0**-25]).half()
    assert run.activations["3 cast"].classes["underflow"] == 1
    assert run.gradients["1 mul: x"].classes["underflow"] == 1
    assert run.activations["1 cast"].classes["subnormal"] == 1


def test_one_format_for_all_or_each_result_its_own() -> None:
    x = mp.tensor([2.0**-30])
    with ranges() as own, ranges(mp.float16) as float16:
        _ = x * 1
        _ = x.half()
    assert own.activations["1 mul"].dtype is mp.float32
    assert own.activations["1 mul"].classes["normal"] == 1
    assert own.activations["2 cast"].classes["underflow"] == 1
    assert [h.classes["underflow"] for h in float16.activations.values()] == [1, 1]


def test_moved_and_integer_values_are_not_counted() -> None:
    x = mp.ones(2, 3, requires_grad=True)
    with ranges() as run:
        y = mp.cat([x.reshape(3, 2).transpose(0, 1), x])
        (y > 0).sum()
        y[0].backward(mp.ones(3))
    assert list(run.activations) == []
    assert list(run.gradients) == []


def test_parameters_are_named_and_steps_add_up() -> None:
    model = mp.nn.Sequential(mp.nn.Linear(3, 2), mp.nn.Tanh())
    with ranges(mp.float16, model=model) as run:
        for _ in range(3):
            model(mp.ones(4, 3)).sum().backward()
    assert list(run.activations) == ["1 linear", "2 tanh", "3 sum"]
    assert {h.total for h in run.activations.values()} == {3 * 8, 3 * 1}
    assert {"0.weight", "0.bias"} <= set(run.gradients)
    assert run.gradients["0.weight"].total == 3 * 6


def test_what_is_counted_is_what_the_gradients_hold() -> None:
    model = mp.nn.Linear(5, 4)
    with ranges(mp.float16, model=model) as run:
        mp.tanh(model(mp.randn(3, 5))).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert run.gradients[name] == histogram(parameter.grad, mp.float16)


def test_watching_changes_nothing() -> None:
    def gradient(watched: bool) -> np.ndarray:
        mp.manual_seed(3)
        model = mp.nn.Sequential(mp.nn.Linear(4, 4), mp.nn.ReLU(), mp.nn.Linear(4, 2)).half()
        x = mp.randn(6, 4).half()
        with mp.rounding("stochastic"):
            if watched:
                with ranges(model=model):
                    model(x).sum().backward()
            else:
                model(x).sum().backward()
        return np.concatenate(
            [p.grad.numpy().ravel() for p in model.parameters() if p.grad is not None]
        )

    np.testing.assert_array_equal(gradient(True), gradient(False))


def test_text() -> None:
    with ranges() as run:
        pass
    assert str(run) == "nothing was computed inside the block"
    with run:
        _ = mp.ones(3) * 2
    assert str(run).splitlines()[-1].split() == [
        "1",
        "mul",
        "float32",
        "0",
        "0",
        "0",
        "3",
        "0",
        "0",
    ]


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(TypeError, match="unknown dtype 'half'"):
        ranges("half")


def test_a_place_that_has_two_formats_is_counted_apart() -> None:
    """After backward the counting of places begins anew, here with a cast back to float32."""
    x = mp.ones(3, requires_grad=True)
    with ranges() as run:
        y = x.to(mp.float16)
        y.sum().backward()
        _ = y.detach().to(mp.float32)
    first, second = (run.activations[name] for name in ("1 cast", "1 cast (float32, nearest_even)"))
    assert (first.dtype, first.total) == (mp.float16, 3)
    assert (second.dtype, second.total) == (mp.float32, 3)
