# %% [markdown]
# # 4b · Bug hunt: shared variables
#
# Two colleagues wrote the walk of an engine. `draft_one` passes the tests of chains, but gives 1 for the
# gradient of x + x. `draft_two` repaired that; it gives the right gradient of x + x, and of x·x + x, and
# yet a wrong one of the graph below, where an early result is used by late ones.
#
# Find both mistakes and write `backward`, for any graph. Sources may occur twice in one operation, and
# rules are costly: call each rule exactly once.

# %%
from itertools import count

numbers = count()


class Variable:
    """A number that knows what it was computed from: pairs of an input and a gradient rule."""

    def __init__(self, value, sources=()):
        self.value, self.sources, self.number = value, sources, next(numbers)


def add(x, y):
    return Variable(x.value + y.value, [(x, lambda g: g), (y, lambda g: g)])


def multiply(x, y):
    return Variable(x.value * y.value, [(x, lambda g: g * y.value), (y, lambda g: g * x.value)])


def draft_one(result):
    gradients, waiting = {result: 1.0}, [result]
    while waiting:
        variable = waiting.pop()
        for source, rule in variable.sources:
            gradients[source] = rule(gradients[variable])
            waiting.append(source)
    return gradients


def draft_two(result):
    gradients, waiting, seen = {result: 1.0}, [result], set()
    while waiting:
        variable = waiting.pop(0)
        if variable in seen:
            continue
        seen.add(variable)
        for source, rule in variable.sources:
            gradients[source] = gradients.get(source, 0.0) + rule(gradients[variable])
            waiting.append(source)
    return gradients


x = Variable(3.0)
assert draft_one(add(x, x))[x] == 1.0  # wrong: it should be 2
assert draft_two(add(x, x))[x] == 2.0
early = multiply(x, x)
late = multiply(add(add(early, x), x), early)  # (x² + 2x) x²; its derivative at 3 is 4·27 + 6·9
assert draft_two(late)[x] != 162.0


# %% nbgrader={"grade": false, "grade_id": "4b-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def backward(result):
    """A dictionary: the gradient of `result` with respect to every variable it depends on."""
    ### BEGIN SOLUTION
    # Hint 1: draft_one overwrites where it should add. draft_two visits `early` too soon: draw the graph and
    # the order in which it visits.
    # Hint 2: A variable may be visited only when every variable that uses it has been. What do you know about
    # the numbers of the variables that use it?
    # Hint 3: Of all waiting variables take the one with the largest number, as the lesson's engine does.
    gradients, waiting = {result: 1.0}, {result.number: result}
    while waiting:
        variable = waiting.pop(max(waiting))
        for source, rule in variable.sources:
            gradients[source] = gradients.get(source, 0.0) + rule(gradients[variable])
            waiting[source.number] = source
    return gradients
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "4b-named", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
assert backward(add(x, x))[x] == 2.0
assert backward(late)[x] == 162.0
assert backward(x)[x] == 1.0

# %% nbgrader={"grade": true, "grade_id": "4b-any", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st


@given(
    st.lists(
        st.tuples(st.sampled_from([add, multiply]), st.integers(0, 99), st.integers(0, 99)),
        max_size=12,
    )
)
def test_any_graph(steps):
    # Forward-mode derivatives, computed beside the values, are what backward must find.
    start = Variable(1.5)
    made = [(start, 1.0)]
    for operation, i, j in steps:
        (a, da), (b, db) = made[i % len(made)], made[j % len(made)]
        derivative = da + db if operation is add else da * b.value + a.value * db
        made.append((operation(a, b), derivative))
    result, derivative = made[-1]
    found = backward(result).get(start, 0.0)
    assert abs(found - derivative) <= 1e-9 * max(1.0, abs(derivative)), (
        f"{found} is not {derivative}"
    )


test_any_graph()
calls = []
shared = Variable(2.0)
once = Variable(4.0, [(shared, lambda g: calls.append(1) or g)])
for _ in range(30):
    once = add(once, once)  # 2^30 paths lead to `shared`
assert backward(once)[shared] == 2.0**30 and len(calls) == 1, "each rule once"
