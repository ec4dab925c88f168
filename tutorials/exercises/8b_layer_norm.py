# %% [markdown]
# # 8b · Bug hunt: a layer norm
#
# `draft_layer_norm` works on FP16 tensors and passes its author's test. In training it gives NaN in some
# layers and zeros in others. It has two different weaknesses. Write `layer_norm`, which returns FP16 and is
# right, to within FP16's precision, for every finite FP16 input whose elements are not all nearly equal.

# %%
import numpy as np

import tinymp as mp


def draft_layer_norm(x):
    """(x - mean) / sqrt(variance + eps) over the last axis, of an FP16 tensor."""
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = (centred * centred).mean(dim=-1, keepdim=True)
    eps = mp.tensor(1e-8, dtype=mp.float16)
    return centred / mp.sqrt(variance + eps)


author = draft_layer_norm(mp.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=mp.float16))
assert np.allclose(author.numpy(), [[-1.3416, -0.4472, 0.4472, 1.3416]], atol=2e-3)


# %% nbgrader={"grade": false, "grade_id": "8b-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def layer_norm(x):
    """(x - mean) / sqrt(variance + 1e-8) over the last axis; FP16 in, FP16 out."""
    ### BEGIN SOLUTION
    # Hint 1: Try rows of size 1000 and of size 0.0001. Which intermediate result is infinite, which is zero?
    # Hint 2: Squares leave FP16's range; 1e-8 is zero in FP16. Where do both fit?
    # Hint 3: x.float() first, .half() last. Python's 1e-8 may then be added as it is.
    wide = x.float()
    centred = wide - wide.mean(dim=-1, keepdim=True)
    variance = (centred * centred).mean(dim=-1, keepdim=True)
    return (centred / mp.sqrt(variance + 1e-8)).half()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "8b-named", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
for size in (1000.0, 1.0, 0.01, 60000.0):
    row = mp.tensor([[-size, size, -size, size]], dtype=mp.float16)
    result = layer_norm(row)
    assert result.dtype is mp.float16
    assert np.allclose(np.abs(result.numpy()), 1, atol=2e-3), (
        f"rows of size {size}: {result.numpy()}"
    )
assert np.allclose(layer_norm(mp.zeros((1, 4), dtype=mp.float16)).numpy(), 0), (
    "no NaN for a row of zeros"
)

# %% nbgrader={"grade": true, "grade_id": "8b-law", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import assume, example, given
from hypothesis import strategies as st


@given(
    st.lists(
        st.floats(-65504, 65504, width=16) | st.floats(-0.125, 0.125, width=16),
        min_size=2,
        max_size=16,
    )
)
@example([17424.0, 53696.0, -62720.0])
def test_within_the_precision_of_fp16(values):
    exact = np.array(values) - np.mean(values)
    assume(exact.std() > 2.0**-12 and exact.std() > 2.0**-14 * np.abs(values).max())
    exact = exact / np.sqrt((exact**2).mean() + 1e-8)
    result = layer_norm(mp.tensor([values], dtype=mp.float16)).numpy()[0]
    # FP32 loses up to 2^-24 of the largest value when the mean is taken away, and FP16 2^-11 at the end.
    assert np.abs(result - exact).max() <= 2.0**-7 + 2.0**-10 * np.abs(exact).max(), f"{values}"


test_within_the_precision_of_fp16()
