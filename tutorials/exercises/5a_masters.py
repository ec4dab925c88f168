# %% [markdown]
# # 5a · Master weights by hand
#
# `train` below minimises a loss over one FP16 weight by gradient descent; its gradient comes from
# `gradient(w)`, with w in FP16, as it would from an FP16 network. Write `train_with_master`, with the same
# arguments, which keeps an FP32 master: gradients are taken at the FP16 weight, updates go to the master.
# Return the FP16 weight at the end.

# %%
import numpy as np


def train(gradient, start, rate, steps):
    weight = np.float16(start)
    for _ in range(steps):
        weight = np.float16(weight - np.float16(rate * np.float16(gradient(weight))))
    return weight


# %% nbgrader={"grade": false, "grade_id": "5a-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def train_with_master(gradient, start, rate, steps):
    """Gradient descent on an FP16 weight with an FP32 master; the FP16 weight after `steps`."""
    ### BEGIN SOLUTION
    # Hint 1: Which of the numbers in `train` must become wider so that small updates add up?
    # Hint 2: The master starts as the start, in FP32, and the weight is its rounded copy, made anew in each
    # step. Where is the gradient taken?
    # Hint 3: Widen the gradient to FP32 *before* multiplying by the rate: rate * gradient may be too small
    # for FP16, and gradient alone is not.
    master = np.float32(start)
    for _ in range(steps):
        weight = np.float16(master)
        master = master - np.float32(rate) * np.float32(np.float16(gradient(weight)))
    return np.float16(master)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "5a-moves", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert train(lambda w: 1.0, 1.0, 1e-4, 2000) == 1.0  # stuck
assert abs(float(train_with_master(lambda w: 1.0, 1.0, 1e-4, 2000)) - 0.8) < 2**-11, (
    "2,000 small steps"
)
seen = []
result = train_with_master(lambda w: seen.append(w) or 1.0, 1.0, 1e-4, 50)
assert isinstance(result, np.float16) and all(isinstance(w, np.float16) for w in seen), (
    "FP16 weights"
)
assert train_with_master(lambda w: 1e-6, 1.0, 1e-3, 10) == 1.0
tiny = train_with_master(lambda w: 1e-5, 2.0**-14, 1e-3, 500)
assert abs(float(tiny) - (2.0**-14 - 5e-6)) < 2e-7, (
    "rate * gradient is below FP16's smallest number"
)
assert train_with_master(lambda w: 1.0, 1.0, 2.0**-26, 2**15) == 1.0, (
    "an FP32 master loses updates below 2^-25 of itself; has it become wider?"
)

# %% nbgrader={"grade": true, "grade_id": "5a-law", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st


@given(st.floats(0.125, 4, width=16), st.floats(-1, 1, width=16), st.integers(1, 300))
def test_constant_gradients_add_up(start, slope, steps):
    end = float(train_with_master(lambda w: slope, start, 1e-4, steps))
    exact = start - steps * 1e-4 * slope
    # Half an FP16 spacing at 4, and FP32's rounding in each step.
    assert abs(end - exact) <= 2.0**-10 + steps * 2.0**-22, f"{end}, not {exact}"


test_constant_gradients_add_up()
