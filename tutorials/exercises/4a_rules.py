# %% [markdown]
# # 4a · Two gradient rules
#
# The engine of lesson 4 lacks division and the softplus function, log(1 + eˣ). Write both. `divide(x, y)`
# divides elementwise; both arrays have the same shape. `softplus(x)` must not overflow for large x, in its
# value or in its gradient: exp(1000) is infinite, softplus(1000) is 1000.

# %%
from itertools import count

import numpy as np

numbers = count()


class Variable:
    """An array that knows what it was computed from."""

    def __init__(self, value, sources=()):
        self.value = np.asarray(value, dtype=np.float64)
        self.sources = sources  # pairs: an input, and the rule that hands a gradient on to it
        self.number = next(numbers)


def multiply(x, y):
    return Variable(x.value * y.value, [(x, lambda g: g * y.value), (y, lambda g: g * x.value)])


def backward(loss):
    """Gradients of `loss` with respect to every variable that it was computed from."""
    gradients = {loss: np.ones_like(loss.value)}
    waiting = {loss.number: loss}
    while waiting:
        variable = waiting.pop(max(waiting))
        for source, rule in variable.sources:
            waiting[source.number] = source
            gradients[source] = gradients.get(source, 0) + rule(gradients[variable])
    return gradients


# %% nbgrader={"grade": false, "grade_id": "4a-gap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def divide(x, y):
    """x / y, elementwise."""
    ### BEGIN SOLUTION
    # Hint 1: How does x / y change if x changes by 1? And if y does?
    # Hint 2: The derivatives are 1 / y and -x / y². The second is minus the result, divided by y.
    # Hint 3: log(1 + exp(x)) is max(x, 0) + log1p(exp(-|x|)), whose exponent is never positive; the
    # derivative is 1 / (1 + exp(-x)), which np.exp(-np.logaddexp(0, -x)) computes without overflow.
    quotient = x.value / y.value
    return Variable(quotient, [(x, lambda g: g / y.value), (y, lambda g: -g * quotient / y.value)])
    ### END SOLUTION


def softplus(x):
    """log(1 + exp(x)), elementwise, without overflow."""
    ### BEGIN SOLUTION
    slope = np.exp(-np.logaddexp(0, -x.value))
    return Variable(np.logaddexp(0, x.value), [(x, lambda g: g * slope)])
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "4a-divide", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
from hypothesis import given
from hypothesis import strategies as st

ordinary = st.floats(0.1, 10) | st.floats(-10, -0.1)


def slope(function, x, h=1e-5):
    return (function(x + h) - function(x - h)) / (2 * h)


@given(ordinary, ordinary)
def test_divide(a, b):
    x, y = Variable(a), Variable(b)
    result = divide(x, y)
    assert result.value == a / b
    gradients = backward(result)
    assert np.isclose(gradients[x], slope(lambda t: t / b, a), rtol=1e-6), f"x of {a} / {b}"
    assert np.isclose(gradients[y], slope(lambda t: a / t, b), rtol=1e-5), f"y of {a} / {b}"


test_divide()
x = Variable(3.0)
assert abs(backward(divide(multiply(x, x), x))[x] - 1) < 1e-12, "x·x / x has the derivative 1"
x, y = Variable([1.0, 2.0, 4.0]), Variable([2.0, 4.0, 8.0])
gradients = backward(multiply(divide(x, y), Variable([1.0, 10.0, 100.0])))
assert np.allclose(gradients[x], [0.5, 2.5, 12.5]), "g, the gradient of the result, counts, too"
assert np.allclose(gradients[y], [-0.25, -1.25, -6.25]), f"{gradients[y]}"


# %% nbgrader={"grade": true, "grade_id": "4a-softplus", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
@given(st.floats(-30, 30))
def test_softplus(a):
    x = Variable(a)
    result = softplus(x)
    assert np.isclose(result.value, np.log1p(np.exp(a)), rtol=1e-12)
    assert np.isclose(backward(result)[x], 1 / (1 + np.exp(-a)), rtol=1e-9), f"gradient at {a}"


test_softplus()
with np.errstate(over="raise", invalid="raise"):
    for a, expected, gradient in ((1000.0, 1000.0, 1.0), (-1000.0, 0.0, 0.0)):
        x = Variable(a)
        result = softplus(x)
        assert result.value == expected and backward(result)[x] == gradient, f"at {a}"
x = Variable([-1000.0, 0.0, 1000.0])
gradients = backward(multiply(softplus(x), Variable([2.0, 4.0, 6.0])))
assert np.allclose(gradients[x], [0, 2, 6]), "of an array, and times g"
