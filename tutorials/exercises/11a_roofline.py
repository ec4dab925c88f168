# %% [markdown]
# # 11a · What limits a product?
#
# A GPU multiplies an (m, k) by a (k, n) matrix. It computes `rate` operations and moves `traffic` bytes in
# a second, both at once; every number takes `itemsize` bytes, and each matrix is read or written once.
#
# Write `limits(m, k, n, itemsize, rate, traffic)`. It returns two things: the least number of seconds
# that the product can take, and what sets it, `"memory"` or `"arithmetic"`. (If both take equally
# long, `"arithmetic"`.)

# %% nbgrader={"grade": false, "grade_id": "11a-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def limits(m, k, n, itemsize, rate, traffic):
    """Least seconds of a product, and which of its two jobs takes them."""
    ### BEGIN SOLUTION
    # Hint 1: How many operations are there, and how many bytes? How long would each take by itself?
    # Hint 2: 2·m·k·n operations; itemsize · (m·k + k·n + m·n) bytes.
    # Hint 3: Compare 2mkn / rate with the bytes / traffic; the larger one is the answer.
    computing = 2 * m * k * n / rate
    moving = itemsize * (m * k + k * n + m * n) / traffic
    return max(computing, moving), "memory" if moving > computing else "arithmetic"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "11a-named", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
H200 = {"rate": 774e12, "traffic": 4.16e12}
assert limits(8192, 8192, 8192, 2, **H200)[1] == "arithmetic"
assert limits(8192, 8192, 1, 2, **H200)[1] == "memory"
assert limits(256, 256, 256, 2, **H200)[1] == "memory"
seconds, _ = limits(8192, 8192, 8192, 2, **H200)
assert abs(seconds - 1.42e-3) < 0.01e-3, f"{seconds} s"

# %% nbgrader={"grade": true, "grade_id": "11a-laws", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st

lengths = st.integers(1, 10_000)
rates = st.integers(1, 10**15)


@given(lengths, lengths, lengths, st.sampled_from([1, 2, 4, 8]), rates, rates)
def test_the_laws(m, k, n, itemsize, rate, traffic):
    seconds, limit = limits(m, k, n, itemsize, rate, traffic)
    # Neither job can be done sooner.
    assert seconds * rate >= 2 * m * k * n * (1 - 1e-12), "more operations than the rate allows"
    pieces = [m * k, k * n, m * n]
    assert seconds * traffic >= itemsize * sum(pieces) * (1 - 1e-12), (
        "more bytes than there is time for"
    )
    # What does not limit may be twice as fast, and nothing is gained.
    assert limit in ("memory", "arithmetic")
    if limit == "memory":
        same, _ = limits(m, k, n, itemsize, 2 * rate, traffic)
    else:
        same, _ = limits(m, k, n, itemsize, rate, 2 * traffic)
    assert same == seconds, f"{limit} limits {m}×{k}×{n}, and yet the other one matters"
    # Both twice as fast: half the time. The product of the transposes takes the same time.
    both, _ = limits(m, k, n, itemsize, 2 * rate, 2 * traffic)
    assert abs(both / seconds - 0.5) < 1e-12
    turned, _ = limits(n, k, m, itemsize, rate, traffic)
    assert abs(turned / seconds - 1) < 1e-12


test_the_laws()
