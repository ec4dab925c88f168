# %% [markdown]
# # 8a · A softmax in FP16 alone
#
# Write `softmax16(x)` for a one-dimensional NumPy array of float16. Every array that you compute must be
# float16, too (NumPy keeps the type by itself, if you do not widen it), and x stays as it is. The result
# must never be NaN for finite inputs, and each element must be within 2⁻⁹ of the exact value. There are at
# most 64 elements.
#
# For the sum you may use `x.sum(dtype=np.float16)`, and nothing wider.

# %%
import numpy as np


# %% nbgrader={"grade": false, "grade_id": "8a-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def softmax16(x):
    """exp(x) / sum(exp(x)) of a float16 array, in float16."""
    ### BEGIN SOLUTION
    # Hint 1: For which x is exp(x) infinite in FP16? A constant may be subtracted from all of x: what happens
    # to the quotient?
    # Hint 2: Subtract the largest element. Exponents are then 0 or negative, and one power is 1.
    # Hint 3: x - x.max() can be infinite itself, when x has both 65504 and -65504: exp(-inf) is 0, which is
    # right, but NumPy warns; np.errstate(over="ignore") is the place for that.
    with np.errstate(over="ignore", under="ignore"):
        powers = np.exp(x - x.max())
        return powers / powers.sum(dtype=np.float16)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "8a-named", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
result = softmax16(np.array([5.0, 12.0], np.float16))
assert result.dtype == np.float16, "float16 in, float16 out"
assert np.allclose(result, [0.00091105, 0.99908895], atol=2**-9)
assert np.allclose(softmax16(np.array([1000.0, 1000.0], np.float16)), 0.5)


class Narrow(np.ndarray):
    """An array that objects when a wider one is made from it."""

    def __array_finalize__(self, source):
        assert self.dtype.kind != "f" or self.dtype == np.float16, f"an array of {self.dtype}"


softmax16(np.array([1.0, 2.0], np.float16).view(Narrow))

# %% nbgrader={"grade": true, "grade_id": "8a-law", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st

logits = st.lists(
    st.floats(-65504, 65504, width=16) | st.floats(-8, 8, width=16), min_size=1, max_size=64
)


@given(logits)
def test_near_the_exact_value(values):
    x = np.array(values, np.float16)
    exact = np.exp(x.astype(np.float64) - max(values))
    exact /= exact.sum()
    result = softmax16(x)
    assert np.array_equal(x, np.array(values, np.float16)), "the argument was changed"
    assert not np.isnan(result).any(), f"NaN for {values}"
    assert np.abs(result - exact).max() <= 2**-9, (
        f"off by {np.abs(result - exact).max()} for {values}"
    )


test_near_the_exact_value()
