# %% [markdown]
# # 2b · Stochastic rounding, proved exactly
#
# Write `stochastic_half(x, random)`: x rounded stochastically to a multiple of 1/2, where `random` is an
# integer from 0 to 2¹⁶ − 1, each equally likely. x is a float, a multiple of 2⁻¹⁷, of either sign. The
# result is the neighbour below or above; and over all 65,536 values of `random`, the *average* of the
# results must be x, exactly.

# %%
import math

from hypothesis import given
from hypothesis import strategies as st


# %% nbgrader={"grade": false, "grade_id": "2b-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def stochastic_half(x, random):
    """x rounded to a multiple of 1/2, up with probability (x - below) / (1/2)."""
    ### BEGIN SOLUTION
    # Hint 1: In units of 1/2, x is a whole number plus a part from 0 to 1. Up with probability part.
    # Hint 2: part is a multiple of 2**-16. How many of the 65,536 values of random must round up?
    # Hint 3: "Add random bits, then cut": floor(2 * x + random / 65536) / 2. Why is floor right for
    # negative numbers, too, where int() would not be?
    return math.floor(2 * x + random / 65536) / 2
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "2b-neighbours", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
numbers = st.integers(-(2**20), 2**20).map(lambda n: n / 2**17)
draws = st.integers(0, 2**16 - 1)


@given(numbers, draws)
def test_is_a_neighbour(x, random):
    result = stochastic_half(x, random)
    assert result * 2 == math.floor(result * 2), f"{result} is not a multiple of 1/2"
    assert abs(result - x) < 0.5, f"{x} gives {result}"


@given(st.integers(-20, 20), draws)
def test_multiples_stay(n, random):
    assert stochastic_half(n / 2, random) == n / 2, f"{n / 2} needs no rounding"


test_is_a_neighbour()
test_multiples_stay()

# %% nbgrader={"grade": true, "grade_id": "2b-exact", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
for n in (1, 65535, 40000, -1, -12345, 3 * 65536 + 7):
    x = n / 2**17
    mean = sum(stochastic_half(x, random) for random in range(2**16)) / 2**16
    assert mean == x, f"the average over all draws is {mean}, not {x}: biased"
### BEGIN HIDDEN TESTS
for n in (-98765, 54321):
    assert sum(stochastic_half(n / 2**17, r) for r in range(2**16)) == n / 2
### END HIDDEN TESTS
