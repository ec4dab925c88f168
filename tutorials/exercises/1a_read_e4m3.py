# %% [markdown]
# # 1a · Read an 8-bit float
#
# Lesson 1 has a decoder for formats of IEEE 754's kind. E4M3FN, an 8-bit format of today's GPUs, is not
# quite of that kind: it has 4 exponent bits (bias 7) and 3 significand bits, no infinities, and a single
# NaN pattern: all exponent and significand bits ones, with either sign. What would be infinity elsewhere is
# an ordinary number.
#
# Write `e4m3_value(word)`, which returns the value of a word from 0 to 255 as a Python float. Zero keeps
# its sign: the word 128 is −0.0.

# %%
import math


# %% nbgrader={"grade": false, "grade_id": "1a-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def e4m3_value(word):
    """The value of an E4M3FN word, 0 to 255, as a float."""
    ### BEGIN SOLUTION
    # Hint 1: Start from `value_of` of lesson 1 with exponent_bits=4 and significand_bits=3. Which of its
    # lines is wrong for this format?
    # Hint 2: Only one line is: the one about the exponent field of all ones. NaN needs the other field to
    # be all ones, too.
    # Hint 3: word & 127 is the word without its sign. It is 127 for NaN. Treat everything else as zero,
    # subnormal or normal.
    sign = -1.0 if word & 128 else 1.0
    exponent, fraction = (word & 127) >> 3, (word & 7) / 8
    if word & 127 == 127:
        return math.nan
    if exponent == 0:
        return sign * fraction * 2.0**-6
    return sign * (1 + fraction) * 2.0 ** (exponent - 7)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "1a-values", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
assert e4m3_value(0b0_0111_000) == 1.0, "exponent field 7 is exponent 0, so this is 1.0"
assert e4m3_value(0b0_0111_100) == 1.5
assert e4m3_value(0b1_1000_000) == -2.0, "the leading bit is the sign"
assert e4m3_value(0b0_0000_001) == 2.0**-9, "the smallest subnormal number is 2^-6 / 8"
assert math.copysign(1.0, e4m3_value(128)) == -1.0, "zero keeps its sign"

# %% nbgrader={"grade": true, "grade_id": "1a-top", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
assert e4m3_value(0b0_1111_110) == 448.0, "the largest number: the last exponent field is in use"
assert math.isnan(e4m3_value(0b0_1111_111)) and math.isnan(e4m3_value(0b1_1111_111))

# %% nbgrader={"grade": true, "grade_id": "1a-all", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tinymp.formats import decode


@given(st.integers(0, 127))
def test_the_sign_bit_only_changes_the_sign(word):
    plus, minus = e4m3_value(word), e4m3_value(word + 128)
    assert plus == -minus or (math.isnan(plus) and math.isnan(minus)), f"words {word}, {word + 128}"


@given(st.integers(8, 110))
def test_one_exponent_up_is_twice_the_value(word):
    assert e4m3_value(word + 8) == 2 * e4m3_value(word), f"words {word} and {word + 8}"


test_the_sign_bit_only_changes_the_sign()
test_one_exponent_up_is_twice_the_value()
### BEGIN HIDDEN TESTS
everything = [e4m3_value(word) for word in range(256)]
expected = decode(np.arange(256, dtype=np.uint8), "float8_e4m3fn")
assert np.array_equal(np.array(everything), expected, equal_nan=True), (
    "some word of the 256 is wrong"
)
### END HIDDEN TESTS
