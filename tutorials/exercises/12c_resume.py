# %% [markdown]
# # 12c · Bug hunt: a training that resumes
#
# Long trainings are stopped and continued. `draft_save` puts into a dictionary what a run needs, and
# `draft_resume` gives it to a new run, made as `Run(seed)` with any seed. No error is raised, and after each
# stop the loss is what it was at the very beginning. Repair that, and two more mistakes come to light.
#
# Write `save` and `resume`. A run that was stopped must go on *bit for bit* as if it had not been: weights,
# masters and loss scale. What was saved must stay as it is when the run that saved it goes on.

# %%
import copy

import numpy as np

import tinymp as mp


class Run:
    """An FP16 model, and all that trains it."""

    def __init__(self, seed):
        mp.manual_seed(seed)
        layers = mp.nn.Linear(4, 16), mp.nn.Tanh(), mp.nn.Linear(16, 1)
        self.model = mp.nn.Sequential(*layers).half()
        self.masters = mp.amp.MasterWeights(self.model.parameters())
        self.optimizer = mp.optim.Adam(self.masters.parameters(), lr=1e-3)
        self.scaler = mp.amp.GradScaler(init_scale=2.0**20, growth_interval=4)

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = mp.nn.functional.mse_loss(self.model(x).float(), y)
        self.scaler.scale(loss).backward()
        self.masters.copy_gradients()
        self.scaler.unscale_(self.optimizer)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.masters.copy_weights()
        return loss.item()


def draft_save(run):
    return {"weights": run.model.state_dict(), "optimizer": run.optimizer.state_dict()}


def draft_resume(saved, run):
    run.model.load_state_dict(saved["weights"])
    run.optimizer.load_state_dict(saved["optimizer"])


# %% nbgrader={"grade": false, "grade_id": "12c-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def save(run):
    """A dictionary with all that a run needs to go on."""
    ### BEGIN SOLUTION
    # Hint 1: The draft's weights arrive in the model. Which line of `step` replaces them by others, and where
    # do those come from?
    # Hint 2: What does a run remember from one step to the next? Four of its five attributes do; of two of them
    # the FP16 weights are only a copy.
    # Hint 3: masters, optimizer and scaler have state_dict() and load_state_dict(). Once the masters are loaded,
    # masters.copy_weights() rounds them into the model.
    # Hint 4: state_dict() gives the tensors themselves, and the run goes on changing them: copy.deepcopy.
    parts = {"masters": run.masters, "optimizer": run.optimizer, "scaler": run.scaler}
    return {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
    ### END SOLUTION


def resume(saved, run):
    """Give a new run what was saved."""
    ### BEGIN SOLUTION
    run.masters.load_state_dict(saved["masters"])
    run.optimizer.load_state_dict(saved["optimizer"])
    run.scaler.load_state_dict(saved["scaler"])
    run.masters.copy_weights()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "12c-weights", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
rng = np.random.default_rng(0)
inputs = rng.standard_normal((64, 4)).astype(np.float32)
x, y = mp.tensor(inputs).half(), mp.tensor(np.sin(inputs.sum(axis=1, keepdims=True)))

stopped, again = Run(1), Run(2)
losses = [stopped.step(x, y) for _ in range(20)]
resume(save(stopped), again)
for before, now in zip(stopped.masters.parameters(), again.masters.parameters(), strict=True):
    assert np.array_equal(before.numpy(), now.numpy()), "other masters than those that were saved"
for before, now in zip(stopped.model.parameters(), again.model.parameters(), strict=True):
    assert np.array_equal(before.detach().numpy(), now.detach().numpy()), "other FP16 weights"
assert again.step(x, y) < losses[0], "the next loss is that of the beginning"

# %% nbgrader={"grade": true, "grade_id": "12c-bits", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 15), st.integers(1, 15))
def test_a_stop_leaves_no_trace(seed, before, after):
    straight = Run(seed)
    for _ in range(before):
        straight.step(x, y)
    saved = save(straight)
    losses = [straight.step(x, y) for _ in range(after)]

    again = Run(seed + 1)
    resume(saved, again)
    for step in range(after):
        assert again.step(x, y) == losses[step], f"another loss {step + 1} steps after the stop"
    assert again.scaler.get_scale() == straight.scaler.get_scale(), "another loss scale"
    for one, other in zip(straight.masters.parameters(), again.masters.parameters(), strict=True):
        assert np.array_equal(one.numpy(), other.numpy()), f"other masters {after} steps later"


test_a_stop_leaves_no_trace()
