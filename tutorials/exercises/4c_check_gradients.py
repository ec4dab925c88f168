# %% [markdown]
# # 4c · Write the check that breaks them
#
# Write `is_derivative(f, df)`, which decides whether `df` is the derivative of `f` on the interval [−2, 2].
# Both take a NumPy array of float64 and return one of the same shape. Wrong derivatives can be wrong by a
# sign, by one part in ten thousand, only on one side of zero, or only beyond 1.5. Right ones must be
# accepted, whether the function is of size 10⁶ or 10⁻⁶.

# %%
import numpy as np


# %% nbgrader={"grade": false, "grade_id": "4c-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def is_derivative(f, df):
    """True if df is the derivative of f on [-2, 2], as far as differences can tell."""
    ### BEGIN SOLUTION
    # Hint 1: Central differences at many points, of both signs, and near the ends.
    # Hint 2: For float64 the best step is about 2**-17, and the error is then near 1e-11 of the function's
    # size. A tolerance between that and 1e-4 tells right from wrong.
    # Hint 3: Measure the tolerance by the largest |difference quotient| plus the largest |f|, so that it
    # knows the function's size: 1e-7 times that is a good choice.
    x = np.linspace(-2, 2, 401)
    h = 2.0**-17
    quotient = (f(x + h) - f(x - h)) / (2 * h)
    size = np.abs(quotient).max() + np.abs(f(x)).max()
    return bool(np.all(np.abs(df(x) - quotient) <= 1e-7 * size))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "4c-right", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st

PAIRS = {
    "sine": (np.sin, np.cos),
    "cube": (lambda x: x**3, lambda x: 3 * x * x),
    "exponential": (np.exp, np.exp),
    "hyperbolic tangent": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "softplus": (lambda x: np.logaddexp(0, x), lambda x: 1 / (1 + np.exp(-x))),
}


@given(st.sampled_from(sorted(PAIRS)), st.sampled_from([1e-6, 1e-3, 1.0, 1e3, 1e6]))
def test_right_ones_are_accepted(name, size):
    f, df = PAIRS[name]
    assert is_derivative(lambda x: size * f(x), lambda x: size * df(x)), f"{size} times {name}"


test_right_ones_are_accepted()

# %% nbgrader={"grade": true, "grade_id": "4c-wrong", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
MISTAKES = {
    "the sign": lambda x, d: -d,
    "one part in ten thousand": lambda x, d: d * 1.0001,
    "only for negative x": lambda x, d: np.where(x < 0, d * 0.99, d),
    "only beyond 1.5": lambda x, d: np.where(x > 1.5, d * 1.01, d),
    "a constant": lambda x, d: d + 0.01 * np.abs(d).max(),
    "zero": lambda x, d: 0 * d,
}


@given(
    st.sampled_from(sorted(PAIRS)),
    st.sampled_from(sorted(MISTAKES)),
    st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_wrong_ones_are_found(name, mistake, size):
    f, df = PAIRS[name]
    spoilt = MISTAKES[mistake]
    wrong = is_derivative(lambda x: size * f(x), lambda x: spoilt(x, size * df(x)))
    assert not wrong, f"{size} times {name}, wrong in: {mistake}"


test_wrong_ones_are_found()
### BEGIN HIDDEN TESTS
f, df = PAIRS["exponential"]
assert not is_derivative(f, lambda x: np.where(x < -1.5, df(x) * 1.01, df(x)))
### END HIDDEN TESTS
