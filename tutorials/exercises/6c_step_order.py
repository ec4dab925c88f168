# %% [markdown]
# # 6c · Bug hunt: the order of a step
#
# The step below scales its loss, and clips gradients to a norm of 1. Where gradients are small, it trains
# worse than the FP32 step, and nobody sees an error. Find the *two* lines that stand in the wrong place or
# work on the wrong numbers, and write `step`.
#
# `masters` is a `mp.amp.MasterWeights`, `optimizer` was built on `masters.parameters()`; the scale is a
# power of two, and nothing overflows here.

# %%
import numpy as np

import tinymp as mp


def draft_step(model, masters, optimizer, x, y, scale):
    optimizer.zero_grad()
    loss = mp.nn.functional.mse_loss(model(x).float(), y)
    (loss * scale).backward()
    with mp.no_grad():
        for parameter in model.parameters():
            parameter.grad.mul_(1 / scale)
    mp.optim.clip_grad_norm_(model.parameters(), 1.0)
    masters.copy_gradients()
    optimizer.step()
    masters.copy_weights()
    return loss.item()


# %% nbgrader={"grade": false, "grade_id": "6c-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def step(model, masters, optimizer, x, y, scale):
    """One step with loss scaling and clipping, in the right order; returns the loss."""
    ### BEGIN SOLUTION
    # Hint 1: In which format is 1/scale multiplied? What happens there to a gradient of 1e-8?
    # Hint 2: Gradients go to FP32 first, and are divided there. Whose norm must be clipped?
    # Hint 3: copy_gradients() comes right after backward; unscale and clip masters.parameters().
    optimizer.zero_grad()
    loss = mp.nn.functional.mse_loss(model(x).float(), y)
    (loss * scale).backward()
    masters.copy_gradients()
    with mp.no_grad():
        for master in masters.parameters():
            master.grad.mul_(1 / scale)
    mp.optim.clip_grad_norm_(masters.parameters(), 1.0)
    optimizer.step()
    masters.copy_weights()
    return loss.item()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "6c-small", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
def setup(seed, size):
    mp.manual_seed(seed)
    model = mp.nn.Linear(4, 1).half()
    with mp.no_grad():
        model.weight.zero_()  # outputs are exactly zero, and errors are those of gradients alone
        model.bias.zero_()
    masters = mp.amp.MasterWeights(model.parameters())
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((16, 4)).astype(np.float16)
    y = size * rng.standard_normal((16, 1))
    return model, masters, mp.tensor(x), mp.tensor(y.astype(np.float32))


def gradients_used(step, seed, size, scale):
    """The gradients that the optimizer sees, and those of an FP32 step."""
    model, masters, x, y = setup(seed, size)
    seen = {}

    class Watching(mp.optim.SGD):
        def step(self, closure=None):
            seen["gradients"] = [p.grad.numpy().copy() for p in masters.parameters()]

    step(model, masters, Watching(masters.parameters(), lr=0.1), x, y, scale)
    wide = [m.detach().clone().requires_grad_() for m in masters.parameters()]
    mp.nn.functional.mse_loss(mp.nn.functional.linear(x.float(), *wide), y).backward()
    mp.optim.clip_grad_norm_(wide, 1.0)
    return seen["gradients"], [p.grad.numpy() for p in wide]


for ours, exact in zip(*gradients_used(step, 1, 1e-6, 2.0**14), strict=True):
    assert ours.dtype == np.float32
    assert np.abs(ours - exact).max() < 2e-2 * np.abs(exact).max(), f"{ours} instead of {exact}"

# %% nbgrader={"grade": true, "grade_id": "6c-any", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 1000),
    st.sampled_from([1e-6, 1e-3, 1.0, 10.0]),
    st.sampled_from([2.0**6, 2.0**10]),
)
def test_the_gradients_are_those_of_fp32(seed, size, scale):
    for ours, exact in zip(*gradients_used(step, seed, size, scale), strict=True):
        # Sixteen products, each off by a few 2^-11 of its size, or by FP16's smallest spacing.
        tolerance = 0.02 * size + 2.0**-18 / scale
        assert np.abs(ours - exact).max() <= tolerance, f"{ours} instead of {exact}"


test_the_gradients_are_those_of_fp32()
