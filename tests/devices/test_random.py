from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymp.devices import (
    Generator,
    default_generator,
    get_device,
    get_rng_state,
    manual_seed,
    normal,
    random_words,
    set_rng_state,
    uniform,
)

CPU = get_device("cpu")
MASK = 2**64 - 1


def philox4x64_10(counter, key):
    """The paper's algorithm in Python's exact integers: an independent statement of the stream."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(second >> 64) ^ c[1] ^ k[0], second & MASK, (first >> 64) ^ c[3] ^ k[1], first & MASK]
        k = [(k[0] + 0x9E3779B97F4A7C15) & MASK, (k[1] + 0xBB67AE8584CAA73B) & MASK]
    return c


def test_the_reference_knows_the_published_answers():
    # Known answers of the authors' Random123 library (kat_vectors, philox4x64 10).
    assert philox4x64_10([0] * 4, [0] * 2)[0] == 0x16554D9ECA36314C
    assert philox4x64_10([MASK] * 4, [MASK] * 2)[0] == 0x87B092C3013FE90B


@given(seed=st.integers(0, MASK), draw=st.integers(0, MASK), blocks=st.integers(1, 4))
def test_words_are_the_philox_stream(seed, draw, blocks):
    longs = [w for b in range(blocks) for w in philox4x64_10([b + 1, 0, draw, 0], [seed, 0])]
    expected = [half for long in longs for half in (long & 0xFFFFFFFF, long >> 32)]
    words = Generator(seed).words(CPU, 8 * blocks, draw)
    assert words.dtype == np.uint32
    assert words.tolist() == expected


@given(count=st.integers(0, 50), seed=st.integers(0, MASK))
def test_a_number_depends_on_its_position_not_on_the_count(count, seed):
    g = Generator(seed)
    np.testing.assert_array_equal(g.words(CPU, 50, 0)[:count], g.words(CPU, count, 0))
    for make in (g.uniform, g.normal):
        np.testing.assert_array_equal(make(CPU, (50,), 0)[:count], make(CPU, (count,), 0))


def test_each_draw_is_another_and_can_be_repeated(device):
    here = get_device(device)
    manual_seed(7)
    first, second = random_words(here, 64), random_words(here, 64)
    assert get_rng_state() == (7, 2)
    assert not (first == second).any()
    np.testing.assert_array_equal(
        here.to_numpy(random_words(here, 64, draw=1)), here.to_numpy(second)
    )
    assert get_rng_state() == (7, 2), "repeating a draw is not a draw"


def test_the_state_is_two_integers_and_brings_the_stream_back():
    manual_seed(11)
    uniform(CPU, (3,))
    state = get_rng_state()
    assert state == (11, 1)
    expected = normal(CPU, (4, 5))
    random_words(CPU, 9)
    set_rng_state(state)
    np.testing.assert_array_equal(normal(CPU, (4, 5)), expected)


def test_manual_seed_starts_the_default_generator_anew():
    assert manual_seed(5) is default_generator()
    expected = random_words(CPU, 8)
    assert manual_seed(5).draws == 0
    np.testing.assert_array_equal(random_words(CPU, 8), expected)
    manual_seed(6)
    assert (random_words(CPU, 8) != expected).any()


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match=rf"seed must be an integer from 0 to .*, but {seed}"):
        manual_seed(seed)
    assert get_rng_state() == (0, 0), "a refused seed changes nothing"


def test_uniform_numbers_are_words_cut_to_24_bits():
    words = Generator(3).words(CPU, 1000, draw=4)
    values = Generator(3).uniform(CPU, (10, 100), draw=4)
    assert values.dtype == np.float32
    assert values.shape == (10, 100)
    expected = [int(word) // 256 / 2**24 for word in words]
    assert values.reshape(-1).tolist() == expected


def test_uniform_numbers_never_reach_one():
    class AllOnes(type(CPU)):
        def philox_words(self, count, seed, draw):
            return np.full(count, 0xFFFFFFFF, np.uint32)

    assert Generator().uniform(AllOnes(), (1,)) == 1 - 2.0**-24


def test_normal_numbers_have_the_moments_of_the_distribution():
    n = 200_000
    z = Generator(1).normal(CPU, (n,))
    assert z.dtype == np.float32
    # Five standard errors each: 1/sqrt(n), sqrt(2/n), sqrt(96/n) for mean, variance, 4th moment.
    z = z.astype(np.float64)
    assert abs(z.mean()) < 5 / n**0.5
    assert abs((z**2).mean() - 1) < 5 * (2 / n) ** 0.5
    assert abs((z**4).mean() - 3) < 5 * (96 / n) ** 0.5
    # Neighbours come from one pair of words and must still be independent.
    assert abs((z[::2] * z[1::2]).mean()) < 5 / (n / 2) ** 0.5
    assert abs((z[::2] ** 2 * z[1::2] ** 2).mean() - 1) < 5 * (8 / (n / 2)) ** 0.5


def test_normal_numbers_are_finite_at_the_ends_of_the_words(monkeypatch):
    ends = np.array([[0, 0], [0xFFFFFFFF, 0xFFFFFFFF]], np.uint32).reshape(-1)
    monkeypatch.setattr(type(CPU), "philox_words", lambda self, count, seed, draw: ends)
    z = Generator().normal(CPU, (4,))
    assert np.isfinite(z).all()
    assert z[0] == np.float32((-2 * np.log(2.0**-32)) ** 0.5)
    assert abs(z).max() < 6.67


def test_scalar_and_empty_shapes(device):
    here = get_device(device)
    for make in (uniform, normal):
        assert make(here, ()).shape == ()
        assert make(here, (2, 0, 3)).shape == (2, 0, 3)
    assert random_words(here, 0).shape == (0,)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 2047, 2048, 100_003])
def test_every_device_gives_the_same_bits(device, count):
    here = get_device(device)
    for seed, draw in ((0, 0), (1, 2), (MASK, MASK)):
        words = here.philox_words(count, seed, draw)
        assert words.dtype == np.uint32
        np.testing.assert_array_equal(here.to_numpy(words), CPU.philox_words(count, seed, draw))
    g = Generator(9)
    for make in (g.uniform, g.normal):
        ours, theirs = make(here, (count,), draw=1), make(CPU, (count,), draw=1)
        np.testing.assert_array_equal(here.to_numpy(ours), theirs)
