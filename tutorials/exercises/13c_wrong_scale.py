# %% [markdown]
# # 13c · Bug hunt: a scale that does not help
#
# `draft_quantise` should round an array to E4M3 with a scale of its own. On its author's test it is fine.
# On others it returns NaN, zeros, or values far off. It has three mistakes. Write `quantise(x)`: float32
# in, float32 out; each element within 2⁻⁴ of itself, or within 2⁻¹⁸ of the largest magnitude. Arrays are
# never empty; elements are finite, some may be zero, and all of them may be.

# %%
import numpy as np

from tinymp import float8_e4m3fn
from tinymp.formats import decode, encode


def draft_quantise(x):
    scale = np.float32(448) / x.max()
    stored = encode(x * scale, float8_e4m3fn, "nearest_even")
    return decode(stored, float8_e4m3fn) / scale


assert np.array_equal(draft_quantise(np.float32([2.0, 1.0, -0.5])), [2.0, 1.0, -0.5])


# %% nbgrader={"grade": false, "grade_id": "13c-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def quantise(x):
    """x rounded to E4M3 under a scale of its own, as float32."""
    ### BEGIN SOLUTION
    # Hint 1: Try [1, -100], [0, 0] and [1e-38, 5e-39].
    # Hint 2: The largest *magnitude* counts; 448 / 0 is no scale; and 448 / 1e-38 is infinite in FP32.
    # Hint 3: largest = float(np.abs(x).max()) is a float64, and so is all that is computed with it.
    largest = float(np.abs(x).max())
    if largest == 0:
        return np.zeros_like(x)
    scale = 448 / largest
    stored = encode(x.astype(np.float64) * scale, float8_e4m3fn, "nearest_even", saturate=True)
    return (decode(stored, float8_e4m3fn).astype(np.float64) / scale).astype(np.float32)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "13c-named", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
assert np.array_equal(quantise(np.float32([0.0, 0.0])), [0.0, 0.0])
assert np.allclose(quantise(np.float32([1.0, -100.0])), [1.0, -100.0], rtol=2**-4)
assert np.allclose(quantise(np.float32([1.0, 1 / 3])), [1.0, 1 / 3], rtol=2**-4)
assert np.allclose(quantise(np.float32([1e-38, 5e-39])), [1e-38, 5e-39], rtol=2**-4, atol=0)
assert quantise(np.float32([3.0])).dtype == np.float32

# %% nbgrader={"grade": true, "grade_id": "13c-law", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st

sizes = st.floats(-(2.0**100), 2.0**100, width=32) | st.floats(-1, 1, width=32) | st.just(0.0)


@given(st.lists(sizes, min_size=1, max_size=20))
def test_every_element(values):
    x = np.float32(values)
    result = quantise(x)
    assert np.isfinite(result).all(), f"{values}"
    allowed = (
        np.maximum(np.abs(x) * 2.0**-4, np.abs(x).max() * 2.0**-18) * (1 + 2.0**-20) + 2.0**-149
    )
    difference = np.abs(result.astype(np.float64) - x)
    assert (difference <= allowed).all(), f"{values} becomes {result}"


test_every_element()
