"""GPT: what it may look at, its parameters, and its formats."""

from __future__ import annotations

import numpy as np
import pytest

import tinymp as mp
from tinymp.models import GPT


def small(**settings: object) -> GPT:
    mp.manual_seed(3)
    return GPT(11, 8, width=12, layers=2, heads=3, **settings)  # type: ignore[arg-type]


def test_no_position_sees_a_later_one(device: str) -> None:
    model = small(device=device)
    tokens = np.random.default_rng(0).integers(0, 11, (1, 8))
    before = model(mp.tensor(tokens, device=device)).numpy()
    changed = tokens.copy()
    changed[0, 5] = (tokens[0, 5] + 1) % 11
    after = model(mp.tensor(changed, device=device)).numpy()
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).any(axis=-1).all()


def test_a_position_attends_to_all_before_it() -> None:
    """The gradient of the last logits reaches every token vector."""
    model = small()
    tokens = mp.arange(8).reshape(1, 8)
    (model(tokens)[0, -1, :] ** 2).sum().backward()
    gradient = model.position_table.weight.grad
    assert gradient is not None
    assert (np.abs(gradient.numpy()).sum(axis=1) > 0).all()


def test_the_table_of_tokens_is_tied_to_the_output() -> None:
    model = small()
    width, vocabulary, context, layers = 12, 11, 8, 2
    block = 4 * width * width + 4 * width + 8 * width * width + 5 * width + 4 * width
    assert sum(p.size for p in model.parameters()) == (
        (vocabulary + context) * width + layers * block + 2 * width
    )


def test_initial_values_are_those_of_gpt_2() -> None:
    mp.manual_seed(0)
    model = GPT(40, 64, width=64, layers=8)
    block = model.blocks[0]
    assert block.expand.weight.numpy().std() == pytest.approx(0.02, rel=0.05)
    assert block.contract.weight.numpy().std() == pytest.approx(0.02 / 4, rel=0.05)
    assert model.token_table.weight.numpy().std() == pytest.approx(0.02, rel=0.05)
    assert not block.expand.bias.numpy().any()
    # So each token is about as likely as any other.
    logits = model(mp.tensor([[1, 2, 3]]))
    loss = mp.cross_entropy(logits.reshape(3, 40), mp.tensor([4, 5, 6]))
    assert loss.item() == pytest.approx(np.log(40), abs=0.3)


@pytest.mark.parametrize("dtype", [mp.float16, mp.bfloat16])
def test_in_two_bytes_everything_is(dtype: mp.DType, device: str) -> None:
    model = small(dtype=dtype, device=device)
    tokens = mp.tensor([[1, 2, 3]], device=device)
    out = model(tokens)
    assert out.dtype is dtype
    out.sum().backward()
    for name, parameter in model.named_parameters():
        if name != "position_table.weight":
            assert parameter.grad is not None, name
            assert parameter.grad.dtype is dtype


def test_dropout_acts_in_training_only() -> None:
    model = small(dropout=0.5)
    tokens = mp.tensor([[1, 2, 3]])
    assert (model(tokens).numpy() != model(tokens).numpy()).any()
    model.eval()
    np.testing.assert_array_equal(model(tokens).numpy(), model(tokens).numpy())


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"width 12 and 5 heads.*heads must divide the width"):
        GPT(11, 8, width=12, heads=5)
    for size in ({"vocabulary": 0}, {"context": 0}, {"layers": 0}, {"heads": -1}, {"width": 0}):
        (name,) = size
        with pytest.raises(ValueError, match=f"GPT was given {name} .*; it must be at least 1"):
            GPT(**{"vocabulary": 11, "context": 8, **size})
    with pytest.raises(ValueError, match=r"shape \(1, 9\).*up to its context, 8"):
        small()(mp.zeros(1, 9, dtype=mp.int64))
    with pytest.raises(ValueError, match=r"shape \(9,\); it takes \(batch, time\)"):
        small()(mp.zeros(9, dtype=mp.int64))
