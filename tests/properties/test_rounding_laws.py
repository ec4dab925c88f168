"""Every law of rounding, for every format, mode and source; and what it finds elsewhere."""

from __future__ import annotations

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

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
from tinymp.testing import LAWS, aimed_values, check_encoder

FORMATS = [
    float32, float16, bfloat16, float8_e4m3fn, float8_e5m2,
    float_format(8, 10), float_format(3, 4), float_format(3, 2), float_format(6, 9),
    *(float_format(e, m, has_infinity=False, has_nan=False) for e, m in ((3, 2), (2, 3), (2, 1))),
]  # fmt: skip

every_format = pytest.mark.parametrize("dtype", FORMATS, ids=lambda dtype: dtype.name)
every_mode = pytest.mark.parametrize("mode", MODES)
both_sources = pytest.mark.parametrize("source", [float32, float64], ids=lambda dtype: dtype.name)


def ours(dtype, mode, saturate=False):
    if mode == "stochastic":
        return lambda x, random: encode(x, dtype, mode, saturate, random_words=random)
    return lambda x: encode(x, dtype, mode, saturate)


@every_format
@every_mode
@both_sources
def test_our_encoders_keep_the_laws(dtype, mode, source, every_seed):
    @every_seed
    def laws(seed):
        found = check_encoder(ours(dtype, mode), dtype, mode, source=source, seeds=[seed])
        assert found == [], "\n".join(map(str, found))


@every_format
@every_mode
def test_saturating_encoders_keep_them_too(dtype, mode, every_seed):
    encoder = ours(dtype, mode, saturate=True)

    @every_seed
    def laws(seed):
        options = {"saturate": True, "source": float64, "seeds": [seed]}
        assert check_encoder(encoder, dtype, mode, **options) == []


@pytest.mark.parametrize("dtype", FORMATS[1:], ids=lambda dtype: dtype.name)
def test_5_stochastic_rounding_is_unbiased_exactly(dtype, every_seed):
    """Over all random words that the cut bits need, the results of one x sum to their number · x.

    Every x here has 16 bits more than the format, so that all 65,536 words of 16 bits are enough.
    """
    words = np.arange(1 << 16).astype(np.uint16)

    @every_seed
    def law(seed):
        rng = np.random.default_rng(seed)
        normal = dtype.precision + 16
        exponent = int(rng.integers(dtype.emin - 2, dtype.emax))
        bits = normal if exponent >= dtype.emin else normal - (dtype.emin - exponent)
        significand = Fraction(int(rng.integers(1 << (bits - 1), 1 << bits)), 1 << (bits - 1))
        x = (-1) ** int(rng.integers(2)) * significand * Fraction(2) ** exponent
        values = np.full(len(words), float(x))
        assert Fraction(values[0]) == x
        rounded = encode(values, dtype, "stochastic", random_words=words)
        found, counts = np.unique(rounded, return_counts=True)
        total = sum(
            Fraction(float(v)) * int(n) for v, n in zip(decode(found, dtype), counts, strict=True)
        )
        assert len(found) <= 2
        assert total == len(words) * x


def test_there_is_a_law_for_everything():
    assert len(LAWS) == 12
    assert {mode for _, modes in LAWS.values() for mode in modes} == set(MODES)


PEERS = {
    bfloat16: ml_dtypes.bfloat16,
    float16: np.float16,
    float8_e4m3fn: ml_dtypes.float8_e4m3fn,
    float8_e5m2: ml_dtypes.float8_e5m2,
    float_format(3, 4): ml_dtypes.float8_e3m4,
    float_format(4, 3): ml_dtypes.float8_e4m3,
}
ML_DTYPES = tuple(map(int, ml_dtypes.__version__.split(".")[:2]))
every_peer = pytest.mark.parametrize("dtype", PEERS, ids=lambda dtype: dtype.name)


@every_peer
def test_peers_keep_the_laws_from_float32(dtype):
    assert check_encoder(lambda x: x.astype(PEERS[dtype]), dtype) == []


@every_peer
def test_peers_keep_the_laws_from_float64(dtype):
    if dtype is not float16 and ML_DTYPES < (0, 7):
        pytest.skip("ml_dtypes before 0.7 goes through float32, and so rounds twice")
    assert check_encoder(lambda x: x.astype(PEERS[dtype]), dtype, source=float64) == []


@every_peer
def test_who_rounds_a_float64_twice_is_told_apart(dtype):
    """Through float32, as ml_dtypes did before 0.7 and PyTorch does."""
    twice = lambda x: x.astype(np.float32).astype(PEERS[dtype])  # noqa: E731
    found = check_encoder(twice, dtype, source=float64)
    broken = {violation.law.split(":")[0] for violation in found}
    assert "nearest" in broken, [str(violation) for violation in found]
    example = next(v for v in found if v.law.startswith("nearest: |x"))
    once = encode(np.float64(example.x), dtype, "nearest_even")
    twice = encode(np.float64(example.x).astype(np.float32), dtype, "nearest_even")
    assert once != twice == example.word


def test_laws_by_name_catch_the_known_blunders():
    def naive_truncation(x):  # 0x7f800001 becomes infinity
        return (x.view(np.uint32) >> 16).astype(np.uint16)

    def naive_nearest(x):  # 0x7fffffff becomes -0
        word = x.view(np.uint32).astype(np.uint32)
        return ((word + 0x7FFF + (word >> 16 & 1)) >> 16).astype(np.uint16)

    found = check_encoder(naive_truncation, bfloat16, "toward_zero")
    assert any(v.law.startswith("NaN stays") and v.word & 0x7FFF == 0x7F80 for v in found)
    found = check_encoder(naive_nearest, bfloat16)
    assert any(v.law.startswith("NaN stays") for v in found)
    assert "broken by" in str(found[0])
    assert "->" in str(found[0])


@pytest.mark.parametrize("dtype", FORMATS[1:], ids=lambda dtype: dtype.name)
@both_sources
def test_the_values_are_aimed(dtype, source):
    """Enough of every kind of trouble, for every seed."""
    for seed in range(20):
        x = aimed_values(seed, dtype, source)
        with np.errstate(all="ignore"):
            wide = x.astype(np.float64)
        size = np.abs(wide)
        exponent = np.clip(np.frexp(wide)[1] - 1, dtype.emin, dtype.emax)
        unit = np.ldexp(1.0, exponent - dtype.significand_bits)
        finite = size <= dtype.max
        rest = size[finite] / unit[finite] % 1
        assert len(x) == 1000
        assert x.dtype == source.storage
        assert (rest == 0.5).sum() >= 10
        assert (rest == 0).sum() >= 20
        assert ((size < dtype.smallest_normal) & (size > 0)).sum() >= 20
        assert np.isnan(wide).sum() >= 3
        assert np.isinf(wide).sum() >= 2
        assert ((wide == 0) & np.signbit(wide)).any()


@every_format
@pytest.mark.parametrize("mode", ["toward_zero", "nearest_even"])
def test_every_word_survives_decoding_and_encoding(dtype, mode):
    every = np.arange(min(1 << dtype.bits, 1 << 19)).astype(dtype.words)
    with np.errstate(invalid="ignore"):
        values = decode(every, dtype)
        words = encode(values.astype(np.float64), dtype, mode)
    nan = np.isnan(values)
    np.testing.assert_array_equal(words[~nan], every[~nan])
    assert np.isnan(decode(words[nan], dtype)).all()


def test_values_are_float32_or_float64():
    with pytest.raises(ValueError, match=r"float32 or float64, but source=float16 was given"):
        check_encoder(ours(float8_e5m2, "nearest_even"), float8_e5m2, source=float16)
