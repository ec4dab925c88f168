from __future__ import annotations

import numpy as np
import pytest

from tinymp.devices import get_device
from tinymp.formats import bfloat16, bool_, decode, float16, float32, float64
from tinymp.formats.rule import decode_rule


def test_every_word_has_the_value_that_others_read_in_it(device, narrow, oracle):
    theirs = oracle(narrow)
    on = get_device(device)
    values = on.to_numpy(decode(on.asarray(theirs.words), narrow))
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, theirs.values)
    assert np.array_equal(np.signbit(values), np.signbit(theirs.values))


@pytest.mark.parametrize(
    "size", [1, 100, 2048, 2049, 16_384, 16_385, 65_535, 65_536, 65_537, 200_000]
)
def test_any_size_decodes_as_the_rule_does(narrow, size):
    words = np.random.default_rng(size).integers(0, 1 << narrow.bits, size).astype(narrow.words)
    np.testing.assert_array_equal(decode(words, narrow), decode_rule(words, narrow))


@pytest.mark.parametrize("special", [0x7C00, 0xFC00, 0x7E01, 0xFE01])
def test_one_infinity_or_nan_in_a_long_array_is_seen(special):
    words = np.full(10_000, 0x3C00, np.uint16)
    words[7] = special
    expected = np.ones(10_000, np.float32)
    expected[7] = np.array(special, np.uint16).view(np.float16)
    np.testing.assert_array_equal(decode(words, float16), expected)


def test_large_values_are_no_infinities():
    words = np.full((100, 100), 0xFBFF, np.uint16)
    words[::2] = 0x7BFF
    expected = np.full((100, 100), -65504, np.float32)
    expected[::2] = 65504
    np.testing.assert_array_equal(decode(words, float16), expected)


def test_float32_and_float64_words_are_a_view():
    for dtype, floating in ((float32, np.float32), (float64, np.float64)):
        values = np.array([1.5, -0.0, np.inf], floating)
        words = values.view(dtype.words)
        assert np.shares_memory(decode(words, dtype), words)
        np.testing.assert_array_equal(decode(words, dtype), values)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (2, 3, 4), (300, 300)])
def test_shape_is_kept(narrow, shape):
    words = np.ones(shape, narrow.words)
    values = decode(words, narrow)
    assert isinstance(values, np.ndarray)
    assert values.shape == shape
    assert values.flags.c_contiguous
    assert (values == narrow.smallest_subnormal).all()


def test_strides_are_followed(narrow, oracle):
    words = oracle(narrow).words[:240].reshape(12, 20)
    for view in (words.T, words[::2, ::-3], np.broadcast_to(words[0], (5, 20))):
        expected = oracle(narrow).values[view]
        np.testing.assert_array_equal(decode(view, narrow), expected)


def test_words_may_be_storage_or_python_integers():
    assert decode(np.array([1.5], np.float16), float16) == [1.5]
    assert decode(0x3F80, bfloat16) == 1.0
    np.testing.assert_array_equal(decode([[0x3F80], [0xC000]], "bfloat16"), [[1.0], [-2.0]])
    assert decode(np.uint16(0x3C00), float16) == 1.0


def test_words_of_another_type_are_refused():
    with pytest.raises(TypeError, match=r"words of bfloat16 are uint16, but float32 was given"):
        decode(np.ones(2, np.float32), bfloat16)
    with pytest.raises(TypeError, match=r"bool is none; use one of float64, float32"):
        decode(np.ones(2, np.uint8), bool_)
