# %% [markdown]
# # 10b · The size of a cache
#
# When a GPT writes, it keeps the keys and values of all earlier positions, in every layer: the KV cache.
# Write `cache_bytes(layers, width, positions, batch, itemsize)`, its size, and `longest(layers, width,
# batch, itemsize, memory)`, the largest number of positions whose cache fits into `memory` bytes.

# %% nbgrader={"grade": false, "grade_id": "10b-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def cache_bytes(layers, width, positions, batch, itemsize):
    """Bytes of all keys and values."""
    ### BEGIN SOLUTION
    # Hint 1: For each position, each layer keeps a key and a value of `width` features.
    # Hint 2: 2 · layers · width numbers for each position and each row of the batch.
    return 2 * layers * width * positions * batch * itemsize
    ### END SOLUTION


def longest(layers, width, batch, itemsize, memory):
    """The most positions whose cache fits."""
    ### BEGIN SOLUTION
    return memory // cache_bytes(layers, width, 1, batch, itemsize)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "10b-named", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
assert cache_bytes(12, 768, 1024, 8, 2) == 301_989_888, (
    "GPT-2's smallest, 1,024 positions, batch 8, FP16"
)
assert longest(12, 768, 8, 2, 2**30) == 3640

# %% nbgrader={"grade": true, "grade_id": "10b-law", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st

sizes = st.integers(1, 100)


@given(sizes, sizes, sizes, st.sampled_from([1, 2, 4]), st.integers(0, 10**9))
def test_it_fits_and_one_more_does_not(layers, width, batch, itemsize, memory):
    n = longest(layers, width, batch, itemsize, memory)
    assert cache_bytes(layers, width, n, batch, itemsize) <= memory
    assert cache_bytes(layers, width, n + 1, batch, itemsize) > memory


test_it_fits_and_one_more_does_not()
