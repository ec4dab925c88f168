"""Errors planted in the code, one at a time: the laws must catch every one.

Each row names a file, a piece of its text, what to put in its place, and the check that must fail.
The file is changed in memory alone. A row whose text is gone fails too: it has to be kept up.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import tinymp
from tinymp.formats import (
    MODES,
    bfloat16,
    decode,
    encode,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    float_format,
)
from tinymp.numerics import ARCHITECTURES, bounds
from tinymp.testing import check_encoder
from tinymp.testing.exact_rounding import exact_value, exact_word
from tinymp.testing.exact_tensor_core import exact_dot_product
from tinymp.testing.laws import exactly

PACKAGE = Path(tinymp.__file__).parent
FORMATS = [float16, bfloat16, float8_e4m3fn, float8_e5m2, float_format(3, 2), float32]


def altered(file, old="", new=""):
    """The module of a file, run from its text with one change."""
    text = (PACKAGE / file).read_text(encoding="utf-8")
    assert old in text, f"{file} no longer contains {old!r}: keep the list of mutations up"
    module = ModuleType(f"altered_{Path(file).stem}")
    exec(compile(text.replace(old, new, 1), file, "exec"), vars(module))
    return module


# Checks. Each takes an altered module and raises an AssertionError if a law is broken.


def encoding(encode_with, module):
    for dtype in FORMATS:
        for mode in MODES:
            for source in (float32, float64):
                if dtype is source is float32:
                    continue
                for saturate in (False, True):
                    function = partial(encode_with, module, dtype, mode, saturate)
                    found = check_encoder(
                        function, dtype, mode, source=source, saturate=saturate, seeds=range(3)
                    )
                    assert not found, "\n".join(map(str, found))


def by_rule(module):
    encoding(lambda module, d, m, s, x, r=None: module.encode_rule(x, d, m, s, r), module)


def apart(x):
    """The elements of an array with gaps between them, which is not for `formats/few.py`."""
    return np.repeat(x, 2)[::2]


def fast(module):
    def encode_with(module, d, m, s, x, r=None):
        words = module.encode_fast(apart(x), d, m, s, r).view(d.words)
        for size in (100, 3003):  # other elements are the last ones
            part = apart(np.resize(x, size))
            again = module.encode_fast(part, d, m, s, None if r is None else np.resize(r, size))
            assert (again.view(d.words) == np.resize(words, size)).all()
        return words

    encoding(encode_with, module)


def few(module):
    spelled = [(d, m) for d in (bfloat16, float16) for m in ("nearest_even", "toward_zero")]

    def encode_with(module, d, m, s, x, r=None):
        words = encode(x, d, m, s, random_words=r)
        common, larger = (np.abs(x) < np.float64(2) ** (d.emax + i) for i in (1, 2))
        for part in (common, larger, slice(None)):
            for size in (100, 2000, 4000):
                found = module.encode_few(np.resize(x[part], size), d, m, s)
                if found is not None:
                    assert (found.view(d.words) == np.resize(words[part], size)).all()
                elif (d, m) in spelled and x.dtype == np.float32 and not s:
                    assert part is not common
        return words

    encoding(encode_with, module)


def decoding(module, function="decode_rule"):
    for dtype in FORMATS[:-1]:
        every = np.arange(1 << dtype.bits).astype(dtype.words)
        values = getattr(module, function)(every, dtype)
        words = encode(values, dtype, "nearest_even")
        nan = np.isnan(decode(every, dtype))
        assert (np.isnan(values) == nan).all()
        assert (words[~nan] == every[~nan]).all()
        infinity = [dtype.infinity_word] if dtype.has_infinity else []
        for i in [0, 1, *range(2, 1 << dtype.bits, 997), *infinity]:
            assert exactly(values[i]) == exact_value(i, dtype) or nan[i]


def fast_decoding(module):
    altered = ModuleType("altered")
    altered.decode_fast = lambda words, dtype: module.decode_fast(apart(words), dtype)
    decoding(altered, "decode_fast")


def few_decoding(module):
    for dtype in (bfloat16, float16, float8_e4m3fn, float8_e5m2):
        every = np.arange(1 << dtype.bits).astype(dtype.words)
        values = decode(every, dtype)
        for size in (1000, 6000):
            for start in range(0, len(every), size):
                part = np.resize(every[start : start + size], size)
                found = module.decode_few(part, dtype, np.float32)
                expected = np.resize(values[start : start + size], size)
                np.testing.assert_array_equal(found, expected)


def sums(module):
    rng = np.random.default_rng(0)
    n = 40
    x = (rng.standard_normal((n, 200)) * np.exp2(rng.integers(-30, 6, (n, 200)))).astype("f4")
    exact, size = x.sum(0, dtype=np.float64), np.abs(x).sum(0, dtype=np.float64)
    zero = np.zeros(200, np.float32)
    methods = {
        "sequential": (module.sequential, n),
        "chunked": (partial(module.chunked, size=7), 7 + 6),
        "pairwise": (module.pairwise, 7),
    }
    for dtype in (float16, bfloat16, float32):
        for mode in ("nearest_even", "toward_zero"):
            add = module.adder(dtype, mode)
            start = decode(encode(x[0], dtype, mode), dtype)
            words = encode(add(start, x[1]), dtype, mode)
            for i in range(0, 200, 5):
                exact_sum = Fraction(float(start[i])) + Fraction(float(x[1, i]))
                assert words[i] == exact_word(exact_sum, dtype, mode)
            for name, (method, roundings) in methods.items():
                limit = bounds.gamma(roundings, dtype.unit_roundoff(mode)) * size
                slack = n * dtype.smallest_subnormal
                assert (np.abs(method(add, x, zero) - exact) <= limit + slack).all(), name
            small = np.array([1 + 2.0**-11]), np.array([2.0**-60])
            for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                a, b = small[0] * signs[0], small[1] * signs[1]
                # Odd, and not on the other side of the exact sum.
                assert module.sum_to_odd(a, b).view(np.int64)[0] % 2 == 1
                assert abs(module.sum_to_odd(a, b)[0] - a[0]) <= 2.0**-52
                assert (module.sum_to_odd(a, b)[0] > a[0]) == (b[0] > 0)
    ones = np.ones((2200, 1), np.float32)
    nearest = module.adder(float16, "nearest_even")
    assert module.sequential(nearest, ones, zero[:1]) == 2048
    assert module.kahan(nearest, ones, zero[:1]) == 2200
    with np.errstate(all="ignore"):
        huge = np.full((4, 1), 60_000, np.float32)
        assert module.kahan(nearest, huge, zero[:1]) == np.inf
    a, b = rng.integers(-3, 4, (5, 6)), rng.integers(-3, 4, (6, 7))
    product = module.sequential(nearest, module.Products(a * 1.0, b * 1.0), np.zeros((5, 7)))
    assert (product == a @ b).all()


def tensor_core(module):
    core = ARCHITECTURES["hopper"].instructions[float16]
    rng = np.random.default_rng(0)
    for regime in range(4):
        for dtype in (float16, bfloat16):
            a, b = (rng.integers(0, 1 << 16, (16, 6), dtype=np.uint16) for _ in range(2))
            c = rng.integers(0, 1 << 32, (6, 6), dtype=np.uint32)
            if regime:  # exponents near one, or of a small factor and a large one
                fields = (0, 2 * dtype.bias - 1) if regime == 2 else (dtype.bias, dtype.bias)
                mask = np.uint16(dtype.sign_mask | dtype.significand_mask)
                near = (f + rng.integers(0, 2, (16, 6), dtype=np.uint16) for f in fields)
                a, b = (
                    x & mask | e << np.uint16(dtype.significand_bits)
                    for x, e in zip((a, b), near, strict=True)
                )
                c = c & np.uint32(0x807FFFFF) | rng.integers(110, 130, (6, 6), np.uint32) << 23
                c[0] = 0x80000000
            if regime == 2:  # subnormals with leading zeros
                a &= np.uint16(dtype.sign_mask | 7)
            if regime == 3:
                a[rng.random(a.shape) < 0.7] &= np.uint16(dtype.sign_mask)
            ours = module.tensor_core_matmul(a.T, b, dtype, c.view(np.float32)).view(np.uint32)
            for i, j in np.ndindex(6, 6):
                exact = exact_dot_product(
                    a[:, i].tolist(), b[:, j].tolist(), int(c[i, j]), dtype,
                    core.fraction_bits, core.precision,
                )  # fmt: skip
                assert ours[i, j] == exact
    one = np.full((1, 40), 0x3C00, np.uint16)  # three instructions, chained
    assert module.tensor_core_matmul(one, one.T, float16) == 40
    eight_bits = np.full((1, 256), 0x38, np.uint8)  # two runs of ones
    assert module.tensor_core_matmul(eight_bits, eight_bits.T, float8_e4m3fn) == 256
    zero = np.zeros((1, 1), np.uint16)
    large, tiny = np.array([[0x7F00]], np.uint16), encode([[2.0**-75]], bfloat16)
    a, b = np.hstack([zero, tiny]), np.vstack([large, encode([[2.0**-60]], bfloat16)])
    assert module.tensor_core_matmul(a, b, bfloat16) == 2.0**-135
    a, b = np.tile(large, (1, 32)), encode([[1.0]] * 16 + [[-1.0]] * 16, bfloat16)
    assert module.tensor_core_matmul(a, b, bfloat16) == np.inf
    negative = encode([[-(2.0**-75)]], bfloat16)
    product = module.tensor_core_matmul(negative, tiny, bfloat16)
    assert not np.signbit(product).any()


RULE, FAST, FEW = "formats/rule.py", "formats/fast.py", "formats/few.py"
SUMMATION, CORE = "numerics/summation.py", "numerics/tensor_core.py"

MUTATIONS = [
    # Encoding, by the rule
    (by_rule, RULE, "(1 << (cut - 1)) - 1 + last_kept", "(1 << (cut - 1))"),  # ties away from zero
    (by_rule, RULE, "- 1 + last_kept", "- last_kept"),  # ties to odd
    (by_rule, RULE, "(significand >> cut) & 1", "(significand >> (cut - 1)) & 1"),
    (by_rule, RULE, "xp.maximum(exponent, dtype.emin)", "xp.maximum(exponent, dtype.emin + 1)"),
    (by_rule, RULE, "xp.maximum(exponent, dtype.emin)", "exponent"),  # no subnormals
    (by_rule, RULE, "result > dtype.max_word, beyond", "result > dtype.max_word + 1, beyond"),
    (by_rule, RULE, 'saturate or mode == "toward_zero" else', "saturate else"),
    (by_rule, RULE, "infinite, dtype.max_word if saturate else infinity", "infinite, infinity"),
    (by_rule, RULE, "magnitude > source.exponent_mask, dtype.nan_word", "False, dtype.nan_word"),
    (by_rule, RULE, "word < 0, result | dtype.sign_mask", "(word < 0) & (result > 0), result | 0"),
    (by_rule, RULE, "word < 0, result", "(word < 0) & (result > 0), result"),  # -0 becomes 0
    (by_rule, RULE, "xp.uint64(64 - width)", "xp.uint64(63 - width)"),  # half the random bits
    (by_rule, RULE, "(64 - cut)", "(63 - cut)"),
    (by_rule, RULE, "_WIDEST_CUT = 62", "_WIDEST_CUT = 24"),
    # Decoding, by the rule
    (decoding, RULE, "xp.minimum(field, 1) <<", "1 <<"),  # subnormals with an implied bit
    (decoding, RULE, "xp.maximum(field, 1) - dtype.bias", "field - dtype.bias"),
    (decoding, RULE, "magnitude > dtype.max_word, float64.nan_word", "False, float64.nan_word"),
    (decoding, RULE, "magnitude == dtype.infinity_word", "magnitude < 0"),
    # Encoding and decoding, fast
    (fast, FAST, "_JUST_UNDER_HALF = constant(0x7FFF)", "_JUST_UNDER_HALF = constant(0x8000)"),
    (fast, FAST, "    rounded &= _ONE\n", ""),
    (fast, FAST, "int(bits_of(65536.0))", "int(bits_of(65504.0))"),
    (fast, FAST, "        _write_nans(x, out, float16)", "        pass"),
    (fast, FAST, "int(bits_of(65504.0)), ", "int(bits_of(65536.0)), "),
    (fast, FAST, "bits_of(2.0**-14))", "bits_of(2.0**-15))"),
    (fast, FAST, "_write_nans(x, out, bfloat16)  # a payload", "pass  # a payload"),
    (fast, FAST, "    odd += _LOW_HALF  # carries if any low bit is set\n", ""),
    (fast, FAST, "words)[nan] =", "words)[~nan] ="),
    (fast, FAST, "(1 << 16) + (1 << 3)", "(1 << 16) + (1 << 2)"),
    (fast, FAST, "word.item(-1) >> 16", "word.item(-1) & 0xFFFF"),
    (fast, FAST, "(random, _SIXTEEN", "(random, constant(17)"),
    (fast_decoding, FAST, "offset=2)[...] = words", "offset=1)[...] = words"),
    (fast_decoding, FAST, "halves[0], halves[-1] = 0, words[-1]", "halves[0], halves[-1] = 0, 0"),
    (fast_decoding, FAST, "float32.bias - float16.bias)", "float32.bias - float16.bias - 1)"),
    (fast_decoding, FAST, "0x8FFFE000", "0x8FFFC000"),
    (fast_decoding, FAST, "= np.abs(out) >= 65536.0", "= np.abs(out) > 65536.0"),
    # In few calls
    (few, FEW, "1.5 * 2.0**68", "1.5 * 2.0**67"),
    (few, FEW, "1.5 * 2.0**68", "1.5 * 2.0**68 + 2.0**16"),
    (few, FEW, "1.5 * 2.0**68", "2.0**68"),
    (few, FEW, "[..., 1::2]", "[..., ::2]"),
    (few, FEW, "_SIXTEEN = constant(16)", "_SIXTEEN = constant(15)"),
    (few, FEW, "    if has_nan(x):\n        return None\n    if", "    if"),
    (few, FEW, "    if has_nan(x):\n        return None\n    rounded", "    rounded"),
    (few, FEW, "None if has_nan(x) else ", ""),
    (few, FEW, "    if has_nan(rounded):\n        return None\n", ""),
    (few, FEW, "_POWER, float16.emin)", "_POWER, float16.emin - 1)"),
    (few, FEW, "(_SIGN << 15) | ", ""),
    (few, FEW, "- float16.emin << float16", "- float16.emin + 1 << float16"),
    (few, FEW, "e + _SHIFT + float32.bias", "e + _SHIFT - 1 + float32.bias"),
    (few, FEW, "e > float16.emax", "e > float16.emax + 1"),
    (few, FEW, "_SHIFT + float16.emin - _POWER", "_SHIFT + float16.emin - 1 - _POWER"),
    (few, FEW, "(cut, float32.significand_bits)", "(cut, float32.significand_bits - 1)"),
    (few, FEW, "    kept &= word\n", "    kept = word\n"),
    (few, FEW, '"toward_zero": _float16_toward_zero', '"toward_zero": _float16_nearest'),
    (few_decoding, FEW, "    fields <<= _SIXTEEN\n", ""),
    (few_decoding, FEW, "words.view(_UINT16))", "words.view(_UINT16) ^ np.uint16(1))"),
    # Sums
    (sums, SUMMATION, "zero, terms[i]), -lost)", "zero, terms[i]), lost)"),
    (sums, SUMMATION, "lost = xp.where(xp.isfinite(lost), lost, zero)", "lost = lost"),
    (sums, SUMMATION, "start + size, len(terms)", "start + size, len(terms) - 1"),
    (sums, SUMMATION, "part(middle, stop)", "part(start, middle)"),
    (sums, SUMMATION, "word & 1 == 0", "word & 1 == 1"),
    (sums, SUMMATION, "xp.where(away, 1, -1)", "xp.where(away, -1, 1)"),
    (sums, SUMMATION, "(error > 0) == (total > 0)", "error > 0"),
    (sums, SUMMATION, "float32.precision - 2:", "float64.precision:"),
    (sums, SUMMATION, "dtype in (float32, float64)", "dtype.bits <= 64"),
    (sums, SUMMATION, "self.y[..., None, i, :]", "self.y[..., None, -i, :]"),
    # Tensor cores
    (tensor_core, CORE, "_NONE = -10_000", "_NONE = -200"),
    (tensor_core, CORE, "core.fraction_bits - largest", "core.fraction_bits - 1 - largest"),
    (tensor_core, CORE, "xp.trunc(products", "xp.floor(products"),
    (tensor_core, CORE, "xp.trunc(c * units)", "c * units"),
    (tensor_core, CORE, "- 1, dtype.emin)", "- 1, dtype.emin - 10)"),
    (tensor_core, CORE, "return cut + 0.0", "return cut"),
    (tensor_core, CORE, "cut, cut * np.inf)", "cut, cut)"),
    (tensor_core, CORE, "[xp.isnan(out)] = NAN_WORD", "[xp.isnan(out)] = 0x7FC00000"),
    (tensor_core, CORE, "(x == 0) | ~xp.isfinite(x), _NONE", "False, _NONE"),
    (tensor_core, CORE, "xp.trunc(x / unit) * unit", "xp.rint(x / unit) * unit"),
    (tensor_core, CORE, "out[rows, columns] += _chain", "out[rows, columns] = _chain"),
    (tensor_core, CORE, "range(0, len(factors[0]), core.products)", "range(0, 1, core.products)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "file"),
    [(by_rule, RULE), (decoding, RULE), (fast, FAST), (fast_decoding, FAST), (few, FEW),
     (few_decoding, FEW), (sums, SUMMATION),
     (tensor_core, CORE)],
)  # fmt: skip
def test_the_code_as_it_is_passes(check, file):
    check(altered(file))


@pytest.mark.parametrize(("check", "file", "old", "new"), MUTATIONS)
def test_a_planted_error_is_caught(check, file, old, new):
    module = altered(file, old, new)
    with pytest.raises((AssertionError, TypeError, ValueError, IndexError)):
        check(module)


def test_there_are_enough_of_them():
    assert len(MUTATIONS) >= 40
    assert len({(file, old, new) for _, file, old, new in MUTATIONS}) == len(MUTATIONS)
