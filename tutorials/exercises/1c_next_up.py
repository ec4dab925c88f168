# %% [markdown]
# # 1c · Bug hunt: the next number
#
# A colleague wrote `next_up_draft` below, which should return the smallest FP16 number above x. "The next
# number is the next word", says the comment, and all the tests that the colleague wrote pass.
#
# Find the inputs for which it is wrong, and write `next_up` so that it is right for every FP16 input:
#
# - NaN gives NaN, and infinity gives infinity: there is nothing above;
# - −infinity gives −65504, the lowest finite number;
# - both zeros give the smallest positive number.

# %%
import math

import numpy as np


def next_up_draft(x):
    word = np.float16(x).view(np.uint16)
    return float(np.uint16(word + 1).view(np.float16))  # the next number is the next word


assert next_up_draft(1.0) == 1 + 2**-10
assert next_up_draft(2047.0) == 2048.0
assert next_up_draft(65504.0) == math.inf


# %% nbgrader={"grade": false, "grade_id": "1c-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def next_up(x):
    """The smallest FP16 number above x, as a float."""
    ### BEGIN SOLUTION
    # Hint 1: Print next_up_draft(-1.0), next_up_draft(-0.0) and next_up_draft(float("inf")).
    # Hint 2: For negative numbers a larger word means a lower value.
    # Hint 3: Treat NaN and infinity first, then both zeros (x == 0 is true for -0.0, too); what is left
    # adds 1 to the word of a positive number and subtracts 1 from the word of a negative one.
    x = np.float16(x)
    if np.isnan(x) or x == np.inf:
        return float(x)
    if x == 0:
        return 2.0**-24
    word = int(x.view(np.uint16)) + (1 if x > 0 else -1)
    return float(np.uint16(word).view(np.float16))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "1c-named", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
assert next_up(1.0) == 1 + 2**-10
assert next_up(65504.0) == math.inf
assert next_up(-1.0) == -1 + 2**-11, "above -1 the spacing is half as wide as below"
assert next_up(0.0) == next_up(-0.0) == 2.0**-24
assert next_up(math.inf) == math.inf and math.isnan(next_up(math.nan))
assert next_up(-math.inf) == -65504.0

# %% nbgrader={"grade": true, "grade_id": "1c-every", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st


@given(st.floats(width=16, allow_nan=False, allow_infinity=False))
def test_nothing_lies_between(x):
    above = next_up(x)
    assert above > x, f"next_up({x}) is {above}, which is not above it"
    with np.errstate(over="ignore"):  # the middle of 65504 and 65536 is infinite
        middle = np.float16((x + min(above, 65536.0)) / 2)
    assert middle in (np.float16(x), np.float16(above)), f"{middle} lies between {x} and {above}"


test_nothing_lies_between()
### BEGIN HIDDEN TESTS
numbers = np.unique(np.arange(65536, dtype=np.uint16).view(np.float16))
numbers = numbers[~np.isnan(numbers)]
assert [next_up(x) for x in numbers[:-1]] == list(numbers[1:])
### END HIDDEN TESTS
