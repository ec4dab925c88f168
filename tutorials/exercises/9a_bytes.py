# %% [markdown]
# # 9a · The bytes of a policy
#
# Write `bytes_per_parameter(weight, master, gradient, optimizer, compensated)`: how many bytes a training
# step holds for each parameter at its end, activations aside.
#
# - `weight`: bytes of a weight as the model stores it, 2 or 4.
# - `master`: whether there is an FP32 master of each weight besides. Then the gradient that is held is the
#   master's.
# - `gradient`: bytes of a gradient without masters. (With masters it is 4, whatever is given here.)
# - `optimizer`: `"sgd"`, `"momentum"` (one number) or `"adam"` (two numbers), in the format of what it
#   updates.
# - `compensated`: Kahan compensation, another number in that format.

# %% nbgrader={"grade": false, "grade_id": "9a-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def bytes_per_parameter(weight, master, gradient, optimizer, compensated):
    """Bytes of weights, masters, gradients and optimizer state for each parameter."""
    ### BEGIN SOLUTION
    # Hint 1: What does the optimizer update: the weight or its master? State has that format.
    # Hint 2: With masters: weight + 4 (master) + 4 (gradient) + 4 for each number of state.
    # Hint 3: {"sgd": 0, "momentum": 1, "adam": 2} numbers, plus one if compensated, times 4 or times `weight`.
    numbers = {"sgd": 0, "momentum": 1, "adam": 2}[optimizer] + compensated
    if master:
        return weight + 4 + 4 + 4 * numbers
    return weight + gradient + weight * numbers
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "9a-named", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
assert bytes_per_parameter(4, False, 4, "adam", False) == 16
assert bytes_per_parameter(2, True, 2, "adam", False) == 18
assert bytes_per_parameter(2, False, 2, "adam", True) == 10
assert bytes_per_parameter(2, False, 2, "sgd", False) == 4

# %% nbgrader={"grade": true, "grade_id": "9a-measured", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given, settings
from hypothesis import strategies as st

import tinymp as mp


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["float32", "bfloat16"]),
    st.booleans(),
    st.sampled_from(["sgd", "momentum", "adam"]),
    st.booleans(),
)
def test_agrees_with_the_ledger(dtype, master, optimizer, compensated):
    dtype = getattr(mp, dtype)
    master = master and dtype is not mp.float32
    model = mp.nn.Linear(50, 20, bias=False).to(dtype)
    masters = mp.amp.MasterWeights(model.parameters(), enabled=master)
    kind = mp.optim.Adam if optimizer == "adam" else mp.optim.SGD
    options = {"momentum": 0.9} if optimizer == "momentum" else {}
    stepper = kind(masters.parameters(), lr=0.1, compensated=compensated, **options)
    model(mp.ones((2, 50), dtype=dtype)).float().sum().backward()
    masters.copy_gradients()
    stepper.step()
    measured = mp.inspect.memory(model, masters=masters, optimizer=stepper).total / 1000
    mine = bytes_per_parameter(dtype.itemsize, master, dtype.itemsize, optimizer, compensated)
    assert mine == measured, f"{mine} bytes, but {measured:g} are measured; {master = }"


test_agrees_with_the_ledger()
