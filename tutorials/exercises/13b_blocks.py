# %% [markdown]
# # 13b · A power of two for every block
#
# The microscaling formats (MX) store 32 FP8 elements with one shared power of two. Write `pack(x)` for a
# float32 array whose length is a multiple of 32. It returns two arrays: `powers`, an integer for each
# block, and `words`, uint8 E4M3 words of x · 2^(−power), saturating, to nearest even. The power of a block
# is floor(log₂ of its largest magnitude) − 8, and 0 for a block of zeros. (8 is E4M3's largest exponent.)
# Then write `unpack(powers, words)`, the float32 values.

# %%
import numpy as np

from tinymp import float8_e4m3fn
from tinymp.formats import decode, encode


# %% nbgrader={"grade": false, "grade_id": "13b-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def pack(x):
    """Powers (one for each 32 elements, integers) and E4M3 words of a float32 array."""
    ### BEGIN SOLUTION
    # Hint 1: x.reshape(-1, 32) has a row for each block. np.frexp gives exponents without rounding.
    # Hint 2: frexp's exponent is floor(log2) + 1. np.ldexp(x, -power) scales exactly, barring underflow.
    # Hint 3: encode(scaled, float8_e4m3fn, "nearest_even", saturate=True), and back with np.ldexp(decode(...), power).
    blocks = x.reshape(-1, 32)
    largest = np.abs(blocks).max(axis=1)
    powers = np.where(largest > 0, np.frexp(largest)[1] - 1 - 8, 0)
    scaled = np.ldexp(blocks, -powers[:, None]).astype(np.float32)
    return powers, encode(scaled, float8_e4m3fn, "nearest_even", saturate=True).reshape(x.shape)
    ### END SOLUTION


def unpack(powers, words):
    """The float32 values of what pack returned."""
    ### BEGIN SOLUTION
    values = decode(words.reshape(-1, 32), float8_e4m3fn)
    return np.ldexp(values, powers[:, None]).astype(np.float32).reshape(words.shape)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "13b-named", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
powers, words = pack(np.float32([448.0] + [1.0] * 31 + [0.0] * 32))
assert list(powers) == [0, 0] and words.dtype == np.uint8 and words.shape == (64,)
assert np.array_equal(unpack(powers, words), [448.0] + [1.0] * 31 + [0.0] * 32)
powers, words = pack(np.float32([2.0**-20] * 32))
assert list(powers) == [-28], "the largest magnitude goes to 2^8"
assert np.array_equal(unpack(powers, words), np.float32([2.0**-20] * 32))
powers, _ = pack(np.float32([1.0] * 32 + [0.0] * 31 + [-(2.0**-10)]))
assert list(powers) == [-8, -18], "each block has a power of its own"
powers, words = pack(np.float32([500.0] * 32))
assert np.array_equal(unpack(powers, words), np.float32([448.0] * 32)), "saturates"

# %% nbgrader={"grade": true, "grade_id": "13b-law", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(-60, 60))
def test_error_of_every_element(seed, count, power):
    rng = np.random.default_rng(seed)
    blocks = rng.standard_normal((count, 32))
    x = np.ldexp(blocks, power + rng.integers(-20, 20, (count, 1))).astype(np.float32).ravel()
    powers, words = pack(x)
    result = unpack(powers, words)
    largest = np.abs(x).reshape(-1, 32).max(axis=1).repeat(32)
    # Half an ulp of the element, or half of E4M3's smallest spacing in its block; an eighth where it saturates.
    bound = np.maximum(np.abs(x) * 2.0**-4, np.exp2(np.floor(np.log2(largest)) - 8) * 2.0**-10)
    saturated = np.abs(result) == np.ldexp(np.float32(448), powers.repeat(32))
    assert (np.abs(result - x) <= np.where(saturated, np.abs(x) / 8, bound)).all(), f"seed {seed}"
    again = pack(result)
    assert np.array_equal(again[0], powers) and np.array_equal(again[1], words), (
        "packing twice changes nothing"
    )


test_error_of_every_element()
