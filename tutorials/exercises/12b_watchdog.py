# %% [markdown]
# # 12b · A watchdog
#
# Write `alarms(weights, masters, gradients, loss)`: a set of words for what is wrong with one training
# step, looked at just before the optimizer's step. `weights` (float16), `masters` and `gradients` (float32)
# are lists of NumPy arrays of equal shapes, the gradients unscaled; `loss` is a float, unscaled. The words:
#
# - `"loss"`: the loss is not finite;
# - `"gradient"`: a gradient holds inf or NaN;
# - `"no gradient"`: all gradients are zero;
# - `"copies"`: some weight is not its master rounded to float16;
# - `"masters"`: *every* master is an FP16 number, so that they hold no more than the weights.
#
# All that apply are reported.

# %%
import numpy as np


# %% nbgrader={"grade": false, "grade_id": "12b-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def alarms(weights, masters, gradients, loss):
    """The set of alarms that apply."""
    ### BEGIN SOLUTION
    # Hint 1: Five conditions, each a line. np.isfinite works for floats and arrays.
    # Hint 2: A master is an FP16 number if converting it to float16 and back changes nothing.
    # Hint 3: m.astype(np.float16) is the copy; compare with np.array_equal. Infinities arise without need to worry:
    # np.errstate(over="ignore").
    found = set()
    with np.errstate(over="ignore"):
        copies = [m.astype(np.float16) for m in masters]
    if not np.isfinite(loss):
        found.add("loss")
    if not all(np.isfinite(g).all() for g in gradients):
        found.add("gradient")
    if not any(g.any() for g in gradients):
        found.add("no gradient")
    if not all(np.array_equal(w, c) for w, c in zip(weights, copies, strict=True)):
        found.add("copies")
    if all(np.array_equal(m, c.astype(np.float32)) for m, c in zip(masters, copies, strict=True)):
        found.add("masters")
    return found
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "12b-named", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
masters = [np.float32([0.1, 0.2]), np.float32([[0.3]])]
weights = [m.astype(np.float16) for m in masters]
gradients = [np.float32([1e-3, 0]), np.float32([[0]])]
assert alarms(weights, masters, gradients, 1.0) == set()
assert alarms(weights, masters, [0 * g for g in gradients], float("nan")) == {"loss", "no gradient"}
rounded = [w.astype(np.float32) for w in weights]
assert alarms(weights, rounded, gradients, 1.0) == {"masters"}

# %% nbgrader={"grade": true, "grade_id": "12b-law", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st

FAULTS = ["loss", "gradient", "no gradient", "copies", "masters"]


@given(st.integers(0, 2**32 - 1), st.sets(st.sampled_from(FAULTS)))
def test_planted_faults_are_found(seed, faults):
    if {"gradient", "no gradient"} <= faults:
        return  # a gradient that is NaN is not zero
    rng = np.random.default_rng(seed)
    shapes = [(3, 2), (2,), (4,)]
    masters = [rng.uniform(0.1, 1, s).astype(np.float32) for s in shapes]
    masters = [m.astype(np.float16).astype(np.float32) for m in masters]
    if "masters" not in faults:
        masters[int(rng.integers(3))].flat[0] = np.float32(0.1)  # one of all is enough
    weights = [m.astype(np.float16) for m in masters]
    gradients = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    part = int(rng.integers(3))
    if "copies" in faults:
        weights[part].flat[0] *= np.float16(1.5)
    if "no gradient" in faults:
        gradients = [0 * g for g in gradients]
    if "gradient" in faults:
        gradients[part].flat[-1] = rng.choice([np.inf, -np.inf, np.nan])
    loss = float(rng.choice([np.inf, np.nan])) if "loss" in faults else 1.0
    assert alarms(weights, masters, gradients, loss) == faults, f"planted: {faults} (seed {seed})"


test_planted_faults_are_found()
