# %% [markdown]
# # 11b · A rule that becomes a kernel
#
# The Huber loss of an error x is x²/2 where |x| ≤ δ, and δ(|x| − δ/2) beyond. `draft_huber` computes it with
# NumPy, and is right. It cannot become an elementwise kernel, as lesson 11 makes them: find out why not.
#
# Write `huber(xp, x, delta)`, a rule with the same values, that can. `xp` is the module whose functions
# you call (`xp.abs`, not `np.abs`); `x` stands for an array, or for one element that is not known yet.
# Your rule may not take more than 8 statements.

# %%
import numpy as np


def draft_huber(xp, x, delta):
    out = x * x / 2
    far = xp.abs(x) > delta
    out[far] = delta * (xp.abs(x[far]) - delta / 2)
    return out


# %% nbgrader={"grade": false, "grade_id": "11b-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def huber(xp, x, delta):
    """The Huber loss of each element of x, by operations that need one element each."""
    ### BEGIN SOLUTION
    # Hint 1: Selecting some elements, x[far], needs an array. What chooses between two values instead?
    # Hint 2: xp.where(condition, a, b) computes both values and keeps one for each element.
    # Hint 3: size = xp.abs(x); then where(size > delta, delta * (size - delta / 2), 0.5 * x * x).
    size = xp.abs(x)
    return xp.where(size > delta, delta * (size - delta / 2), 0.5 * x * x)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "11b-kernel", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
import tinymp as mp
from tinymp.devices.kernels.elementwise import Baked, elementwise_kernel
from tinymp.devices.kernels.twin import Target


def made(rule):
    """The kernel of a rule for FP16 arrays and delta = 1, None if it cannot be traced."""
    named = (("delta", Baked(1.0)),)
    return elementwise_kernel(
        "huber", rule, (mp.float16,), named, Target(mp.float16, "nearest_even")
    )


assert made(draft_huber) is None  # the bug
kernel = made(huber)
assert kernel is not None, (
    "huber cannot be traced: it calls np instead of xp, or does something that one element cannot"
)
assert kernel.identity is None, "huber returns its argument"
lines = [line.strip() for line in kernel.source(1, 8).split("#pragma unroll")[1].splitlines()]
statements = [line for line in lines if line.startswith("const") and "decode<" not in line]
assert len(statements) <= 8, "\n".join(statements)

# %% nbgrader={"grade": true, "grade_id": "11b-values", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st


@given(
    st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=20),
    st.sampled_from([0.5, 1.0, 2.0, 10.0]),
)
def test_the_same_values(errors, delta):
    x = np.array(errors, np.float32)
    before = x.copy()
    result = huber(np, x, delta)
    assert result.dtype == np.float32
    assert np.array_equal(x, before), "the argument was changed"
    # Seven roundings at most, the differences by at most half of what they start from.
    assert np.allclose(result, draft_huber(np, x, delta), rtol=16 * 2.0**-24, atol=1e-44), (
        f"{errors}"
    )


test_the_same_values()
