# %% [markdown]
# # 9c · Bug hunt: memory that grows
#
# `draft_epoch` adds up the loss to report its mean. Its results are right, and it needs more memory with
# every step, until a long epoch runs out of it. Find out what it keeps, and write `epoch` with the same
# results, which keeps nothing but a few numbers.

# %%
import tinymp as mp


def draft_epoch(model, optimizer, batches):
    total = 0.0
    for x, y in batches:
        loss = mp.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward(retain_graph=True)  # "or the mean below raises an error"
        optimizer.step()
        total = total + loss
    return total / len(batches)


# %% nbgrader={"grade": false, "grade_id": "9c-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def epoch(model, optimizer, batches):
    """Train on each batch once; return the mean loss, a Python float."""
    ### BEGIN SOLUTION
    # Hint 1: What type has `total` after the first step, and what hangs on it?
    # Hint 2: The graph of every step is reachable from `total`, and retain_graph keeps what each one saved.
    # Hint 3: loss.item() is a plain number. Then backward() needs no retain_graph.
    total = 0.0
    for x, y in batches:
        loss = mp.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(batches)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "9c-result", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st


def setup(seed, count):
    mp.manual_seed(seed)
    model = mp.nn.Sequential(mp.nn.Linear(8, 64), mp.nn.Tanh(), mp.nn.Linear(64, 1))
    rng = np.random.default_rng(seed)
    batches = [
        tuple(mp.tensor(rng.standard_normal((256, n)).astype(np.float32)) for n in (8, 1))
        for _ in range(count)
    ]
    return model, mp.optim.SGD(model.parameters(), lr=0.05), batches


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 100), st.integers(1, 5))
def test_the_same_result(seed, count):
    draft = float(draft_epoch(*setup(seed, count)).item())
    mine = epoch(*setup(seed, count))
    assert type(mine) is float, f"a Python float, not a {type(mine).__name__}"
    assert abs(mine - draft) <= 1e-5 * draft


test_the_same_result()


# %% nbgrader={"grade": true, "grade_id": "9c-memory", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
def grown(run, count):
    """Bytes that are in use at most, beyond what was there before."""
    arguments = setup(1, count)
    with mp.inspect.TracedMemory() as traced:
        run(*arguments)
    return traced.peak


assert grown(draft_epoch, 20) > 3 * grown(draft_epoch, 2)  # the bug
few, many = grown(epoch, 2), grown(epoch, 20)
assert many < 1.5 * few, f"2 steps take {few:,} bytes at the peak, 20 steps {many:,}"
