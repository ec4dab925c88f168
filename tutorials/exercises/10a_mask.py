# %% [markdown]
# # 10a · Bug hunt: a mask
#
# Attention hides some positions by adding a large negative number to their scores before the softmax.
# `draft_attend` adds −10⁹, as many FP32 programs do, and works on FP16 scores. It gives NaN for a row in
# which *all* positions are hidden (padding, say), and it rounds to FP16 after each of its steps.
#
# Write `attend(scores, hidden)`: float16 scores (n, m) and a boolean array of the same shape; the result is
# the softmax over the visible positions of each row, in float16. It is rounded once: at most 2⁻¹² away from
# the exact value (and a hair). Hidden positions get exactly 0, and a row that is hidden altogether gets
# zeros.

# %%
import numpy as np


def draft_attend(scores, hidden):
    with np.errstate(over="ignore", invalid="ignore"):
        masked = scores + np.where(hidden, np.float16(-1e9), np.float16(0))
        powers = np.exp(masked - masked.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True, dtype=np.float16)


# %% nbgrader={"grade": false, "grade_id": "10a-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def attend(scores, hidden):
    """Softmax over the visible positions of each row, float16."""
    ### BEGIN SOLUTION
    # Hint 1: What is -1e9 in FP16, and what is infinity minus infinity?
    # Hint 2: Compute in float32, and set the powers of hidden positions to zero instead of adding anything.
    # Hint 3: Take the largest visible score of each row (np.where(hidden, -inf, scores).max), replace -inf by 0
    # where nothing is visible, and divide by np.maximum(sum, tiny).
    wide = scores.astype(np.float32)
    largest = np.where(hidden, -np.inf, wide).max(axis=1, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, 0)
    powers = np.where(hidden, 0, np.exp(np.minimum(wide - largest, 0)))
    total = powers.sum(axis=1, keepdims=True)
    return (powers / np.where(total > 0, total, 1)).astype(np.float16)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "10a-named", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
scores = np.float16([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
hidden = np.array([[False, False, True], [True, True, True]])
result = attend(scores, hidden)
assert result.dtype == np.float16
assert np.allclose(result[0], [0.26894, 0.73106, 0], atol=2**-11)
assert np.array_equal(result[1], [0, 0, 0]), f"a hidden row gives {result[1]}"

# %% nbgrader={"grade": true, "grade_id": "10a-law", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import example, given
from hypothesis import strategies as st

sizes = st.floats(-8, 8, width=16) | st.floats(-60000, 60000, width=16)
rows = st.lists(st.tuples(sizes, st.booleans()), min_size=1, max_size=12)


@given(rows)
@example([(-60000.0, False), (5.0, True)])
@example([(0.5, False), (0.0, False), (1.75, True)])
def test_a_row(row):
    scores = np.float16([[score for score, _ in row]])
    hidden = np.array([[is_hidden for _, is_hidden in row]])
    result = attend(scores, hidden)[0]
    visible = scores[0].astype(np.float64)[~hidden[0]]
    assert (result[hidden[0]] == 0).all(), f"{row}"
    if visible.size:
        exact = np.exp(visible - visible.max())
        assert np.abs(result[~hidden[0]] - exact / exact.sum()).max() <= 1.01 * 2**-12, f"{row}"


test_a_row()
