# %% [markdown]
# # 3a · A sum that gives back what it lost
#
# Write `compensated_sum(numbers)`: the sum of FP16 numbers in which *every* operation is an FP16 operation,
# `add(x, y)` below. (Subtract with `add(x, -y)`; changing a sign is exact.) The error must stay within 2.5u
# times the sum of magnitudes, u = 2⁻¹¹, however many terms there are (up to 500 here), where a plain loop
# loses everything below half a spacing.

# %%
import numpy as np


def add(x, y):
    """x + y, rounded to FP16: the only arithmetic that you may use."""
    return np.float16(x) + np.float16(y)


# %% nbgrader={"grade": false, "grade_id": "3a-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def compensated_sum(numbers):
    """Sum of FP16 numbers, in FP16, with compensation."""
    ### BEGIN SOLUTION
    # Hint 1: After total = add(total, x), how much of x arrived? The new total minus the old one says so.
    # Hint 2: What is missing is x minus what arrived. Add it to the next term before that is added.
    # Hint 3: With raised = add(total, term), what arrived is add(raised, -total); take that from the term.
    # This is Kahan's algorithm: two numbers travel through the loop, the total and what was lost.
    total, lost = np.float16(0), np.float16(0)
    for x in numbers:
        term = add(x, lost)
        raised = add(total, term)
        lost = add(term, -add(raised, -total))
        total = raised
    return total
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "3a-ones", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
assert compensated_sum([np.float16(1)] * 4096) == 4096, "4,096 ones"
assert compensated_sum([]) == 0
assert isinstance(compensated_sum([np.float16(2)]), np.float16), "the result is an FP16 number"

calls, honest_add = [], add


def add(x, y):
    calls.append((x, y))
    return honest_add(x, y)


compensated_sum([np.float16(1)] * 100)
assert len(calls) >= 300, (
    f"{len(calls)} calls of add for 100 terms: what adds and subtracts the rest?"
)
add = honest_add

# %% nbgrader={"grade": true, "grade_id": "3a-bound", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st

terms = st.lists(st.floats(-50, 50, width=16), max_size=500)


@given(terms)
def test_error_within_the_bound(numbers):
    exact, magnitudes = sum(numbers), sum(abs(x) for x in numbers)
    error = abs(float(compensated_sum(numbers)) - exact)
    # 2u + 2nu² for n = 500 terms (Higham 2002, section 4.3), and rounding to subnormal numbers is exact.
    assert error <= 2.5 * 2**-11 * magnitudes, (
        f"off by {error} for a sum of magnitudes {magnitudes}"
    )


test_error_within_the_bound()
small = np.array([1024.0] + [0.25] * 500, np.float16)
assert abs(float(compensated_sum(small)) - 1149) <= 2.5 * 2**-11 * 1149, (
    f"500 quarters added to 1024 give {compensated_sum(small)}; each is below half a spacing"
)
### BEGIN HIDDEN TESTS
few = np.array([2048.0] + [1.0] * 400, np.float16)
assert compensated_sum(few) == 2448
### END HIDDEN TESTS
