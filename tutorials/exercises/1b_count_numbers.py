# %% [markdown]
# # 1b · How many numbers lie between?
#
# Write `count_between(a, b)`: how many FP16 numbers x satisfy a ≤ x < b? The two ends are finite FP16
# numbers of either sign with a ≤ b. −0 and +0 are one number, so they count once.
#
# Do not try numbers one by one: the words do the counting for you.

# %%
import numpy as np


def word_of(x):
    """The FP16 word of a number, as a Python integer."""
    return int(np.float16(x).view(np.uint16))


# %% nbgrader={"grade": false, "grade_id": "1b-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def count_between(a, b):
    """Number of FP16 numbers in [a, b)."""

    ### BEGIN SOLUTION
    # Hint 1: For positive numbers the words are in the order of the values, so the answer is a difference
    # of two words. Try that first.
    # Hint 2: Give every number a place on one line: 0 is at place 0, the smallest positive number at place
    # 1, the largest negative number at place -1. What is the place of a negative number?
    # Hint 3: A negative word is 32768 plus the word of its magnitude, so its place is 32768 - word. That is
    # 0 for -0, as it should be.
    def place(x):
        word = word_of(x)
        return word if word < 32768 else 32768 - word

    return place(b) - place(a)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "1b-positive", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
assert count_between(1, 2) == 1024, "one binade has 2^10 numbers"
assert count_between(1024, 2048) == 1024, "each binade has as many"
assert count_between(0, 2.0**-14) == 1024, "zero and the subnormal numbers"
assert count_between(3, 3) == 0

# %% nbgrader={"grade": true, "grade_id": "1b-signs", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st

halves = st.floats(width=16, allow_nan=False, allow_infinity=False)


@given(halves, halves, halves)
def test_counts_add_up(a, b, c):
    a, b, c = sorted([a, b, c])
    whole, parts = count_between(a, c), count_between(a, b) + count_between(b, c)
    assert whole == parts, f"[{a}, {c}) has {whole} numbers, but its two parts at {b} have {parts}"


@given(halves, halves)
def test_mirror(a, b):
    a, b = sorted([a, b])
    # Mirrored, [a, b) becomes (-b, -a]: one end more, the other end less.
    assert count_between(-b, -a) == count_between(a, b), f"a={a}, b={b}"


assert count_between(-1, 1) == 2 * count_between(0, 1)
assert count_between(-0.0, 0.0) == 0, "the two zeros are one number"
test_counts_add_up()
test_mirror()
### BEGIN HIDDEN TESTS
assert count_between(-65504, 65504) == 2 * 31743
assert count_between(-(2.0**-24), 2.0**-24) == 2
### END HIDDEN TESTS
