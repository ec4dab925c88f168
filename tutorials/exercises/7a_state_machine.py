# %% [markdown]
# # 7a · The state machine
#
# Write `next_state(scale, clean, overflowed, interval)`, which returns the next scale and the next number
# of clean steps as a pair: the rule of lesson 7, with one addition. Scales are kept in FP32. Doubling must
# never make the scale infinite there: it stays what it is, and the count begins again.
#
# Halving has no floor: a scale can become zero. That is for others to notice.

# %%
import numpy as np


# %% nbgrader={"grade": false, "grade_id": "7a-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def next_state(scale, clean, overflowed, interval):
    """The scale (a power of two, as a float) and the clean steps after one step."""
    ### BEGIN SOLUTION
    # Hint 1: Three cases: overflow; the last clean step of an interval; any other clean step.
    # Hint 2: The largest power of two in FP32 is 2**127.
    # Hint 3: float(np.float32(scale / 2)) is what FP32 holds: zero below 2**-149.
    if overflowed:
        return float(np.float32(scale / 2)), 0
    if clean + 1 < interval:
        return scale, clean + 1
    return (scale * 2 if scale < 2.0**127 else scale), 0
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "7a-named", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
assert next_state(8.0, 1, True, 3) == (4.0, 0)
assert next_state(8.0, 1, False, 3) == (8.0, 2)
assert next_state(8.0, 2, False, 3) == (16.0, 0)
assert next_state(2.0**127, 0, False, 1) == (2.0**127, 0), "2^128 is infinite in FP32"
assert next_state(2.0**-149, 0, True, 1) == (0.0, 0)

# %% nbgrader={"grade": true, "grade_id": "7a-law", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st

from tinymp.amp import DynamicLossScale


@given(st.integers(-30, 127), st.integers(1, 5), st.lists(st.booleans(), max_size=60))
def test_the_same_scales_as_the_library(power, interval, history):
    rule = DynamicLossScale(init_scale=2.0**power, growth_interval=interval)
    state, scale, clean = rule.start, 2.0**power, 0
    for overflowed in history:
        state = rule.next(state, overflowed)
        scale, clean = next_state(scale, clean, overflowed, interval)
        assert (scale, clean) == (state.scale, state.clean_steps), (
            f"2^{power}, {interval}, {history}"
        )


test_the_same_scales_as_the_library()
