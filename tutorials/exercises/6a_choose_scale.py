# %% [markdown]
# # 6a · Choose a scale
#
# Write `choose_scale(gradients, headroom)`: the largest loss scale, a power of two, at which no gradient
# overflows FP16 even if all of them were 2^headroom times larger. `gradients` is a non-empty float64 array
# with at least one value that is not zero; `headroom` is a whole number, 0 or more. Overflow to infinity
# begins at 65520 under rounding to nearest. The scale may be below 1.

# %%
import math

import numpy as np


# %% nbgrader={"grade": false, "grade_id": "6a-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def choose_scale(gradients, headroom):
    """The largest 2.0**k such that max |gradient| * 2**headroom * 2.0**k is below 65520."""
    ### BEGIN SOLUTION
    # Hint 1: Only the largest magnitude matters. What is log2(65520 / largest)?
    # Hint 2: Round the logarithm down. Is the result right if largest * scale is exactly 65520?
    # Hint 3: A computed logarithm may be off by a little. Begin with a guess from math.frexp and correct it by
    # comparing products, which are exact: powers of two.
    largest = float(np.abs(gradients).max()) * 2.0**headroom
    scale = 2.0 ** (17 - math.frexp(largest)[1])
    while largest * scale >= 65520:
        scale /= 2
    return scale
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "6a-named", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
assert choose_scale(np.array([1.0, -0.5]), 0) == 2.0**15, "2^16 itself is infinite in FP16"
assert choose_scale(np.array([-1.0, 0.5]), 3) == 2.0**12
assert choose_scale(np.array([0.0, 1e-6]), 0) == 2.0**35
assert choose_scale(np.array([65520.0]), 0) == 0.5
assert choose_scale(np.array([65519.0]), 0) == 1.0

# %% nbgrader={"grade": true, "grade_id": "6a-law", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st

sizes = st.floats(1e-30, 1e30).flatmap(lambda x: st.sampled_from([x, -x]))


@given(st.lists(sizes, min_size=1, max_size=8), st.integers(0, 6))
def test_the_largest_that_fits(values, headroom):
    scale = choose_scale(np.array(values), headroom)
    assert math.frexp(scale)[0] == 0.5, f"{scale} is no power of two"
    top = max(abs(v) for v in values) * 2.0**headroom
    assert top * scale < 65520, f"{top} overflows at {scale}"
    assert top * scale * 2 >= 65520, f"{scale * 2} would fit, too"


test_the_largest_that_fits()
