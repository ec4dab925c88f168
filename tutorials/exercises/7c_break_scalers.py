# %% [markdown]
# # 7c · Write the history that breaks them
#
# Five programmers wrote the rule of lesson 7. All start at 2¹⁶ and grow after 4 clean steps *in a row*. One
# of the five is right, `RightScale`; the others have a bug each, that shows only after certain histories.
#
# Write `history()`: a list of at most 20 booleans (True: this step overflowed) after which each of the four
# wrong ones has had, at some step, another scale than the right one.

# %%
class RightScale:
    def __init__(self):
        self.scale, self.clean = 2.0**16, 0

    def update(self, overflowed):
        if overflowed:
            self.scale, self.clean = self.scale / 2, 0
        else:
            self.clean += 1
            if self.clean == 4:
                self.scale, self.clean = self.scale * 2, 0


class NeverForgets(RightScale):
    def update(self, overflowed):
        if overflowed:
            self.scale = self.scale / 2
        else:
            self.clean += 1
            if self.clean == 4:
                self.scale, self.clean = self.scale * 2, 0


class GrowsForever(RightScale):
    def update(self, overflowed):
        if overflowed:
            self.scale, self.clean = self.scale / 2, 0
        else:
            self.clean += 1
            if self.clean >= 4:
                self.scale = self.scale * 2


class OnlyOnce(RightScale):
    def __init__(self):
        super().__init__()
        self.was_overflow = False

    def update(self, overflowed):
        if overflowed and self.was_overflow:
            return  # "two overflows in a row are one problem"
        self.was_overflow = overflowed
        super().update(overflowed)


class NeverAbove(RightScale):
    def update(self, overflowed):
        super().update(overflowed)
        self.scale = min(self.scale, 2.0**17)


WRONG = [NeverForgets, GrowsForever, OnlyOnce, NeverAbove]


def is_found(wrong, history):
    right, other = RightScale(), wrong()
    for overflowed in history:
        right.update(overflowed)
        other.update(overflowed)
        if right.scale != other.scale:
            return True
    return False


# %% nbgrader={"grade": false, "grade_id": "7c-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def history():
    """At most 20 outcomes that expose all four wrong scalers."""
    ### BEGIN SOLUTION
    # Hint 1: For each class, write down the shortest history that exposes it; then join them.
    # Hint 2: NeverAbove needs eight clean steps in a row from the start, which exposes GrowsForever as well.
    # Hint 3: After those eight: two overflows in a row for OnlyOnce; then two clean ones, an overflow, and two
    # clean ones for NeverForgets.
    return [False] * 8 + [True, True] + [False, False, True, False, False]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "7c-one", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st

outcomes = history()
assert len(outcomes) <= 20, f"{len(outcomes)} outcomes; 20 are allowed"
assert all(isinstance(x, bool) for x in outcomes), f"True and False, please, not {outcomes}"
assert any(is_found(wrong, outcomes) for wrong in WRONG)

# %% nbgrader={"grade": true, "grade_id": "7c-all", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
missed = [wrong.__name__ for wrong in WRONG if not is_found(wrong, history())]
assert not missed, f"not found: {', '.join(missed)}"


@given(st.lists(st.booleans(), max_size=3))
def test_short_histories_find_little(outcomes):
    assert not is_found(GrowsForever, outcomes) and not is_found(NeverAbove, outcomes)


test_short_histories_find_little()
