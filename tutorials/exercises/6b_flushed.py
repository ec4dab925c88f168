# %% [markdown]
# # 6b · Predict what is flushed
#
# Write `flushed_share(gradients, scale, rounding)`: of the gradients that are not zero, the share that FP16
# turns into zero after scaling. `gradients` are float64, `scale` is a power of two, `rounding` is
# `"nearest_even"` or `"toward_zero"`. Predict it from the thresholds; do not convert to FP16.

# %%
import numpy as np


# %% nbgrader={"grade": false, "grade_id": "6b-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def flushed_share(gradients, scale, rounding):
    """Share of the non-zero gradients that are zero in FP16 when scaled; 0.0 if there are none."""
    ### BEGIN SOLUTION
    # Hint 1: What is the smallest magnitude that survives under each rounding?
    # Hint 2: Toward zero, 2^-24 survives and everything below does not. To nearest, everything above 2^-25
    # survives; 2^-25 itself is a tie.
    # Hint 3: Leave zeros out of both counts, and mind the case in which nothing is left.
    scaled = np.abs(gradients[gradients != 0]) * scale
    if scaled.size == 0:
        return 0.0
    lost = scaled <= 2.0**-25 if rounding == "nearest_even" else scaled < 2.0**-24
    return float(lost.mean())
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "6b-named", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
some = np.array([0.0, 2.0**-24, 2.0**-25, 1.5 * 2.0**-25, -(2.0**-30), 1.0])
assert flushed_share(some, 1.0, "nearest_even") == 2 / 5
assert flushed_share(some, 1.0, "toward_zero") == 3 / 5
assert flushed_share(some, 2.0**6, "toward_zero") == 0.0
assert flushed_share(np.zeros(3), 1.0, "nearest_even") == 0.0

# %% nbgrader={"grade": true, "grade_id": "6b-law", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st

from tinymp import float16
from tinymp.formats import decode, encode


@given(
    st.lists(
        st.floats(-1e-3, 1e-3) | st.sampled_from([0.0, 2.0**-24, 2.0**-25, -(2.0**-25)]), min_size=1
    ),
    st.integers(-4, 20),
    st.sampled_from(["nearest_even", "toward_zero"]),
)
def test_agrees_with_the_format(values, power, rounding):
    gradients = np.array(values)
    stored = decode(encode(gradients * 2.0**power, float16, rounding), float16)
    present = gradients != 0
    expected = float((stored[present] == 0).mean()) if present.any() else 0.0
    assert flushed_share(gradients, 2.0**power, rounding) == expected, (
        f"{values} at 2^{power}, {rounding}"
    )


test_agrees_with_the_format()
