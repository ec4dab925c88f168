"""embedding on a GPU moves words; its gradient adds in the order of the tokens, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from tinymp.devices.kernels.embedding import embedding
from tinymp.devices.kernels.embedding_gradient import MOST_TOKENS, OFTEN, embedding_gradient
from tinymp.devices.kernels.twin import Target
from tinymp.formats import bfloat16, encode, float8_e5m2, float16, float32

pytestmark = pytest.mark.gpu

U = 2.0**-24
SHAPES = [(7, 1, 3), (100, 64, 50), (1000, 768, 333), (9, 37, 4000), (50304, 24, 8192)]


def made(bench, rows, features, count, dtype):
    rng = np.random.default_rng([rows, features, count])
    tokens = rng.integers(0, rows, count)
    return bench.packed(rng.standard_normal((rows, features)), dtype), tokens


@pytest.mark.parametrize("dtype", [float16, bfloat16, float32, float8_e5m2], ids=lambda d: d.name)
@pytest.mark.parametrize("features", [1, 3, 4, 12, 768])
def test_rows_are_gathered_word_for_word(bench, dtype, features):
    weight, tokens = made(bench, 50, features, 21, dtype)
    given = bench.integers(tokens.reshape(3, 7))
    out = embedding(given, weight, target=Target(dtype, "nearest_even"))
    assert out.shape == (3, 7, features)
    words = bench.numpy(weight.storage).view(dtype.words)
    np.testing.assert_array_equal(bench.numpy(out).view(dtype.words), words[tokens.reshape(3, 7)])


@pytest.mark.parametrize("dtype", [float16, bfloat16, float32, float8_e5m2], ids=lambda d: d.name)
def test_a_token_outside_the_table_gives_nan(bench, dtype):
    weight, tokens = made(bench, 50, 12, 6, dtype)
    tokens[2], tokens[4] = 50, -1
    out = embedding(bench.integers(tokens), weight, target=Target(dtype, "nearest_even"))
    nan = np.isnan(bench.values(out, dtype))
    np.testing.assert_array_equal(nan.all(1), [False, False, True, False, True, False])
    assert nan.sum() == 24


def sequential(g, tokens, rows):
    """Float32 sums of the rows of g by token, in order."""
    total = np.zeros((rows, g.shape[1]), np.float32)
    np.add.at(total, tokens, g)
    return total


@pytest.mark.parametrize(("rows", "features", "count"), SHAPES)
@pytest.mark.parametrize("dtype", [float16, float32], ids=lambda d: d.name)
def test_few_occurrences_are_added_in_order(bench, target, dtype, rows, features, count):
    rng = np.random.default_rng([rows, features, count])
    tokens = rng.integers(0, rows, count)
    g = bench.packed(rng.standard_normal((count, features)), dtype)
    (dweight,) = embedding_gradient(
        g, targets=(target,), tokens=bench.integers(tokens), weight_shape=(rows, features)
    )
    occurrences = np.bincount(tokens, minlength=rows)
    exact = np.zeros((rows, features))
    np.add.at(exact, tokens, bench.exact(g))
    absolute = np.zeros((rows, features))
    np.add.at(absolute, tokens, np.abs(bench.exact(g)))
    bound = 1.01 * occurrences[:, None] * U * absolute
    bench.check(bench.values(dweight, target.dtype), exact, bound, *target)
    few = occurrences < OFTEN
    expected = encode(sequential(bench.values(g, dtype), tokens, rows), *target)
    result = bench.numpy(dweight).view(target.dtype.words)
    np.testing.assert_array_equal(result[few], expected[few])


def test_one_token_all_over(bench):
    g = bench.packed(np.ones((5000, 96)), float16)
    target = Target(float32, "nearest_even")
    (dweight,) = embedding_gradient(
        g, targets=(target,), tokens=bench.integers(np.full(5000, 3)), weight_shape=(11, 96)
    )
    expected = np.zeros((11, 96), np.float32)
    expected[3] = 5000
    np.testing.assert_array_equal(bench.numpy(dweight), expected)


def test_tokens_outside_the_table_have_no_gradient(bench):
    g = bench.packed(np.ones((4, 8)), float16)
    target = Target(float32, "nearest_even")
    tokens = bench.integers([1, -1, 5, 2**33])
    (dweight,) = embedding_gradient(g, targets=(target,), tokens=tokens, weight_shape=(5, 8))
    np.testing.assert_array_equal(bench.numpy(dweight).sum(1), [0, 8, 0, 0, 0])


def test_more_tokens_are_left_to_the_rule(bench):
    g = bench.packed(np.ones((MOST_TOKENS + 1, 1)), float16)
    tokens = bench.integers(np.zeros(MOST_TOKENS + 1))
    target = Target(float32, "nearest_even")
    result = embedding_gradient(g, targets=(target,), tokens=tokens, weight_shape=(5, 1))
    assert result is NotImplemented
