# %% [markdown]
# # 9b · The best block size
#
# A network has n layers, and each saves one activation of `size` bytes. With checkpoints around blocks of b
# layers (the last block may be smaller), the inputs of all blocks are kept, and the activations of one
# block at a time are made again in the backward pass. The *peak* is counted simply: inputs of all blocks,
# plus the activations of the largest block.
#
# Write `peak(layers, block, size)`, the peak in bytes, and `best_block(layers)`, the block size from 1 to
# `layers` with the smallest peak; of several, the largest, because fewer checkpoints cost less time.

# %%
import math


# %% nbgrader={"grade": false, "grade_id": "9b-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def peak(layers, block, size):
    """Bytes of activations at the peak."""
    ### BEGIN SOLUTION
    # Hint 1: How many blocks are there, if the last one may be smaller?
    # Hint 2: math.ceil(layers / block) blocks, each keeps one activation; the largest block has `block` layers.
    # Hint 3: For best_block, try all sizes. min(..., key=lambda b: (peak(layers, b, 1), -b)) takes the largest of ties.
    return size * (math.ceil(layers / block) + min(block, layers))
    ### END SOLUTION


def best_block(layers):
    """The block size with the smallest peak; of several the largest."""
    ### BEGIN SOLUTION
    return min(range(1, layers + 1), key=lambda block: (peak(layers, block, 1), -block))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "9b-named", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
assert peak(16, 4, 100) == 800
assert peak(10, 4, 1) == 3 + 4, "three blocks: 4 + 4 + 2 layers"
assert best_block(16) == 4
assert best_block(1) == 1
assert best_block(2) == 2, "1 and 2 have the same peak: take the larger"

# %% nbgrader={"grade": true, "grade_id": "9b-law", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(1, 400))
def test_near_the_square_root(layers):
    block = best_block(layers)
    smallest = peak(layers, block, 1)
    assert all(peak(layers, b, 1) >= smallest for b in range(1, layers + 1)), f"{layers} layers"
    assert all(peak(layers, b, 1) > smallest for b in range(block + 1, layers + 1)), (
        "a larger one is as good"
    )
    assert smallest <= 2 * math.sqrt(layers) + 1, f"{layers} layers: {smallest}"


test_near_the_square_root()
