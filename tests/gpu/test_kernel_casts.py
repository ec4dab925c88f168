"""Encoding and decoding on a GPU: the words and values of the rule, bit for bit, NaN and all."""

from __future__ import annotations

import numpy as np
import pytest

from tinymp.devices import get_device
from tinymp.devices.kernels.casts import decode_words, encode_words
from tinymp.devices.random import Generator, get_rng_state, set_rng_state
from tinymp.formats import (
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
from tinymp.formats.rule import decode_rule
from tinymp.testing.aimed import aimed_values

pytestmark = pytest.mark.gpu

FORMATS = [float16, bfloat16, float8_e4m3fn, float8_e5m2, float_format(3, 2), float_format(8, 10)]


@pytest.fixture(params=FORMATS, ids=lambda dtype: dtype.name)
def dtype(request):
    return request.param


def test_every_word_is_decoded(bench, dtype):
    words = np.arange(1 << min(dtype.bits, 16)).astype(dtype.words)
    words = words << np.array(dtype.bits - min(dtype.bits, 16), dtype.words)
    for piece in (words, words[:3], words[5:]):
        ours = bench.numpy(decode_words(bench.put(piece), dtype))
        rule = decode_rule(piece, dtype)
        np.testing.assert_array_equal(ours.view(np.uint32), rule.view(np.uint32))


@pytest.mark.parametrize("source", [float32, float64], ids=lambda d: d.name)
@pytest.mark.parametrize("saturate", [False, True])
@pytest.mark.parametrize("mode", ["toward_zero", "nearest_even"])
def test_aimed_values_are_encoded(bench, dtype, source, mode, saturate):
    values = np.concatenate([aimed_values(seed, dtype, source) for seed in range(20)])
    for piece in (values, values[:7].reshape(7, 1), values[1:].reshape(-1, 1)):
        ours = encode_words(bench.put(piece), dtype, mode, saturate)
        expected = encode(piece, dtype, mode, saturate)
        np.testing.assert_array_equal(bench.numpy(ours), expected)


@pytest.mark.parametrize("source", [float32, float64], ids=lambda d: d.name)
@pytest.mark.parametrize("width", [8, 16, 32, 64])
@pytest.mark.parametrize("saturate", [False, True])
def test_random_words_of_every_width_are_used(bench, dtype, source, width, saturate):
    values = np.concatenate([aimed_values(seed, dtype, source) for seed in range(5)])
    rng = np.random.default_rng(width)
    words = rng.integers(0, 1 << width, values.size, dtype=np.uint64).astype(f"uint{width}")
    words[:1000] |= np.array(-1, np.int64).astype(words.dtype)  # all ones: up whenever inexact
    ours = encode_words(bench.put(values), dtype, "stochastic", saturate, bench.put(words))
    expected = encode(values, dtype, "stochastic", saturate, random_words=words)
    np.testing.assert_array_equal(bench.numpy(ours), expected)


@pytest.mark.parametrize("source", [float32, float64], ids=lambda d: d.name)
@pytest.mark.parametrize("saturate", [False, True])
def test_words_are_drawn_where_none_are_given(bench, dtype, source, saturate):
    values = np.concatenate([aimed_values(seed, dtype, source) for seed in range(5)])
    per_value = values.itemsize // 4
    for piece in (values, values[:7].reshape(7, 1), values[:1]):
        drawn = 2**63 + 5, 2**40 + 3
        words = Generator(drawn[0]).words(get_device("cpu"), per_value * piece.size, drawn[1])
        words = words.view(f"uint{32 * per_value}").reshape(piece.shape)
        ours = encode_words(bench.put(piece), dtype, "stochastic", saturate, drawn=drawn)
        expected = encode(piece, dtype, "stochastic", saturate, random_words=words)
        np.testing.assert_array_equal(bench.numpy(ours), expected)


def test_a_copy_on_the_gpu_is_rounded_by_the_same_words(bench):
    values = np.random.default_rng(1).standard_normal(1000).astype(np.float32)
    before = get_rng_state()
    try:
        set_rng_state((5, 2))
        ours = bench.numpy(encode(bench.put(values), bfloat16, "stochastic"))
        assert get_rng_state() == (5, 3)
        set_rng_state((5, 2))
        np.testing.assert_array_equal(ours, encode(values, bfloat16, "stochastic"))
        assert get_rng_state() == (5, 3)
    finally:
        set_rng_state(before)


def test_decoding_undoes_encoding(bench, dtype):
    words = np.arange(1 << min(dtype.bits, 16)).astype(dtype.words)
    values = decode(words, dtype)
    number = ~np.isnan(values)
    again = bench.numpy(encode_words(bench.put(values), dtype, "nearest_even"))
    np.testing.assert_array_equal(again[number], words[number])


def test_what_is_not_served_is_left_to_the_rule(bench):
    values = bench.put(np.zeros(5, np.float64))
    assert encode_words(values, float32, "nearest_even") is NotImplemented
    assert decode_words(bench.put(np.zeros(5, np.uint32)), float32) is NotImplemented
