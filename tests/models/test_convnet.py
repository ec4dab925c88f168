"""The residual network: its shapes, its shortcuts, and that it learns in every format."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp import nn
from tinymp.data import load_digits
from tinymp.models import ConvNet
from tinymp.models.convnet import BasicBlock
from tinymp.train import Training, make_task, recipe, train_epoch


@pytest.mark.parametrize("size", [8, 28, 7])
def test_images_of_any_size(size: int, device: str) -> None:
    model = ConvNet(3, 5, channels=(4, 8, 8), blocks=2, device=device)
    images = mp.randn(2, 3, size, size, device=device)
    assert model(images).shape == (2, 5)
    assert len(model.stages) == 3
    assert model.stages(mp.randn(2, 4, size, size, device=device)).shape == (
        2, 8, -(-size // 4), -(-size // 4),
    )  # fmt: skip


def test_its_parameters() -> None:
    model = ConvNet(channels=(16, 32))
    norms = 2 * (16 + 2 * 16 + 2 * 32 + 32)
    products = 9 * (16 + 2 * 16 * 16 + 16 * 32 + 32 * 32) + 16 * 32 + 32 * 10 + 10
    assert sum(p.size for p in model.parameters()) == norms + products


def test_a_block_whose_last_norm_is_zero_passes_its_input_on() -> None:
    block = BasicBlock(4, 4)
    assert isinstance(block.shortcut, nn.Identity)
    nn.init.zeros_(block.norm_2.weight)
    x = mp.randn(2, 4, 5, 5).abs()
    np.testing.assert_array_equal(block(x).numpy(), x.numpy())


def test_initial_values_keep_the_size_of_gradients() -> None:
    """He's normal numbers: variance 2 / (9·channels out)."""
    model = ConvNet(channels=(32, 64))
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    for weight in weights[1:]:
        out, _, h, w = weight.shape
        assert weight.numpy().std() == pytest.approx((2 / (out * h * w)) ** 0.5, rel=0.05)


@pytest.mark.parametrize("dtype", [mp.float16, mp.bfloat16])
def test_in_two_bytes_everything_is(dtype: mp.DType, device: str) -> None:
    model = ConvNet(channels=(4, 8), device=device, dtype=dtype)
    out = model(mp.randn(3, 1, 8, 8, dtype=dtype, device=device))
    assert out.dtype is dtype
    out.sum().backward()
    assert all(p.grad is not None and p.grad.dtype is dtype for p in model.parameters())


def test_evaluation_does_not_depend_on_the_batch() -> None:
    model = ConvNet(channels=(4, 8))
    images = mp.randn(6, 1, 8, 8)
    model(images)
    model.eval()
    whole = model(images).numpy()
    # Convolutions of one image may add in another order: sums of 72 terms, in five layers.
    np.testing.assert_allclose(
        model(images[2:3]).numpy(), whole[2:3], rtol=0, atol=5 * 72 * 2.0**-24 * abs(whole).max()
    )


@pytest.mark.parametrize("policy", ["fp32", "fp16", "bf16", "autocast-fp16", "bf16-naive"])
def test_it_learns_digits_in_every_format(policy: str) -> None:
    configuration = recipe({"model": "convnet", "policy": policy, "epochs": 2})
    training = Training(make_task(configuration), configuration)
    for _ in range(2):
        record = train_epoch(training, lambda step: None)
    assert record.test_accuracy > 0.9


@pytest.mark.slow
def test_fp16_and_bf16_end_where_fp32_does_over_three_seeds() -> None:
    means: dict[str, Any] = {}
    for policy in ("fp32", "fp16", "bf16"):
        reached = []
        for seed in range(3):
            configuration = recipe({"model": "convnet", "policy": policy, "seed": seed})
            training = Training(make_task(configuration), configuration)
            for _ in range(configuration.epochs):
                record = train_epoch(training, lambda step: None)
            reached.append(record.test_accuracy)
        assert min(reached) >= 0.985
        means[policy] = np.mean(reached)
    assert max(means.values()) - min(means.values()) <= 0.01


def test_the_task_gives_it_images() -> None:
    task = make_task(recipe({"model": "convnet"}))
    assert task.train.inputs.shape == (1438, 1, 8, 8)
    np.testing.assert_array_equal(task.test.inputs.reshape(-1, 64), load_digits("test").inputs)


def test_bad_input() -> None:
    for settings in ({"in_channels": 0}, {"classes": 0}, {"channels": (4, 0)}, {"blocks": -1}):
        (name,) = settings
        with pytest.raises(ValueError, match=f"ConvNet was given {name} of .*at least 1"):
            ConvNet(**settings)
    with pytest.raises(ValueError, match="channels of no stage; there must be at least 1"):
        ConvNet(channels=())
