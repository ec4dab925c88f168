from __future__ import annotations

import copy
import math
import pickle

import ml_dtypes
import numpy as np
import pytest

from tinymp.formats import (
    DTYPES,
    bfloat16,
    bool_,
    dtype_of,
    finfo,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    int64,
)

FLOATS = [dtype for dtype in DTYPES if dtype.is_float]
PEER_INFO = {
    float64: np.finfo(np.float64),
    float32: np.finfo(np.float32),
    float16: np.finfo(np.float16),
    bfloat16: ml_dtypes.finfo(ml_dtypes.bfloat16),
    float8_e4m3fn: ml_dtypes.finfo(ml_dtypes.float8_e4m3fn),
    float8_e5m2: ml_dtypes.finfo(ml_dtypes.float8_e5m2),
}


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
def test_finfo_agrees_with_numpy_and_ml_dtypes(dtype):
    ours, theirs = finfo(dtype), PEER_INFO[dtype]
    for name in ("bits", "nexp", "nmant"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in ("max", "min", "eps", "tiny", "smallest_normal", "smallest_subnormal"):
        assert getattr(ours, name) == float(getattr(theirs, name)), name
    assert ours.dtype is dtype


def test_resolution_is_pytorchs():
    digits = [-math.log10(finfo(dtype).resolution) for dtype in FLOATS]
    assert digits == [15, 6, 3, 2, 0, 0]


def test_finfo_takes_names():
    assert finfo("float16") == finfo(float16)


def test_finfo_of_an_integer_says_what_to_do():
    with pytest.raises(TypeError, match=r"int64 is none; use one of float64, .*numpy\.iinfo"):
        finfo(int64)


@pytest.mark.parametrize(
    ("dtype", "emin", "emax", "precision", "largest"),
    [
        (float64, -1022, 1023, 53, 1.7976931348623157e308),
        (float32, -126, 127, 24, 3.4028234663852886e38),
        (float16, -14, 15, 11, 65504.0),
        (bfloat16, -126, 127, 8, 3.3895313892515355e38),
        (float8_e4m3fn, -6, 8, 4, 448.0),
        (float8_e5m2, -14, 15, 3, 57344.0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_quantities_of_the_literature(dtype, emin, emax, precision, largest):
    assert (dtype.emin, dtype.emax, dtype.precision) == (emin, emax, precision)
    assert dtype.max == largest
    assert dtype.eps == 2.0 ** (1 - precision)
    assert dtype.unit_roundoff("nearest_even") == 2.0**-precision
    assert dtype.unit_roundoff("toward_zero") == 2.0 ** (1 - precision)
    assert dtype.unit_roundoff("stochastic") == 2.0 ** (1 - precision)


def test_bfloat16_truncates_by_default_and_nothing_else_does():
    assert {dtype.name: dtype.unit_roundoff() for dtype in (bfloat16, float16)} == {
        "bfloat16": 2.0**-7,
        "float16": 2.0**-11,
    }
    assert [d for d in FLOATS if d.default_rounding != "nearest_even"] == [bfloat16]


def test_storage_is_as_wide_as_the_name():
    sizes = {dtype.name: dtype.itemsize for dtype in DTYPES}
    assert sizes == {
        "float64": 8,
        "float32": 4,
        "float16": 2,
        "bfloat16": 2,
        "float8_e4m3fn": 1,
        "float8_e5m2": 1,
        "int64": 8,
        "bool": 1,
    }
    for dtype in DTYPES:
        assert dtype.words.kind == "u"
        assert dtype.words.itemsize == dtype.itemsize
        assert dtype.bits == 8 * dtype.itemsize


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_there_is_one_object_of_each_format(dtype):
    assert copy.copy(dtype) is dtype
    assert copy.deepcopy({"key": [dtype]})["key"][0] is dtype
    assert pickle.loads(pickle.dumps(dtype)) is dtype
    assert dtype_of(dtype.name) is dtype
    assert repr(dtype) == f"tinymp.{dtype.name}"
    assert len({dtype, dtype_of(dtype)}) == 1


def test_a_format_cannot_be_changed():
    with pytest.raises(AttributeError):
        float16.bias = 3


def test_dtype_of_other_peoples_types():
    for dtype, peer in ((float16, np.float16), (float64, "f8"), (bool_, np.bool_), (int64, "i4")):
        assert dtype_of(np.dtype(peer)) is dtype
    assert dtype_of(np.float32) is float32
    assert dtype_of(ml_dtypes.bfloat16) is bfloat16
    assert dtype_of(np.dtype(ml_dtypes.float8_e4m3fn)) is float8_e4m3fn
    assert dtype_of(np.dtype(">f4")) is float32


@pytest.mark.parametrize("wrong", ["half", None, np.complex64, "U3", object(), 3])
def test_unknown_dtypes_list_the_known_ones(wrong):
    expected = r"unknown dtype .*; expected one of float64, float32, float16, bfloat16, "
    with pytest.raises(TypeError, match=expected):
        dtype_of(wrong)


def test_integers_have_no_exponent():
    with pytest.raises(TypeError, match=r"int64 is not a floating-point format .* use one of flo"):
        _ = int64.max
