# %% [markdown]
# # 8c · A loss that survives
#
# Write `nll(logits, label)`: −log softmax(logits)[label] for a one-dimensional FP16 NumPy array, returned
# as a Python float. Compute in float32: it is wide enough, if no power overflows and no logarithm is taken of
# a probability that underflows. For logits [0, 60000] and label 0 the loss is 60000.
#
# Then write `gradient(logits, label)`: its gradient, softmax − one hot, as a float32 array.

# %%
import numpy as np


# %% nbgrader={"grade": false, "grade_id": "8c-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def nll(logits, label):
    """-log(softmax(logits)[label]) as a float."""
    ### BEGIN SOLUTION
    # Hint 1: log(exp(z_i) / Σ exp(z)) = z_i - log Σ exp(z): the probability itself is never needed.
    # Hint 2: log Σ exp(z) = m + log Σ exp(z - m), with m the largest of z.
    # Hint 3: Convert to float32 first: z - m must not overflow.
    z = logits.astype(np.float32)
    shifted = z - z.max()
    return float(np.log(np.exp(shifted).sum()) - shifted[label])
    ### END SOLUTION


def gradient(logits, label):
    """softmax(logits) - one_hot(label), a float32 array."""
    ### BEGIN SOLUTION
    z = logits.astype(np.float32)
    powers = np.exp(z - z.max())
    result = powers / powers.sum()
    result[label] -= 1
    return result
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "8c-named", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
far = np.array([0.0, 60000.0], np.float16)
assert nll(far, 0) == float(far[1]), f"{nll(far, 0)}"
assert nll(far, 1) == 0
assert abs(nll(np.zeros(10, np.float16), 3) - np.log(10)) < 1e-6
assert gradient(far, 0).dtype == np.float32
assert np.array_equal(gradient(far, 0), [-1, 1])

# %% nbgrader={"grade": true, "grade_id": "8c-law", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st

logits = st.lists(
    st.floats(-65504, 65504, width=16) | st.floats(-8, 8, width=16), min_size=1, max_size=20
)


@given(logits, st.integers(0, 19))
def test_loss_and_gradient(values, label):
    x, label = np.array(values, np.float16), label % len(values)
    z = x.astype(np.float64) - max(values)
    exact = np.log(np.exp(z).sum()) - z[label]
    assert abs(nll(x, label) - exact) <= 1e-5 * (1 + exact), f"{values}, {label}"
    softmax = np.exp(z) / np.exp(z).sum()
    softmax[label] -= 1
    assert np.abs(gradient(x, label) - softmax).max() <= 1e-5, f"{values}, {label}"


test_loss_and_gradient()
