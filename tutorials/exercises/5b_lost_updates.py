# %% [markdown]
# # 5b · Which update is lost?
#
# Write `smallest_update(w)`: the smallest positive FP32 number u such that w + u, rounded to FP16 (to
# nearest, ties to even), is not w. w is a positive, finite FP16 number below 32768, perhaps subnormal. Do
# not search: half of the spacing is nearly the answer, and whether it *is* the answer depends on one bit of
# w.

# %%
import numpy as np


# %% nbgrader={"grade": false, "grade_id": "5b-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def smallest_update(w):
    """Smallest positive FP32 number u with float16(w + u) != w."""
    ### BEGIN SOLUTION
    # Hint 1: np.spacing(np.float16(w)) is the distance to the next number above. An update of exactly half of
    # it lands on a tie.
    # Hint 2: A tie goes to the neighbour whose last bit is 0. If that is w, half a spacing is lost, and the
    # next larger FP32 number is needed.
    # Hint 3: The last bit of w is np.float16(w).view(np.uint16) & 1; np.nextafter(np.float32(half),
    # np.float32(np.inf)) is the next FP32 number.
    w = np.float16(w)
    half = np.float32(np.spacing(w)) / np.float32(2)
    if int(w.view(np.uint16)) % 2 == 1:
        return half
    return np.nextafter(half, np.float32(np.inf))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "5b-named", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
assert smallest_update(1.0) == np.nextafter(np.float32(2**-11), np.float32(np.inf)), (
    "1 is even: a tie is lost"
)
assert smallest_update(1 + 2**-10) == np.float32(2**-11), "its last bit is 1: a tie moves it"
assert isinstance(smallest_update(1.0), np.float32)

# %% nbgrader={"grade": true, "grade_id": "5b-law", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st

from tinymp import float16
from tinymp.formats import decode, encode


def added(w, u):
    """w + u, rounded once to FP16; the sum is exact in float64."""
    return float(decode(encode(np.float64(w) + np.float64(u), float16), float16))


@given(st.floats(2.0**-24, 32752, width=16))
def test_it_is_the_smallest(w):
    u = smallest_update(w)
    assert added(w, u) > w, f"{w} + {u} is still {w}"
    less = np.nextafter(np.float32(u), np.float32(0))
    assert added(w, less) == w, f"{less} is smaller and moves {w}, too"


test_it_is_the_smallest()
