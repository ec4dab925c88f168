# %% [markdown]
# # 2a · Round to nearest, ties to even
#
# Write `to_bfloat16(word)`: the BF16 word of an FP32 word, both Python integers, rounded to nearest with
# ties to even. Every kind of number must come out right:
#
# - what is too large for BF16 becomes infinity; infinities stay what they are;
# - a NaN stays a NaN (any BF16 NaN will do), with the sign it had;
# - subnormal numbers and both zeros need no special case, if you do it well.

# %%
import math

import numpy as np


def value(bfloat16_word):
    """The value of a BF16 word."""
    return float(np.uint32(bfloat16_word << 16).view(np.float32))


def word_of(number):
    """The FP32 word of a number."""
    return int(np.float32(number).view(np.uint32))


# %% nbgrader={"grade": false, "grade_id": "2a-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def to_bfloat16(word):
    """The BF16 word, 0 to 65535, nearest to an FP32 word, 0 to 2**32 - 1."""
    ### BEGIN SOLUTION
    # Hint 1: The table in lesson 2 has the recipe: add 0x7fff plus the last bit that is kept, then shift.
    # Hint 2: Try it on 0x7f800001 and on 0x7fffffff. One becomes infinity, the other carries into the sign.
    # Hint 3: A word is a NaN if word & 0x7fffffff is above 0x7f800000. For those, cut, and set a bit of the
    # significand that is kept, such as 0x40.
    if word & 0x7FFFFFFF > 0x7F800000:
        return word >> 16 | 0x40
    return word + 0x7FFF + (word >> 16 & 1) >> 16
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "2a-numbers", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
assert value(to_bfloat16(word_of(1.0))) == 1.0
assert value(to_bfloat16(word_of(1.001))) == 1.0
assert value(to_bfloat16(word_of(1.007))) == 1.0078125
assert value(to_bfloat16(word_of(1 + 2**-8))) == 1.0, "a tie goes to the even neighbour: down here"
assert value(to_bfloat16(word_of(1 + 3 * 2**-8))) == 1.015625, "and up here"
assert value(to_bfloat16(word_of(3.4e38))) == math.inf, "beyond the largest number by half an ulp"
assert to_bfloat16(0x80000000) == 0x8000, "-0 stays -0"
assert to_bfloat16(0x00018000) == 2, "subnormal: a tie between the words 1 and 2"

# %% nbgrader={"grade": true, "grade_id": "2a-nan", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
for nan in (0x7F800001, 0x7FFFFFFF, 0xFFC00000, 0xFFFFFFFF):
    result = to_bfloat16(nan)
    assert 0 <= result <= 0xFFFF, f"{nan:#x} gives {result:#x}, which is no 16-bit word"
    assert math.isnan(value(result)), f"{nan:#x} is a NaN, but gives {value(result)}"
    assert result >> 15 == nan >> 31, f"{nan:#x} loses its sign"

# %% nbgrader={"grade": true, "grade_id": "2a-laws", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st

numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(numbers)
def test_no_number_is_nearer(x):
    result = to_bfloat16(word_of(x))
    error = abs(min(max(value(result), -(2.0**128)), 2.0**128) - x)
    for other in (result - 1, result + 1):
        neighbour = value(other & 0xFFFF)
        if math.isfinite(neighbour):
            assert error <= abs(neighbour - x), f"{x} gives {value(result)}; {neighbour} is nearer"


@given(numbers, numbers)
def test_order_is_kept(x, y):
    x, y = sorted([x, y])
    assert value(to_bfloat16(word_of(x))) <= value(to_bfloat16(word_of(y))), f"{x} <= {y}"


test_no_number_is_nearer()
test_order_is_kept()
### BEGIN HIDDEN TESTS
from tinymp import bfloat16
from tinymp.formats import encode
from tinymp.testing import aimed_values

aimed = aimed_values(5, bfloat16)
aimed = aimed[~np.isnan(aimed)]
mine = np.array([to_bfloat16(int(w)) for w in aimed.view(np.uint32)], np.uint16)
assert np.array_equal(mine, encode(aimed, bfloat16, "nearest_even"))
### END HIDDEN TESTS
