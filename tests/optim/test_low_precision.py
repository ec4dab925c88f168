"""How an update reaches a parameter of two bytes: rounded once, lost, amplified, or remembered.

The sizes are those of the classic example: steps of 0.001 from 1.0 in bfloat16, whose neighbours
of 1 are 1 - 2^-8 and 1 + 2^-7.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp import nn, optim
from tinymp.devices import Generator, get_device, get_rng_state

STEPS = 1000
LR = 0.001
ULP = 2.0**-7  # of bfloat16 in [1, 2); twice that in [2, 4)


def walk(gradient: float, dtype: mp.DType = mp.bfloat16, n: int = 1, **options: Any) -> Any:
    """n copies of 1.0 after `STEPS` steps of SGD with a constant gradient: parameter, optimizer."""
    p = nn.Parameter(mp.ones(n, dtype=dtype))
    p.grad = mp.full(n, gradient, dtype=dtype)
    optimizer = optim.SGD([p], lr=LR, **options)
    for _ in range(STEPS):
        optimizer.step()
    return p, optimizer


@pytest.mark.parametrize(("dtype", "narrow"), [(mp.float16, np.float16), (mp.float32, np.float32)])
def test_a_step_is_computed_in_float32_and_rounded_once(dtype: mp.DType, narrow: Any) -> None:
    rng = np.random.default_rng(0)
    w, g = (rng.normal(size=5000).astype(narrow) for _ in range(2))
    p = nn.Parameter(mp.tensor(w))
    p.grad = mp.tensor(g)
    optim.SGD([p], lr=0.1).step()
    step = np.float32(0.1) * g.astype(np.float32)
    np.testing.assert_array_equal(p.storage, (w.astype(np.float32) - step).astype(narrow))
    if dtype is mp.float16:  # the test can tell: rounding the step first gives something else
        assert (p.storage != (w.astype(np.float32) - step.astype(narrow)).astype(narrow)).any()


def test_the_gradient_of_another_dtype_enters_unrounded() -> None:
    """A float32 gradient of a float16 parameter, as a user may set, is used as it is."""
    p = nn.Parameter(mp.ones(1, dtype=mp.float16))
    p.grad = mp.tensor([1e-10])
    optim.SGD([p], lr=1e9).step()
    assert p.item() == np.float16(np.float32(1) - np.float32(1e9) * np.float32(1e-10))


def test_nearest_even_loses_small_updates_in_both_directions() -> None:
    for gradient in (1.0, -1.0):
        p, _ = walk(gradient, rounding="nearest_even")
        assert p.item() == 1.0


def test_truncation_loses_additions_and_amplifies_subtractions() -> None:
    assert walk(-1.0, rounding="toward_zero")[0].item() == 1.0
    assert walk(1.0, rounding="toward_zero")[0].item() == -0.25
    assert walk(1.0)[0].item() == -0.25  # the default of bfloat16


def test_the_active_mode_rounds_unless_the_option_says_otherwise() -> None:
    with mp.rounding("nearest_even"):
        assert walk(1.0)[0].item() == 1.0
        assert walk(1.0, rounding="toward_zero")[0].item() == -0.25


def test_stochastic_rounding_is_right_on_average() -> None:
    """Each step is off by a fraction f(1 - f) of a squared ulp in variance, at most a quarter."""
    n = 1000
    for gradient, expected in ((1.0, 0.0), (-1.0, 2.0)):
        p, _ = walk(gradient, n=n, rounding="stochastic")
        deviation = np.sqrt(STEPS * ULP**2 / 4)
        assert abs(p.numpy().mean() - expected) < 5 * deviation / np.sqrt(n)
        assert p.numpy().std() <= 1.5 * deviation


def test_stochastic_rounding_draws_once_for_a_whole_tensor_in_the_order_of_its_elements() -> None:
    w = np.random.default_rng(0).normal(size=(300, 300)).astype(np.float32)
    p = nn.Parameter(mp.tensor(w, dtype=mp.float16))
    p.grad = mp.tensor(w, dtype=mp.float16)
    values = p.numpy() - np.float32(0.01) * p.numpy()
    words = Generator(seed=11).words(get_device("cpu"), w.size).reshape(w.shape)
    expected = mp.formats.encode(values, mp.float16, "stochastic", random_words=words)
    mp.manual_seed(11)
    optim.SGD([p], lr=0.01, rounding="stochastic").step()
    np.testing.assert_array_equal(p.storage.view(np.uint16), expected)
    assert get_rng_state() == (11, 1)


def test_stochastic_rounding_repeats_with_the_seed_on_every_device(device: str) -> None:
    """Larger than a block, so the CPU's blocks must not show."""
    w, g = np.random.default_rng(0).normal(size=(2, 90_000)).astype(np.float32)
    results = []
    for place in ("cpu", device):
        mp.manual_seed(11)
        p = nn.Parameter(mp.tensor(w, dtype=mp.bfloat16, device=place))
        p.grad = mp.tensor(g, dtype=mp.bfloat16, device=place)
        optimizer = optim.SGD([p], lr=0.01, momentum=0.9, rounding="stochastic")
        optimizer.step()
        optimizer.step()
        results.append(p.numpy())
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("mode", ["nearest_even", "toward_zero"])
@pytest.mark.parametrize("dtype", [mp.bfloat16, mp.float16])
def test_a_compensated_parameter_and_its_compensation_hold_the_sum(
    mode: str, dtype: mp.DType
) -> None:
    """|w + c - exact| ≤ the roundings of c alone: each at most u·ulp, ulp that of w below 2.

    Without compensation each step would lose up to an ulp.
    """
    for gradient, exact in ((1.0, 0.0), (-1.0, 2.0)):
        with mp.rounding(mode):
            p, optimizer = walk(gradient, dtype, compensated=True)
        total = p.item() + optimizer.state[p]["compensation"].item()
        ulp = 2 * dtype.eps  # it may pass 2
        tolerance = STEPS * (dtype.unit_roundoff(mode) * ulp + 2.0**-23)
        assert abs(total - exact) <= tolerance
        assert tolerance < 0.2


def test_compensation_works_in_float32_too() -> None:
    p = nn.Parameter(mp.ones(1))
    p.grad = mp.full(1, -1.0)
    optimizer = optim.SGD([p], lr=1e-8, compensated=True)
    plain = nn.Parameter(mp.ones(1))
    plain.grad = p.grad
    for _ in range(1000):
        optimizer.step()
    other = optim.SGD([plain], lr=1e-8)
    for _ in range(1000):
        other.step()
    assert plain.item() == 1.0
    total = p.item() + optimizer.state[p]["compensation"].item()
    assert abs(total - (1 + 1000 * float(np.float32(1e-8)))) <= 1000 * 2.0**-24 * 2.0**-23


def test_the_options_may_differ_between_groups() -> None:
    p, q = (nn.Parameter(mp.ones(1, dtype=mp.bfloat16)) for _ in range(2))
    optimizer = optim.SGD(
        [{"params": [p], "compensated": True}, {"params": [q], "rounding": "nearest_even"}], lr=LR
    )
    for _ in range(STEPS):
        p.grad = q.grad = mp.full(1, -1.0, dtype=mp.bfloat16)
        optimizer.step()
    assert abs(p.item() - 2.0) < 0.1
    assert q.item() == 1.0


def test_adam_with_float16_state_forgets_small_squares() -> None:
    """(1 - β2)·g² = 1e-11 is far below float16's smallest subnormal: v is stored as 0 each time.

    So each step sees only its own square, a share (1 - β2) / (1 - β2^t) of the mean, and is too
    large by the root of that. Float32 masters have float32 state, in which nothing is lost.
    """
    t = 100
    for dtype, excess in (
        (mp.float32, 1.0),
        (mp.float16, np.sqrt((1 - 0.999**t) / (1 - 0.999))),
    ):
        p = nn.Parameter(mp.zeros(1, dtype=dtype))
        p.grad = mp.full(1, 1e-4, dtype=dtype)
        optimizer = optim.Adam([p], lr=0.001)
        for _ in range(t):
            p.data.zero_()
            optimizer.step()
        # The stored mean is off by at most 10 = 1 / (1 - β1) roundings of a float16.
        assert -p.item() == pytest.approx(0.001 * excess, rel=20 * dtype.unit_roundoff() + 1e-3)
        assert (optimizer.state[p]["exp_avg_sq"].item() == 0) == (dtype is mp.float16)


def test_devices_agree_bit_for_bit(device: str) -> None:
    """Every operation of a rule is correctly rounded on both, and fused on neither."""
    rng = np.random.default_rng(0)
    w, gradients = rng.normal(size=500), rng.normal(size=(5, 500))
    for make in (
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
        lambda p: optim.AdamW(p, lr=0.1),
        lambda p: optim.Adam(p, lr=0.1, weight_decay=0.1, compensated=True),
    ):
        for dtype in (mp.float32, mp.float16, mp.bfloat16):
            results = []
            for place in ("cpu", device):
                p = nn.Parameter(mp.tensor(w, dtype=dtype, device=place))
                optimizer = make([p])
                for g in gradients:
                    p.grad = mp.tensor(g, dtype=dtype, device=place)
                    optimizer.step()
                results.append(p.numpy())
            np.testing.assert_array_equal(*results)
