"""Writing: the cache changes nothing, temperature and top-k do what they say, seeds repeat."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinymp as mp
from tinymp.devices import Generator, get_rng_state
from tinymp.models import GPT
from tinymp.models.generation import choose, invert
from tinymp.models.key_value_cache import KeyValueCache

VOCABULARY, CONTEXT, WIDTH, LAYERS = 11, 12, 12, 2


def lively(seed: int = 3, **settings: Any) -> GPT:
    """A model whose weights are large enough for its tokens to differ in likelihood."""
    mp.manual_seed(seed)
    model = GPT(VOCABULARY, CONTEXT, width=WIDTH, layers=LAYERS, heads=3, **settings)
    with mp.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(20)
    return model


def tokens_of(seed: int, batch: int, length: int, device: str = "cpu") -> mp.Tensor:
    rng = np.random.default_rng(seed)
    return mp.tensor(rng.integers(0, VOCABULARY, (batch, length)), device=device)


def in_parts(model: GPT, tokens: mp.Tensor, ends: list[int]) -> np.ndarray[Any, Any]:
    """Logits of all positions, computed from one end to the next with a cache."""
    caches = [KeyValueCache() for _ in model.blocks]
    starts = [0, *ends[:-1]]
    with mp.no_grad():
        parts = [model(tokens[:, i:j], caches).numpy() for i, j in zip(starts, ends, strict=True)]
    assert [len(cache) for cache in caches] == [tokens.shape[1]] * LAYERS
    return np.concatenate(parts, axis=1)


cuts = st.lists(st.integers(1, CONTEXT - 1), unique=True, max_size=CONTEXT).map(sorted)


@settings(max_examples=25)
@given(seed=st.integers(0, 99), ends=cuts, batch=st.integers(1, 3))
@pytest.mark.parametrize("dtype", [mp.float32, mp.float16, mp.bfloat16])
def test_with_a_fixed_order_of_sums_the_cache_changes_no_bit(
    dtype: mp.DType, seed: int, ends: list[int], batch: int
) -> None:
    """An accumulator that adds one product after the other does not see what comes beside it."""
    model = lively(dtype=dtype)
    tokens = tokens_of(seed, batch, CONTEXT)
    with mp.accumulation("chunked", size=1):
        whole = model(tokens).numpy()
        np.testing.assert_array_equal(in_parts(model, tokens, [*ends, CONTEXT]), whole)


@pytest.mark.parametrize("dtype", [mp.float64, mp.float32])
def test_the_cache_changes_rounding_errors_only(dtype: mp.DType, device: str) -> None:
    model = lively(dtype=dtype, device=device)
    tokens = tokens_of(0, 3, CONTEXT, device)
    whole = model(tokens).numpy()
    each = in_parts(model, tokens, list(range(1, CONTEXT + 1)))
    # A library of matrix products adds in another order where there are fewer rows. Six products
    # a block and one at the end, one after the other, each with the error of a sum of up to
    # 4·width terms, n·u; no term is larger than the largest logit.
    bound = (6 * LAYERS + 1) * 4 * WIDTH * dtype.unit_roundoff("nearest_even")
    np.testing.assert_allclose(each, whole, rtol=0, atol=2 * bound * abs(whole).max())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_with_and_without_a_cache_it_writes_the_same(temperature: float, device: str) -> None:
    """Beyond the context, too, where the window moves on."""
    model = lively(device=device)
    prompt = tokens_of(1, 4, 3, device)
    written = [
        model.generate(prompt, 2 * CONTEXT, temperature, use_cache=use_cache, seed=7)
        for use_cache in (True, False)
    ]
    assert written[0].shape == (4, 3 + 2 * CONTEXT)
    assert written[0].dtype is mp.int64
    assert written[0].device == prompt.device
    np.testing.assert_array_equal(written[0].numpy(), written[1].numpy())
    np.testing.assert_array_equal(written[0][:, :3].numpy(), prompt.numpy())


def test_greedy_takes_the_largest_logit_of_each_step() -> None:
    model = lively()
    tokens = tokens_of(2, 2, 4)
    written = model.generate(tokens, 5, temperature=0)
    for _ in range(5):
        largest = model(tokens)[:, -1].numpy().argmax(axis=1)
        tokens = mp.cat([tokens, mp.tensor(largest[:, None])], 1)
    np.testing.assert_array_equal(written.numpy(), tokens.numpy())


def test_a_batch_is_its_rows() -> None:
    model = lively()
    prompts = tokens_of(5, 3, 4)
    together = model.generate(prompts, 6, temperature=0)
    for i in range(3):
        alone = model.generate(prompts[i : i + 1], 6, temperature=0)
        np.testing.assert_array_equal(alone.numpy(), together[i : i + 1].numpy())


def test_the_same_seed_repeats_and_another_does_not() -> None:
    model = lively()
    prompt = tokens_of(3, 4, 2)
    state = get_rng_state()
    first, again, other = (model.generate(prompt, 9, seed=s).numpy() for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert get_rng_state() == state, "a seed of its own leaves the default generator alone"

    mp.manual_seed(1)
    np.testing.assert_array_equal(model.generate(prompt, 9).numpy(), first)
    assert get_rng_state() == (1, 9), "one draw a step"


def test_greedy_draws_no_random_number() -> None:
    state = get_rng_state()
    model = lively()
    mp.manual_seed(*state[:1])
    model.generate(tokens_of(0, 1, 1), 4, temperature=0)
    assert get_rng_state() == (state[0], 0)


def test_it_leaves_no_graph_and_each_module_in_its_mode() -> None:
    model = lively(dropout=0.5)
    model.blocks[0].eval()
    before = [module.training for module in model.modules()]
    written = model.generate(tokens_of(0, 1, 1), 4, temperature=0)
    assert [module.training for module in model.modules()] == before
    assert all(parameter.grad is None for parameter in model.parameters())
    np.testing.assert_array_equal(
        written.numpy(), model.generate(tokens_of(0, 1, 1), 4, temperature=0).numpy()
    )  # dropout would make them differ


def test_the_mode_comes_back_after_an_error_too() -> None:
    model = lively(dropout=0.5)
    with mp.no_grad():
        model.norm.weight.fill_(math.nan)
    with pytest.raises(FloatingPointError, match=r"logits are NaN or infinite.*diverged"):
        model.generate(tokens_of(0, 1, 1), 4)
    assert model.training


def test_each_token_comes_as_often_as_it_is_likely() -> None:
    """Over all multiples of 1/n in [0, 1) a token's count is n times its share, rounded."""
    rng = np.random.default_rng(0)
    likelihood = rng.random(VOCABULARY) * (rng.random(VOCABULARY) < 0.7)
    n = 4096
    uniform = np.arange(n) / n
    counts = np.bincount(invert(np.tile(likelihood, (n, 1)), uniform), minlength=VOCABULARY)
    assert (counts[likelihood == 0] == 0).all()
    # The two ends of its stretch are each rounded up to a multiple of 1/n.
    assert (abs(counts - n * likelihood / likelihood.sum()) <= 1).all()


@given(st.integers(1, 2**53 - 1), st.floats(1e-300, 1e300))
def test_no_number_falls_behind_the_last_token(below_one: int, total: float) -> None:
    uniform = np.array([below_one * 2.0**-53, 1 - 2.0**-53, 0.0])
    likelihood = np.tile([0.0, total, 0.0], (3, 1))
    np.testing.assert_array_equal(invert(likelihood, uniform), [1, 1, 1])


@given(seed=st.integers(0, 99), top_k=st.integers(1, 5), temperature=st.floats(0.1, 5))
def test_top_k_chooses_among_the_largest(seed: int, top_k: int, temperature: float) -> None:
    logits = np.random.default_rng(seed).normal(size=(50, 7))
    chosen = choose(logits, temperature, top_k, Generator(seed))
    rank = (logits > logits[np.arange(50), chosen][:, None]).sum(axis=1)
    assert rank.max() < top_k
    if top_k == 1:
        np.testing.assert_array_equal(chosen, choose(logits, 0, None, Generator(seed)))


def test_top_k_of_all_tokens_or_more_changes_nothing() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 7))
    everything = choose(logits, 1, None, Generator(4))
    for top_k in (7, 100):
        np.testing.assert_array_equal(choose(logits, 1, top_k, Generator(4)), everything)


def test_temperature_sharpens_and_flattens() -> None:
    logits = np.tile(np.log([0.7, 0.2, 0.1]), (20_000, 1))
    for temperature in (0.5, 1.0, 2.0):
        expected = np.array([0.7, 0.2, 0.1]) ** (1 / temperature)
        expected /= expected.sum()
        share = np.bincount(choose(logits, temperature, None, Generator(1))) / len(logits)
        # Five standard deviations of a binomial share.
        assert (abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / len(logits))).all()


def test_minus_infinity_is_never_chosen_and_other_values_that_are_no_number_are_refused() -> None:
    logits = np.array([[0.0, -np.inf, 1.0]] * 100)
    assert 1 not in choose(logits, 5.0, None, Generator(0))
    for wrong in (np.nan, np.inf):
        with pytest.raises(FloatingPointError, match="NaN or infinite"):
            choose(np.array([[0.0, wrong]]), 0, None, Generator(0))


@pytest.mark.parametrize("dtype", [mp.float16, mp.bfloat16])
def test_it_writes_in_two_bytes_and_under_autocast(dtype: mp.DType, device: str) -> None:
    prompt = tokens_of(0, 2, 3, device)
    assert lively(dtype=dtype, device=device).generate(prompt, 12).shape == (2, 15)
    with mp.amp.autocast(dtype):
        assert lively(device=device).generate(prompt, 12).shape == (2, 15)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"tokens": mp.zeros(2, 0, dtype=mp.int64)}, r"shape \(2, 0\); .* at least one token"),
        ({"tokens": mp.zeros(2, dtype=mp.int64)}, r"shape \(2,\); it takes \(batch, time\)"),
        ({"max_new_tokens": -1}, "max_new_tokens=-1; it must be 0 or more"),
        ({"temperature": -0.5}, r"temperature=-0.5; it must be a number from 0"),
        ({"temperature": math.nan}, "temperature=nan; it must be"),
        ({"top_k": 0}, "top_k=0; it is the number of likeliest tokens .* at least 1"),
    ],
)
def test_bad_input_says_what_is_expected(setting: dict[str, Any], message: str) -> None:
    given = {"tokens": tokens_of(0, 1, 1), "max_new_tokens": 1, **setting}
    with pytest.raises(ValueError, match=message):
        lively().generate(**given)


def test_nothing_more_to_write_gives_the_beginning() -> None:
    prompt = tokens_of(0, 2, 3)
    np.testing.assert_array_equal(lively().generate(prompt, 0).numpy(), prompt.numpy())


def test_more_than_the_context_does_not_fit_behind_a_cache() -> None:
    model = lively()
    caches = [KeyValueCache() for _ in model.blocks]
    model(tokens_of(0, 1, 10), caches)
    with pytest.raises(ValueError, match=r"shape \(1, 3\) after 10 in the cache; .* context, 12"):
        model(tokens_of(0, 1, 3), caches)
