# %% [markdown]
# # 5c · Bug hunt: masters that do not help
#
# A colleague built a training step with FP32 masters out of tinymp's parts. It runs, and learns as badly as
# without masters. There are two mistakes; each alone would spoil it. Write `step`, repaired.
#
# `masters` is a list of FP32 tensors, one for each parameter of the FP16 model, and `optimizer` was built
# on these masters.

# %%
import numpy as np

import tinymp as mp


def draft_step(model, masters, optimizer, x, y):
    optimizer.zero_grad()
    loss = mp.nn.functional.mse_loss(model(x).float(), y)
    loss.backward()
    for parameter, master in zip(model.parameters(), masters, strict=True):
        master.data = parameter.detach().float()  # "so that they are the same"
        master.grad = parameter.grad
    optimizer.step()
    with mp.no_grad():
        for parameter, master in zip(model.parameters(), masters, strict=True):
            parameter.copy_(master)
    return loss.item()


# %% nbgrader={"grade": false, "grade_id": "5c-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def step(model, masters, optimizer, x, y):
    """One step of gradient descent on the masters of an FP16 model; returns the loss."""
    ### BEGIN SOLUTION
    # Hint 1: Which line makes sure that a master never holds more than its FP16 copy?
    # Hint 2: optimizer.zero_grad() clears the gradients of the masters. Whose gradients are left from the
    # last step, so that backward adds to them?
    # Hint 3: Never copy weights from the model to the masters. Hand each gradient over as an FP32 tensor,
    # parameter.grad.float(), and set parameter.grad to None.
    optimizer.zero_grad()
    loss = mp.nn.functional.mse_loss(model(x).float(), y)
    loss.backward()
    for parameter, master in zip(model.parameters(), masters, strict=True):
        master.grad = parameter.grad.float()
        parameter.grad = None
    optimizer.step()
    with mp.no_grad():
        for parameter, master in zip(model.parameters(), masters, strict=True):
            parameter.copy_(master)
    return loss.item()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "5c-one", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
def setup(seed, rate):
    mp.manual_seed(seed)
    model = mp.nn.Linear(4, 1).half()
    masters = [p.detach().float().requires_grad_() for p in model.parameters()]
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((32, 4)).astype(np.float32)
    y = x @ np.float32([[1.0], [-2.0], [0.5], [1.5]]) + np.float32(0.25)
    optimizer = mp.optim.SGD(masters, lr=rate)
    return model, masters, optimizer, mp.tensor(x).half(), mp.tensor(y)


model, masters, optimizer, x, y = setup(0, 1e-5)
before = [m.numpy().copy() for m in masters]
for _ in range(20):
    step(model, masters, optimizer, x, y)
assert all(m.dtype is mp.float32 for m in masters)
assert all(p.dtype is mp.float16 for p in model.parameters())
moved = [np.abs(m.numpy() - b).max() for m, b in zip(masters, before, strict=True)]
assert min(moved) > 1e-5, f"twenty small updates must add up in the masters; they moved by {moved}"

# %% nbgrader={"grade": true, "grade_id": "5c-law", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1e-4, 1e-3, 1e-2]))
def test_follows_the_fp32_training(seed, rate):
    model, masters, optimizer, x, y = setup(seed, rate)
    wide = mp.nn.Linear(4, 1)
    wide.weight.data, wide.bias.data = (m.detach().clone() for m in masters)
    reference = mp.optim.SGD(list(wide.parameters()), lr=rate)
    for _ in range(40):
        step(model, masters, optimizer, x, y)
        reference.zero_grad()
        mp.nn.functional.mse_loss(wide(x.float()), y).backward()
        reference.step()
    for master, parameter in zip(masters, wide.parameters(), strict=True):
        difference = np.abs(master.numpy() - parameter.detach().numpy()).max()
        assert difference < 0.02, f"{difference} away from FP32 after 40 steps at rate {rate}"
    for parameter, master in zip(model.parameters(), masters, strict=True):
        assert np.array_equal(parameter.detach().numpy(), master.detach().half().numpy())


test_follows_the_fp32_training()
