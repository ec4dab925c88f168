# %% [markdown]
# # 3c · Bug hunt: the accuracy that falls to zero
#
# `DraftAccuracy` counts, batch by batch, how many answers were right, "in FP16, to save memory". On small
# test sets it works. On a large one its authors saw the accuracy of a perfect model fall, batch by batch,
# from 1 toward 0, and beyond 65,504 images it was 0 exactly.
#
# Find out why, and write `Accuracy` with the same two methods. What `value()` returns must be the FP16
# number nearest to the true share, for up to a hundred million answers.

# %%
import numpy as np


class DraftAccuracy:
    def __init__(self):
        self.right, self.count = np.float16(0), np.float16(0)

    def add(self, right):
        """Take in a batch: a list of booleans."""
        for answer in right:
            self.right += np.float16(answer)
        self.count += np.float16(len(right))

    def value(self):
        """The share of right answers, an FP16 number."""
        return np.float16(self.right / self.count)


draft = DraftAccuracy()
with np.errstate(over="ignore"):
    for _ in range(200):
        draft.add([True] * 500)
assert draft.value() == 0, "100,000 right answers"


# %% nbgrader={"grade": false, "grade_id": "3c-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
class Accuracy:
    ### BEGIN SOLUTION
    # Hint 1: Print `right` and `count` after each of ten batches of 500 right answers.
    # Hint 2: Which whole numbers does FP16 have above 2048? And above 65504?
    # Hint 3: Two Python integers cost nothing beside the data. Only the result needs to be FP16.
    def __init__(self):
        self.right, self.count = 0, 0

    def add(self, right):
        """Take in a batch: a list of booleans."""
        self.right += int(np.sum(right))
        self.count += len(right)

    def value(self):
        """The share of right answers, an FP16 number."""
        return np.float16(self.right / self.count)

    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "3c-large", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
perfect = Accuracy()
for _ in range(200):
    perfect.add([True] * 500)
assert perfect.value() == 1, f"100,000 right answers, accuracy {perfect.value()}"
assert isinstance(perfect.value(), np.float16)

# %% nbgrader={"grade": true, "grade_id": "3c-shares", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), min_size=1, max_size=20))
def test_the_nearest_number(batches):
    accuracy, right, count = Accuracy(), 0, 0
    for good, bad in batches:
        accuracy.add([True] * good + [False] * bad)
        right, count = right + good, count + good + bad
    if count:
        assert accuracy.value() == np.float16(right / count), f"{right} of {count}"


test_the_nearest_number()
tight = Accuracy()
tight.add([True] * 15_835 + [False] * 168)
assert tight.value() == np.float16(15_835 / 16_003), "rounded twice, through FP32: see lesson 2"
### BEGIN HIDDEN TESTS
huge = Accuracy()
for _ in range(70):
    huge.add(np.ones(1_000_000, bool))
    huge.add(np.zeros(1_000, bool))
assert huge.value() == np.float16(70_000_000 / 70_070_000)
### END HIDDEN TESTS
