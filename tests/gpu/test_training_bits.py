"""One training run twice: on modelled tensor cores on the CPU, and on real ones.

What parts them is what the two libraries choose for themselves: how exp and log are approximated,
and the order of sums (the mean of the loss, the gradients of the biases). Under
`accumulation("reproducible")` both are fixed, and nothing is left that could. `-s` prints what is
found.
"""

from __future__ import annotations

import numpy as np
import pytest

import tinymp as mp
from tinymp import amp, nn, optim
from tinymp.data import load_digits
from tinymp.devices import get_device
from tinymp.models import MLP
from tinymp.numerics import accumulation, accumulator
from tinymp.numerics.kit import kit

pytestmark = pytest.mark.gpu
STEPS, BATCH = 200, 64


@pytest.fixture(scope="module")
def hopper():
    try:
        gpu = get_device("cuda")
    except RuntimeError as missing:
        pytest.skip(str(missing))
    if gpu.xp.cuda.Device().compute_capability != "90":
        pytest.skip("the model that is checked is that of compute capability 9.0")
    return gpu.name


def train(device, name, steps=STEPS):
    """Logits of every step, and the parameters after the last, as arrays."""
    digits = load_digits()
    inputs, targets = mp.tensor(digits.inputs), mp.tensor(digits.targets)
    mp.manual_seed(0)
    model = MLP(64, [128, 64], 10).to(device)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    scaler = amp.GradScaler()
    rng = np.random.default_rng(0)
    seen = []
    for _ in range(steps):
        chosen = mp.tensor(rng.integers(0, inputs.shape[0], BATCH))
        x, y = inputs[chosen].to(device), targets[chosen].to(device)
        with accumulation(name), amp.autocast("float16"):
            logits = model(x)
            loss = nn.functional.cross_entropy(logits, y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        seen.append(logits.numpy())
    return np.array(seen), [p.numpy() for p in model.parameters()]


def test_the_cpu_runs_the_steps_that_tensor_cores_run(hopper):
    modelled, modelled_parameters = train("cpu", "tensor_core")
    real, real_parameters = train(hopper, "float32")
    same = (modelled == real).all(axis=(1, 2))
    first = STEPS if same.all() else int(np.argmin(same))
    equal = np.mean(
        [np.mean(a == b) for a, b in zip(modelled_parameters, real_parameters, strict=True)]
    )
    print(f"\nlogits bit-identical for the first {first} of {STEPS} steps, {same.sum()} in all;")
    print(f"{equal:.1%} of the final parameters; largest difference {abs(modelled - real).max():g}")
    assert first >= 1
    plain, _ = train("cpu", "float32", steps=first)
    print(f"with float32 sums on the CPU: {(plain == real[:first]).all(axis=(1, 2)).sum()} of them")


def test_reproducible_steps_are_the_same_to_the_last_bit(hopper):
    modelled, modelled_parameters = train("cpu", "reproducible")
    real, real_parameters = train(hopper, "reproducible")
    same = (modelled == real).all(axis=(1, 2))
    print(f"\nlogits bit-identical in {same.sum()} of {STEPS} steps")
    assert same.all()
    for a, b in zip(modelled_parameters, real_parameters, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_the_two_libraries_choose_for_themselves(hopper):
    """How much of it there is, and that nothing of it is left by way of float64, or by halves."""
    on = get_device(hopper)
    x = np.random.default_rng(1).standard_normal(1 << 20).astype(np.float32)
    here, there = (kit(device, accumulator("reproducible")) for device in ("cpu", hopper))
    for name, values in (("exp", x), ("log", np.abs(x)), ("tanh", x)):
        ours, theirs = getattr(np, name)(values), getattr(on.xp, name)(on.asarray(values))
        share = np.mean(ours != on.to_numpy(theirs))
        print(f"\n{name}: {share:.1%} of float32 results differ", end="")
        theirs = getattr(there, name)(on.asarray(values))
        np.testing.assert_array_equal(getattr(here, name)(values), on.to_numpy(theirs))
    rows = x.reshape(-1, 64)
    ours, theirs = rows.sum(1), on.to_numpy(on.asarray(rows).sum(1))
    print(f"\nsums of 64: {np.mean(ours != theirs):.1%} differ")
    theirs = on.to_numpy(there.sum(on.asarray(rows), 1))
    np.testing.assert_array_equal(here.sum(rows, 1), theirs)


def test_both_are_repeatable(hopper):
    for device, name in (("cpu", "tensor_core"), (hopper, "float32")):
        once, twice = (train(device, name, steps=20)[0] for _ in range(2))
        np.testing.assert_array_equal(once, twice)
