# %% [markdown]
# # 13a · A scale from the past
#
# Write a class `DelayedScale(length)`, whose method `next(largest)` takes the largest magnitude of this
# step's tensor and returns the scale to use *in this step*: the largest power of two s such that (the
# largest magnitude of the last `length` earlier steps) · s does not exceed 448. The magnitude of this step
# counts from the next step on. In the first step, and while all magnitudes so far are zero, the scale is 1.

# %%
import math
from collections import deque


# %% nbgrader={"grade": false, "grade_id": "13a-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
class DelayedScale:
    ### BEGIN SOLUTION
    # Hint 1: collections.deque(maxlen=length) forgets the oldest by itself.
    # Hint 2: Compute the scale from the history first, and append afterwards.
    # Hint 3: math.frexp(448 / m) gives (f, e) with 448 / m = f · 2^e, 0.5 <= f < 1, so the power is e - 1. To be safe
    # from rounding of the quotient, compare m · s with 448, which is exact.
    def __init__(self, length):
        self.history = deque(maxlen=length)

    def next(self, largest):
        """The scale for this step, whose largest magnitude is given."""
        known = max(self.history, default=0.0)
        self.history.append(largest)
        if known == 0:
            return 1.0
        scale = 2.0 ** math.frexp(448 / known)[1]
        while known * scale > 448:
            scale /= 2
        return scale

    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "13a-named", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
scale = DelayedScale(2)
assert scale.next(1.0) == 1.0, "nothing is known in the first step"
assert scale.next(100.0) == 256.0, "known: 1"
assert scale.next(1.0) == 4.0, "known: 1 and 100"
assert scale.next(1.0) == 4.0, "known: 100 and 1"
assert scale.next(448.0) == 256.0, "100 is forgotten"
assert scale.next(0.0) == 1.0, "448 fits exactly"

# %% nbgrader={"grade": true, "grade_id": "13a-law", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(1, 5), st.lists(st.just(0.0) | st.floats(1e-20, 1e20), max_size=30))
def test_the_largest_power_that_fits(length, magnitudes):
    rule = DelayedScale(length)
    for step, largest in enumerate(magnitudes):
        scale = rule.next(largest)
        known = max(magnitudes[max(0, step - length) : step], default=0.0)
        if known == 0:
            assert scale == 1.0
        else:
            assert math.frexp(scale)[0] == 0.5, f"{scale} is no power of two"
            assert known * scale <= 448 < known * scale * 2, f"known {known}, scale {scale}"


test_the_largest_power_that_fits()
