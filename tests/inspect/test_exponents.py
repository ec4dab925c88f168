"""The classes of values are what encoding makes of them, and every value has exactly one."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinymp as mp
from tinymp.formats import decode, encode
from tinymp.formats.anatomy import classify, round_fraction
from tinymp.inspect import CLASSES, histogram, histograms
from tinymp.inspect.exponents import boundaries

Array = np.ndarray[Any, Any]

NARROW = [mp.float16, mp.bfloat16, mp.float8_e4m3fn, mp.float8_e5m2]
MODES = ["nearest_even", "toward_zero"]


def interesting(dtype: mp.DType) -> Array:
    """Every number of a format, every midpoint of neighbours, and the float64 values around."""
    words = np.arange(dtype.max_word + 1).astype(dtype.words)
    numbers = decode(words, dtype).astype(np.float64)
    ulp = numbers[-1] - numbers[-2]
    beyond = np.append(numbers, numbers[-1] + ulp)
    midpoints = (beyond[1:] + beyond[:-1]) / 2
    exact = np.concatenate([beyond, midpoints])
    around = [np.nextafter(exact, -np.inf), exact, np.nextafter(exact, np.inf)]
    values = np.concatenate([*around, [np.inf, np.nan]])
    return np.concatenate([values, -values])


def class_of_words(values: Array, dtype: mp.DType, mode: str) -> Array:
    """The class of each value, read off the word that it is encoded as."""
    magnitude = encode(values, dtype, mode).astype(np.int64) & (dtype.sign_mask - 1)
    numbers = decode(np.array([dtype.max_word - 1, dtype.max_word], dtype.words), dtype)
    out_of_range = np.abs(values) >= 2 * numbers[1].astype(np.float64) - numbers[0]
    names = np.where(magnitude & dtype.exponent_mask, "normal", "subnormal").astype("<U9")
    names[magnitude == 0] = "underflow"
    names[magnitude > dtype.max_word] = "overflow"
    names[out_of_range] = "overflow"  # toward zero, the word is the largest number's
    names[values == 0] = "zero"
    names[np.isnan(values)] = "nan"
    return names


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", NARROW, ids=lambda d: d.name)
def test_classes_are_those_of_the_encoded_words(dtype: mp.DType, mode: str) -> None:
    values = interesting(dtype)
    names = class_of_words(values, dtype, mode)
    found = histogram(values, dtype, rounding=mode)
    assert found.classes == {name: int((names == name).sum()) for name in CLASSES}
    for name in CLASSES:  # one class at a time: errors that cancel in the sums show here
        classes = histogram(values[names == name], dtype, rounding=mode).classes
        assert classes[name] == found.classes[name] == sum(classes.values())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [mp.float32, *NARROW], ids=lambda d: d.name)
def test_boundaries_are_exact(dtype: mp.DType, mode: str) -> None:
    """On each boundary the class changes, and one float64 below it has not; in exact arithmetic."""
    limits = boundaries(dtype, mode)

    def kind(x: float) -> str:
        word = round_fraction(Fraction(x), dtype, mode)
        return "out of range" if word > dtype.max_word else classify(word, dtype)

    def below(x: float) -> float:
        return float(np.nextafter(x, 0))

    assert (kind(below(limits.survives)), kind(limits.survives)) == ("zero", "subnormal")
    assert (kind(below(limits.normal)), kind(limits.normal)) == ("subnormal", "normal")
    if mode == "nearest_even":
        assert kind(limits.overflows) in ("out of range", "infinity", "nan")
        assert kind(below(limits.overflows)) == "normal"
    else:
        ulp = Fraction(2) ** (dtype.emax - dtype.significand_bits)
        assert Fraction(limits.overflows) == Fraction(dtype.max) + ulp


def test_the_figures_that_everyone_knows() -> None:
    nearest = boundaries(mp.float16, "nearest_even")
    assert nearest.overflows == 65520
    assert nearest.survives == np.nextafter(2.0**-25, 1)
    assert boundaries(mp.float16, "toward_zero").survives == 2.0**-24
    assert boundaries(mp.float8_e4m3fn, "nearest_even").overflows == np.nextafter(464.0, 465.0)
    assert boundaries(mp.float8_e5m2, "nearest_even").overflows == 61440
    assert boundaries(mp.float64, "nearest_even").overflows == np.inf


FLOATS = st.lists(st.floats(width=32), max_size=40)


@given(FLOATS, st.sampled_from([mp.float32, *NARROW]), st.sampled_from([*MODES, "stochastic"]))
def test_classes_partition_the_values(values: list[float], dtype: mp.DType, mode: str) -> None:
    array = np.array(values, np.float32)
    found = histogram(array, dtype, rounding=mode)
    assert tuple(found.classes) == CLASSES
    assert found.total == len(values)
    assert found.classes["zero"] == int((array == 0).sum())
    assert found.classes["nan"] == int(np.isnan(array).sum())
    assert sum(found.exponents.values()) == int((np.isfinite(array) & (array != 0)).sum())
    if dtype is mp.float32:
        assert found.classes["underflow"] == 0
        assert found.classes["overflow"] == int(np.isinf(array).sum())


@given(FLOATS, FLOATS, st.sampled_from(NARROW))
def test_histograms_of_parts_add_up(a: list[float], b: list[float], dtype: mp.DType) -> None:
    x, y = np.array(a, np.float32), np.array(b, np.float32)
    together = histogram(np.concatenate([x, y]), dtype)
    assert histogram(x, dtype) + histogram(y, dtype) == together
    assert histogram([x, y], dtype) == together


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), max_size=30), st.integers(-40, 40))
def test_a_power_of_two_shifts_every_exponent(values: list[float], power: int) -> None:
    array = np.array(values, np.float32)
    plain, scaled = (histogram(array, mp.float16, scale=s) for s in (1.0, 2.0**power))
    assert {e + power: n for e, n in plain.exponents.items()} == scaled.exponents


def test_exponents_are_floors_of_logarithms() -> None:
    values = [1.0, 1.9999999, 2.0, -0.75, 2.0**-149, 0.0, np.inf, np.nan]
    found = histogram(np.array(values), mp.float16)
    assert found.exponents == {-149: 1, -1: 1, 0: 2, 1: 1}
    assert found.classes == {
        "zero": 1, "underflow": 1, "subnormal": 0, "normal": 4, "overflow": 1, "nan": 1,
    }  # fmt: skip
    assert found.share("underflow") == 1 / 7


def test_a_loss_scale_saves_gradients() -> None:
    gradient = mp.tensor([2.0**-25, 2.0**-30, 0.0])
    assert histogram(gradient, mp.float16).classes["underflow"] == 2
    rescued = histogram(gradient, mp.float16, scale=2.0**10)
    assert (rescued.classes["underflow"], rescued.classes["zero"]) == (0, 1)


@pytest.mark.parametrize("dtype", [mp.float16, mp.bfloat16, mp.float8_e4m3fn, mp.float64])
def test_tensors_of_every_dtype_and_device(dtype: mp.DType, device: str) -> None:
    values = mp.tensor([0.0, 1.0, 2.0**-9, float("nan")], dtype, device)
    found = histogram(values, mp.float16)
    assert found.classes["zero"] == 1
    assert found.classes["normal"] == 2
    assert found.classes["nan"] == 1


def test_the_rounding_in_force_decides() -> None:
    values = np.array([2.0**-25 * 1.5])
    assert histogram(values, mp.float16).classes["subnormal"] == 1
    with mp.rounding("toward_zero"):
        assert histogram(values, mp.float16).classes["underflow"] == 1
    with mp.rounding("stochastic"):
        before = mp.rand(1).item()
        mp.manual_seed(0)
        assert histogram(values, mp.float16).classes["underflow"] == 1
        assert mp.rand(1).item() == before  # looking draws no random number


def test_histograms_of_a_model() -> None:
    model = mp.nn.Linear(2, 1)
    with mp.no_grad():
        model.weight.copy_([[1e-9, 1.0]])
        model.bias.copy_([0.0])
    found = histograms(model, mp.float16)
    assert {name: h.classes["underflow"] for name, h in found.items()} == {"weight": 1, "bias": 0}
    assert histograms(model, mp.float16, of="gradients") == {}
    model.weight.grad = mp.tensor([[1e-9, 0.0]])
    gradients = histograms(model, mp.float16, of="gradients", scale=1024)
    assert list(gradients) == ["weight"]
    assert gradients["weight"].classes["subnormal"] == 1


def test_text() -> None:
    text = str(histogram(np.array([0.0, 1.0, 1e-9, 1e9]), mp.float16))
    assert text.splitlines()[0] == "4 values against float16, nearest_even"
    assert "underflow       1  25.00 %" in text


def test_bad_input() -> None:
    with pytest.raises(TypeError, match=r"values of int64; only floating-point values"):
        histogram(mp.tensor([1, 2]), mp.float16)
    with pytest.raises(TypeError, match=r"int64 is not a floating-point format"):
        histogram(mp.ones(2), mp.int64)
    with pytest.raises(ValueError, match=r"unknown rounding mode 'up'"):
        histogram(mp.ones(2), mp.float16, rounding="up")
    with pytest.raises(ValueError, match=r"of='biases'.* 'weights' or 'gradients'"):
        histograms(mp.nn.Linear(1, 1), mp.float16, of="biases")
    with pytest.raises(ValueError, match=r"float16 .* cannot be added to one for bfloat16"):
        histogram(mp.ones(2), mp.float16) + histogram(mp.ones(2), mp.bfloat16)
