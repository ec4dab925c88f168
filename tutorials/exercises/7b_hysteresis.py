# %% [markdown]
# # 7b · A rule that forgives
#
# Megatron and DeepSpeed do not halve at once. Write their rule as `next_state(state, overflowed, interval,
# hysteresis)`. A state is a tuple (scale, clean, overflows); `overflows` counts those since the scale last
# grew.
#
# - On overflow: count it; clean steps begin again at 0; the scale is halved if, with this one, at least
#   `hysteresis` overflows have been counted, but it never falls below 1.
# - On a clean step: count it; if that makes `interval` clean steps in a row, double the scale and set both
#   counts to 0.

# %% nbgrader={"grade": false, "grade_id": "7b-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def next_state(state, overflowed, interval, hysteresis):
    """The state (scale, clean, overflows) after one step."""
    ### BEGIN SOLUTION
    # Hint 1: With hysteresis=1 the rule is that of lesson 7, but for the floor.
    # Hint 2: The count of overflows is not set to 0 by halving: further overflows halve at once.
    # Hint 3: On overflow: overflows + 1; scale = max(1, scale / 2) if that is >= hysteresis; clean = 0.
    scale, clean, overflows = state
    if overflowed:
        overflows += 1
        return (max(1.0, scale / 2) if overflows >= hysteresis else scale), 0, overflows
    if clean + 1 == interval:
        return scale * 2, 0, 0
    return scale, clean + 1, overflows
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "7b-named", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
assert next_state((8.0, 5, 0), True, 10, 2) == (8.0, 0, 1), "the first one is forgiven"
assert next_state((8.0, 5, 1), True, 10, 2) == (4.0, 0, 2)
assert next_state((4.0, 0, 2), True, 10, 2) == (2.0, 0, 3), "the third one, too, has no pardon"
assert next_state((4.0, 9, 2), False, 10, 2) == (8.0, 0, 0)
assert next_state((1.0, 0, 5), True, 10, 2)[0] == 1.0

# %% nbgrader={"grade": true, "grade_id": "7b-law", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st

from tinymp.amp import HysteresisLossScale


@given(
    st.integers(0, 30), st.integers(1, 5), st.integers(1, 4), st.lists(st.booleans(), max_size=60)
)
def test_the_same_scales_as_the_library(power, interval, hysteresis, history):
    rule = HysteresisLossScale(2.0**power, growth_interval=interval, hysteresis=hysteresis)
    theirs, mine = rule.start, (2.0**power, 0, 0)
    for overflowed in history:
        theirs = rule.next(theirs, overflowed)
        mine = next_state(mine, overflowed, interval, hysteresis)
        assert mine == (theirs.scale, theirs.clean_steps, theirs.overflows), f"{history}"


test_the_same_scales_as_the_library()
