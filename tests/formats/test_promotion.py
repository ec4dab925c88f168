from __future__ import annotations

from itertools import permutations

import pytest

from tinymp.formats import (
    DTYPES,
    bfloat16,
    bool_,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    int64,
    promote,
)

LATTICE = [bool_, int64, float16, bfloat16, float32, float64]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_a_dtype_meets_itself(dtype):
    assert promote(dtype) is dtype
    assert promote(dtype, dtype, dtype) is dtype


@pytest.mark.parametrize(
    ("operands", "result"),
    [
        ((bool_, int64), int64),
        ((bool_, float16), float16),
        ((int64, bfloat16), bfloat16),
        ((int64, float64), float64),
        ((float16, bfloat16), float32),
        ((float16, float32), float32),
        ((bfloat16, float64), float64),
        ((float32, float64), float64),
        ((bool_, int64, bfloat16), bfloat16),
        ((float16, bfloat16, float64), float64),
    ],
)
def test_the_lattice(operands, result):
    for order in permutations(operands):
        assert promote(*order) is result


def test_promotion_is_associative():
    for a in LATTICE:
        for b in LATTICE:
            for c in LATTICE:
                assert promote(promote(a, b), c) is promote(a, promote(b, c))


@pytest.mark.parametrize("eight_bit", [float8_e4m3fn, float8_e5m2])
@pytest.mark.parametrize("other", [*LATTICE, None])
def test_eight_bit_floats_promote_with_nothing(eight_bit, other):
    if other is None:
        other = float8_e5m2 if eight_bit is float8_e4m3fn else float8_e4m3fn
    message = r"float8_e\w+ does not promote with \w+: .* cast it first, for example with \.to\("
    for order in ((eight_bit, other), (other, eight_bit)):
        with pytest.raises(TypeError, match=message):
            promote(*order)


def test_nothing_promotes_to_nothing():
    with pytest.raises(TypeError, match="at least one dtype"):
        promote()
