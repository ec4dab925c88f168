# %% [markdown]
# # 3b · Another generation's instruction
#
# Tensor cores of the Ampere generation take 8 products at a time (Hopper: 16), and keep one bit less when
# they align: terms are cut to multiples of 2^(E − 24).
#
# Write `instruction(a, b, c, fraction_bits)`, which computes c + Σ a·b as a tensor core does, for any
# number of FP16 pairs, where terms are cut to multiples of 2^(E − fraction_bits). Then write `ampere(a,
# b)`: the dot product of two FP16 vectors whose length is a multiple of 8, as a chain of such instructions,
# starting from 0. The lesson's function is a good beginning. All numbers here are finite, with exponents
# that stay far from overflow and underflow of FP32.

# %%
import math

import numpy as np


def exponent(x, smallest):
    """Exponent of the leading bit; subnormal numbers count with the format's smallest one."""
    return max(math.frexp(x)[1] - 1, smallest)


# %% nbgrader={"grade": false, "grade_id": "3b-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def instruction(a, b, c, fraction_bits):
    """c + sum of a * b: align, cut, add, cut to 24 bits. Returns a Python float."""
    ### BEGIN SOLUTION
    # Hint 1: Only one number in the lesson's `tensor_core` belongs to Hopper alone.
    # Hint 2: That is the 25. The rest works for any number of pairs.
    # Hint 3: For the chain, c of each instruction is the result of the one before.
    pairs = [(float(x), float(y)) for x, y in zip(a, b, strict=True)]
    exponents = [exponent(x, -14) + exponent(y, -14) for x, y in pairs if x * y != 0]
    exponents += [exponent(float(c), -126)] if c != 0 else []
    unit = 2.0 ** (max([*exponents, -133]) - fraction_bits)
    whole = sum(math.trunc(x * y / unit) for x, y in pairs) + math.trunc(float(c) / unit)
    spare = max(abs(whole).bit_length() - 24, 0)
    return math.copysign(abs(whole) >> spare << spare, whole) * unit
    ### END SOLUTION


def ampere(a, b):
    """The dot product of two FP16 vectors, 8 products at a time."""
    ### BEGIN SOLUTION
    total = 0.0
    for i in range(0, len(a), 8):
        total = instruction(a[i : i + 8], b[i : i + 8], total, 24)
    return total
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "3b-one", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
one, tiny = np.float16(1), np.float16(2.0**-12)
assert instruction([one], [one], 0.0, 24) == 1.0
assert instruction([one, tiny], [one, tiny], 0.0, 24) == 1.0, (
    "2^-24 is a unit, but 24 bits are not enough"
)
assert instruction([one] + [tiny] * 2, [one] + [tiny] * 2, 0.0, 24) == 1 + 2.0**-23
assert instruction([one] + [tiny] * 2, [one] + [tiny] * 2, 0.0, 23) == 1.0, (
    "cut before they can add up"
)
assert instruction([one, -one], [one, one], 2.0**-30, 24) == 0.0, "c is cut beside the products"

# %% nbgrader={"grade": true, "grade_id": "3b-chain", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st

from tinymp.numerics import tensor_core_matmul


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.floats(0.1, 6))
def test_every_bit(seed, blocks, spread):
    rng = np.random.default_rng(seed)
    a, b = (
        (rng.standard_normal((2, 8 * blocks)) * np.exp2(rng.normal(0, spread, (2, 8 * blocks))))
        .clip(-60000, 60000)
        .astype(np.float16)
    )
    words = tensor_core_matmul(
        a.view(np.uint16)[None], b.view(np.uint16)[:, None], "float16", architecture="ampere"
    )
    expected = float(words[0, 0])
    assert ampere(a, b) == expected, f"{ampere(a, b)!r} is not {expected!r} (seed {seed})"


test_every_bit()
