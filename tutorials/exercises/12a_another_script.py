# %% [markdown]
# # 12a · Another script, four mistakes
#
# `draft` trains an FP16 network on a regression whose targets are small, with FP32 masters and a fixed loss
# scale of 2¹². It has four precision mistakes. Write `train`, with the same arguments and result, that
# trains as well as FP32 does. Keep the FP16 model, the masters, the scale and the optimizer. Nothing is
# wrong with the data.

# %%
import numpy as np

import tinymp as mp

SCALE = 2.0**12


def new_model():
    """An FP16 network whose outputs are zero at first."""
    model = mp.nn.Sequential(mp.nn.Linear(4, 16), mp.nn.Tanh(), mp.nn.Linear(16, 1)).half()
    with mp.no_grad():
        model[2].weight.zero_()
        model[2].bias.zero_()
    return model


def draft(x, y, steps):
    """Train on arrays x (n, 4) and y (n, 1); returns the model and the mean loss of the last 10 steps."""
    model = new_model()
    masters = mp.amp.MasterWeights(model.parameters())
    optimizer = mp.optim.Adam(masters.parameters(), lr=1e-4, eps=1e-12)
    inputs, targets = mp.tensor(x).half(), mp.tensor(y).half()
    last = mp.zeros((), dtype=mp.float16)
    for step in range(steps):
        optimizer.zero_grad()
        error = model(inputs) - targets
        loss = (error * error).mean()
        (loss * SCALE).backward()
        with mp.no_grad():
            for parameter in model.parameters():
                parameter.grad.mul_(1 / SCALE)
        masters.copy_gradients()
        optimizer.step()
        if step >= steps - 10:
            last = last + loss
        if step % 2 == 0:
            masters.copy_weights()
    return model, last.item() / 10


# %% nbgrader={"grade": false, "grade_id": "12a-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def train(x, y, steps):
    """Train on arrays x (n, 4) and y (n, 1); returns the model and the mean loss of the last 10 steps."""
    ### BEGIN SOLUTION
    # Hint 1: Follow the numbers: the error is about 1e-3. What is its square in FP16, and the mean of many squares?
    # Hint 2: In which format are the gradients divided by SCALE? After which steps does the model get new weights?
    # Hint 3: Targets and the loss belong in FP32: model(inputs).float() - targets. What of the sum of losses?
    # Hint 4: Copy the gradients first and divide those of the masters; sum losses with .item(); copy the weights
    # after every step.
    model = new_model()
    masters = mp.amp.MasterWeights(model.parameters())
    optimizer = mp.optim.Adam(masters.parameters(), lr=1e-4, eps=1e-12)
    inputs, targets = mp.tensor(x).half(), mp.tensor(y)
    last = 0.0
    for step in range(steps):
        optimizer.zero_grad()
        error = model(inputs).float() - targets
        loss = (error * error).mean()
        (loss * SCALE).backward()
        masters.copy_gradients()
        with mp.no_grad():
            for master in masters.parameters():
                master.grad.mul_(1 / SCALE)
        optimizer.step()
        if step >= steps - 10:
            last += loss.item()
        masters.copy_weights()
    return model, last / 10
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "12a-loss", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
def data(seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((256, 4)).astype(np.float32)
    return x, np.float32(1e-3) * np.tanh(x @ np.float32([[0.5], [0.25], [-0.5], [0.1]]))


x, y = data(0)
mp.manual_seed(1)
model, last = train(x, y, 300)
assert isinstance(last, float)
outputs = model(mp.tensor(x).half()).numpy()
true = float(((outputs - y) ** 2).mean())
assert all(p.dtype is mp.float16 for p in model.parameters())
zero = float((y**2).mean())  # what always answering 0 gives
assert true < 0.05 * zero, f"error {true / zero:.3f} of that of always answering 0"
assert abs(last - true) < 0.5 * true, f"reported {last:.1e}, but it is {true:.1e}"

# %% nbgrader={"grade": true, "grade_id": "12a-any", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_other_data_and_weights(seed):
    x, y = data(seed)
    mp.manual_seed(seed)
    model, last = train(x, y, 300)
    error = float(((model(mp.tensor(x).half()).numpy() - y) ** 2).mean())
    assert error < 0.05 * float((y**2).mean()), f"seed {seed}: {error:.1e}"
    assert abs(last - error) < 0.5 * error, f"reported {last:.1e}, but it is {error:.1e}"


test_other_data_and_weights()
seen, adams_step = [], mp.optim.Adam.step


def watched(self, closure=None):
    seen.extend(p.grad.numpy().copy() for group in self.param_groups for p in group["params"])
    return adams_step(self, closure)


mp.optim.Adam.step = watched
train(*data(0), 50)
mp.optim.Adam.step = adams_step
assert any((g * 2**24 != np.round(g * 2**24)).any() for g in seen), (
    "all gradients are multiples of 2^-24, FP16's smallest number, when the optimizer sees them"
)
