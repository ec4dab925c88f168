# %% [markdown]
# # 2c · Write the test that breaks them
#
# Below are five encoders from FP32 to BF16. Each should round to nearest, ties to even, keep NaN a NaN and
# give infinity where numbers are too large; each has one bug. On ordinary numbers most of them agree with
# the right one, so a test with random numbers would pass.
#
# Write `suspects()`: a list of at most six FP32 words (integers) on which every one of the five gives
# something wrong for at least one word. "Wrong" is: another BF16 word than the reference; of NaNs, any is
# right.

# %%
import numpy as np

from tinymp.formats import bfloat16, encode


def half_up(word):
    return word + 0x8000 >> 16 & 0xFFFF if word & 0x7FFFFFFF <= 0x7F800000 else 0x7FC0


def truncating(word):
    return word >> 16 if word & 0x7FFFFFFF <= 0x7F800000 else 0x7FC0


def careless_with_nan(word):
    return word + 0x7FFF + (word >> 16 & 1) >> 16 & 0xFFFF


def saturating(word):
    if word & 0x7FFFFFFF > 0x7F800000:
        return 0x7FC0
    rounded = word + 0x7FFF + (word >> 16 & 1) >> 16
    too_large = rounded & 0x7FFF == 0x7F80 and word & 0x7FFFFFFF < 0x7F800000
    return rounded - 1 if too_large else rounded


def flushing(word):
    if word & 0x7FFFFFFF > 0x7F800000:
        return 0x7FC0
    if word & 0x7FFFFFFF < 0x00800000:
        return word >> 31 << 15  # subnormal numbers become zero
    return word + 0x7FFF + (word >> 16 & 1) >> 16


ENCODERS = [half_up, truncating, careless_with_nan, saturating, flushing]


def reference(word):
    number = np.array([word], np.uint32).view(np.float32)
    return int(encode(number, bfloat16, "nearest_even")[0])


def is_wrong(encoder, word):
    mine, right = encoder(word), reference(word)
    both_nan = mine & 0x7FFF > 0x7F80 and right & 0x7FFF > 0x7F80
    return mine != right and not both_nan


# %% nbgrader={"grade": false, "grade_id": "2c-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def suspects():
    """At most six FP32 words that expose all five encoders."""
    ### BEGIN SOLUTION
    # Hint 1: One kind of word for each bug: a tie, a number just below the next one, a NaN, a number too
    # large, a subnormal number.
    # Hint 2: half_up and the reference differ only on ties whose lower neighbour is even: 1 + 2**-8.
    # Hint 3: 0x7f800000 is infinity, and 0x7f7fffff the largest FP32 number. Words below 0x00800000 are
    # subnormal. The upper 16 bits are what truncation keeps.
    # Hint 4: A tie is 0x3f808000. Now a word just below 0x3f810000; one just above infinity; the largest
    # number; and any subnormal word of which something is left.
    return [0x3F808000, 0x3F80FFFF, 0x7F800001, 0x7F7FFFFF, 0x007F0000]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "2c-list", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st

words = suspects()
assert 1 <= len(words) <= 6, f"{len(words)} words; six are allowed"
assert all(isinstance(word, int) and 0 <= word < 2**32 for word in words), (
    f"FP32 words are Python integers from 0 to 2**32 - 1, such as 0x3f800000 (1.0), not {words}"
)
caught = [e.__name__ for e in ENCODERS if any(is_wrong(e, word) for word in words)]
assert len(caught) >= 2, f"caught so far: {caught}"

# %% nbgrader={"grade": true, "grade_id": "2c-all", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
missed = [e.__name__ for e in ENCODERS if not any(is_wrong(e, word) for word in suspects())]
assert not missed, f"not caught: {', '.join(missed)}"


@given(st.floats(1, 2, width=32), st.sampled_from([half_up, saturating, flushing]))
def test_random_numbers_do_not_find_them(x, encoder):
    word = int(np.float32(x).view(np.uint32))
    if word & 0xFFFF != 0x8000:
        assert not is_wrong(encoder, word)


test_random_numbers_do_not_find_them()
