"""Formats of any widths: they round as the rule says, pack, and train."""

from __future__ import annotations

import copy
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinymp as mp
from tinymp.formats import DTYPES, decode, dtype_of, encode, finfo, float_format, gradient_dtype
from tinymp.formats.anatomy import examine
from tinymp.formats.rule import encode_rule
from tinymp.testing.exact_rounding import exact_word

TF32 = float_format(8, 10)
SPECIALS = ("infinity and NaN", "NaN alone", "neither")


def without(e, m, specials):
    """The format of these widths with infinity and NaN, with NaN alone, or with neither."""
    return float_format(e, m, has_infinity=specials == SPECIALS[0], has_nan=specials != SPECIALS[2])


def exists(widths):
    e, m, specials = widths
    return specials == SPECIALS[0] or (e < 8 and (specials == SPECIALS[2] or e + m >= 7))


widths = st.tuples(st.integers(2, 8), st.integers(1, 23), st.sampled_from(SPECIALS)).filter(exists)
# OCP's formats for microscaling, by the names that ml_dtypes gives them.
MICROSCALING = {"float6_e3m2fn": (3, 2), "float6_e2m3fn": (2, 3), "float4_e2m1fn": (2, 1)}


def test_known_formats_are_themselves():
    assert float_format(5, 10) is mp.float16
    assert float_format(8, 7) is mp.bfloat16
    assert float_format(8, 23) is mp.float32
    assert float_format(5, 2) is mp.float8_e5m2
    assert float_format(4, 3, has_infinity=False) is mp.float8_e4m3fn
    assert float_format(4, 3) is not mp.float8_e4m3fn
    assert float_format(4, 3).max == 240


@given(widths)
def test_one_format_is_one_object(given):
    e, m, specials = given
    dtype = without(e, m, specials)
    assert dtype is without(e, m, specials) is dtype_of(dtype.name)
    assert dtype.has_infinity == (specials == SPECIALS[0])
    assert dtype.has_nan == (specials != SPECIALS[2])
    assert dtype is pickle.loads(pickle.dumps(dtype)) is copy.deepcopy(dtype)
    assert dtype.words.itemsize * 8 >= dtype.bits == 1 + e + m
    assert dtype.itemsize == (1 if dtype.bits <= 8 else 2 if dtype.bits <= 16 else 4)


def test_a_name_is_enough_where_the_format_was_never_made():
    code = "from tinymp.formats import dtype_of; print(dtype_of('float13_e7m5').max)"
    import subprocess
    import sys

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(out.stdout) == float_format(7, 5).max
    for wrong in ("float12_e7m5", "float3_e1m1", "float14_e9m4", "float32_e8m23", "float_e3m4"):
        with pytest.raises(TypeError, match="unknown dtype"):
            dtype_of(wrong)


def test_limits_that_are_published():
    assert finfo(TF32).eps == 2.0**-10
    assert finfo(TF32).max == (2 - 2.0**-10) * 2.0**127
    assert finfo(float_format(3, 4)).max == 15.5  # as ml_dtypes.float8_e3m4
    assert finfo(float_format(3, 4)).smallest_subnormal == 2.0**-6


@given(widths, st.integers(0, 2**32 - 1), st.sampled_from(["toward_zero", "nearest_even"]))
@settings(max_examples=100)
def test_rounding_agrees_with_exact_fractions(given, seed, mode):
    e, m, specials = given
    dtype = without(e, m, specials)
    rng = np.random.default_rng(seed)
    near = rng.integers(dtype.emin - m - 3, dtype.emax + 3, 40)
    x = rng.choice([-1, 1], 40) * rng.integers(1, 1 << (m + 3), 40) * np.exp2(near - m - 1.0)
    with np.errstate(over="ignore"):
        x = x.astype(np.float32) if rng.integers(2) else x
    words = encode(x, dtype, mode)
    for value, word in zip(x.tolist(), words.tolist(), strict=True):
        if np.isfinite(value):
            assert word == exact_word(Fraction(value), dtype, mode), value
    every = np.arange(min(1 << dtype.bits, 4096)).astype(dtype.words)
    values = decode(every, dtype)
    number = ~np.isnan(values)
    np.testing.assert_array_equal(encode(values, dtype, mode)[number], every[number])


def test_against_ml_dtypes():
    import ml_dtypes

    every = np.arange(1 << 16).astype(np.uint16)
    x = (every.astype(np.uint32) << 16).view(np.float32)
    x = np.concatenate([x, x[x > 0] * np.float32(1 + 2.0**-20)])
    for ours, theirs in (
        (float_format(3, 4), ml_dtypes.float8_e3m4),
        (float_format(4, 3), ml_dtypes.float8_e4m3),
    ):
        with np.errstate(all="ignore"):
            expected = x.astype(theirs)
        words = encode(x, ours, "nearest_even")
        number = ~np.isnan(x)
        np.testing.assert_array_equal(words[number], expected.view(np.uint8)[number])
        assert np.isnan(decode(words[~number], ours)).all()


@pytest.mark.parametrize("dtype", [float_format(6, 9), TF32, float_format(3, 12)], ids=str)
def test_it_trains(dtype):
    mp.manual_seed(0)
    rng = np.random.default_rng(0)
    x = mp.tensor(rng.standard_normal((64, 5)).astype(np.float32)).to(dtype)
    target = mp.tensor(rng.standard_normal((64, 1)).astype(np.float32)).to(dtype)
    w = mp.randn(1, 5).to(dtype).requires_grad_()
    losses = []
    for _ in range(20):
        loss = ((mp.linear(x, w) - target) ** 2).mean()
        loss.backward()
        assert loss.dtype is w.grad.dtype is dtype
        assert w.nbytes == 5 * dtype.itemsize == w.grad.nbytes
        with mp.no_grad():
            w.add_(w.grad * -0.1)
        w.grad = None
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 1.5


@pytest.mark.parametrize("dtype", [float_format(3, 4), float_format(3, 2)], ids=str)
def test_formats_of_a_byte_enter_casts_movement_and_products(dtype):
    x = mp.tensor([[0.3, -1.6], [2.2, 0.1]], dtype=mp.float32).requires_grad_()
    quantised = x.to(dtype)
    assert quantised.nbytes == 4
    (quantised @ quantised.t()).float().sum().backward()
    assert x.grad.dtype is mp.float32
    with pytest.raises(TypeError, match=r"[68]-bit floats enter casts, movement"):
        quantised + quantised
    with pytest.raises(TypeError, match="does not promote"):
        quantised @ x


@pytest.mark.parametrize("mode", ["toward_zero", "nearest_even"])
def test_formats_of_a_byte_round_by_table_as_by_rule(mode):
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    x = np.concatenate([upper | low for low in (0, 1, 0x7FFF, 0x8000, 0xFFFF)]).view(np.float32)
    for e, m in [(e, m) for e in range(2, 8) for m in range(1, 6) if e + m <= 7]:
        for specials in SPECIALS:
            if not exists((e, m, specials)):
                continue
            dtype = without(e, m, specials)
            np.testing.assert_array_equal(encode(x, dtype, mode), encode_rule(x, dtype, mode))


def test_widths_out_of_range():
    for e, m in ((1, 3), (9, 3), (5, 0), (5, 24)):
        with pytest.raises(ValueError, match=f"{e} exponent bits and {m} significand bits"):
            float_format(e, m)
    with pytest.raises(ValueError, match="exponents take 2 to 7 bits"):
        float_format(8, 3, has_infinity=False)  # its largest would be beyond float32


def test_nan_where_no_format_has_it():
    with pytest.raises(ValueError, match=r"of 6 bits without infinity and with NaN.*has_nan=False"):
        float_format(3, 2, has_infinity=False)
    with pytest.raises(ValueError, match=r"with infinity and without NaN.*has_infinity=False"):
        float_format(4, 3, has_nan=False)
    with pytest.raises(TypeError, match="unknown dtype 'float6_e3m2f'"):
        dtype_of("float6_e3m2f")
    finite = float_format(4, 3, has_infinity=False, has_nan=False)
    assert finite.name == "float8_e4m3f"
    assert finite.max == 480
    assert mp.float8_e4m3fn.max == 448


@pytest.mark.parametrize("name", MICROSCALING)
def test_microscaling_formats_are_those_of_ml_dtypes(name):
    """Every word, and every float32 whose lower half is not a common one."""
    import ml_dtypes

    theirs = getattr(ml_dtypes, name)
    ours = without(*MICROSCALING[name], "neither")
    assert ours is dtype_of(name) is dtype_of(theirs)
    assert ours.itemsize == 1
    every = np.arange(1 << ours.bits).astype(np.uint8)
    values = decode(every, ours)
    np.testing.assert_array_equal(values, every.view(theirs).astype(np.float32))
    assert np.isfinite(values).all()
    assert (np.signbit(values) == (every >= ours.sign_mask)).all()
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    for low in (0, 1, 0x7FFF, 0x8000, 0xFFFF):
        x = (upper | low).view(np.float32)
        number = ~np.isnan(x)
        with np.errstate(all="ignore"):
            expected = x.astype(theirs).view(np.uint8)
        words = encode(x, ours, "nearest_even")
        np.testing.assert_array_equal(words[number], expected[number])
        # NaN becomes the largest value here, as in hardware (PTX ISA, cvt); zero in ml_dtypes.
        assert (np.abs(decode(words[~number], ours)) == ours.max).all()


def test_microscaling_limits_are_those_of_the_specification():
    """OCP Microscaling Formats (MX) Specification 1.0, section 5.3."""
    limits = {(3, 2): (28.0, 0.25, 0.0625), (2, 3): (7.5, 1.0, 0.125), (2, 1): (6.0, 1.0, 0.5)}
    for (e, m), expected in limits.items():
        dtype = without(e, m, "neither")
        found = finfo(dtype)
        assert (found.max, found.smallest_normal, found.smallest_subnormal) == expected
        for mode in ("nearest_even", "toward_zero", "stochastic"):
            for value in (1e9, np.inf):
                words = encode(np.array([value, -value]), dtype, mode)
                assert decode(words, dtype).tolist() == [dtype.max, -dtype.max]
    fp4 = without(2, 1, "neither")
    every = decode(np.arange(8, dtype=np.uint8), fp4)
    assert every.tolist() == [0, 0.5, 1, 1.5, 2, 3, 4, 6]


def test_a_number_of_fp4_looked_at():
    fp4 = without(2, 1, "neither")
    largest = examine("7", fp4)
    assert (largest.value, largest.above, largest.below) == (6, None, 4)
    assert (largest.kind, largest.exponent_bits, largest.significand_bits) == ("normal", "11", "1")
    assert examine("inf", fp4).value == examine("nan", fp4).value == 6
    assert examine("-6", fp4).below is None
    assert examine("0.5", fp4).kind == "subnormal"
    assert examine("0.25", fp4).value == 0  # a tie


@pytest.mark.parametrize("name", MICROSCALING)
def test_a_layer_of_microscaling_weights_trains(name):
    """Weights are quantised in forward; their float32 masters learn through it."""
    dtype = dtype_of(name)
    rng = np.random.default_rng(0)
    x = mp.tensor(rng.standard_normal((64, 8)).astype(np.float32)).half()
    true = mp.tensor(rng.choice([-1.0, 0.5, 1.5], (3, 8)).astype(np.float32))
    target = mp.linear(x.float(), true)
    masters = (mp.randn(3, 8) * 0.5).requires_grad_()
    losses = []
    for _ in range(60):
        quantised = masters.to(dtype)
        assert quantised.nbytes == 24
        loss = ((mp.linear(x.float(), quantised.float()) - target) ** 2).mean()
        loss.backward()
        assert masters.grad.dtype is mp.float32
        with mp.no_grad():
            masters.add_(masters.grad * -0.3)
        masters.grad = None
        losses.append(loss.item())
    assert min(losses[-5:]) < losses[0] / 20


def test_gradients_of_small_ranges_are_in_e5m2():
    for dtype in (float_format(3, 4), dtype_of("float4_e2m1fn"), mp.float8_e4m3fn):
        assert gradient_dtype(dtype) is mp.float8_e5m2
    for dtype in (mp.float8_e5m2, mp.bool, mp.float16, TF32):
        assert gradient_dtype(dtype) is dtype


def test_the_list_of_formats_is_that_of_the_package():
    float_format(2, 3)
    assert len(DTYPES) == 8
