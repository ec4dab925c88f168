# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4 · Backpropagation from scratch
#
# Read 35 min · run 1 s · practise 60 min · difficulty 2 of 3
#
# **You will** write a gradient engine of about forty lines, train a network on handwritten digits with it,
# meet the real engine, and check gradients in four formats.
#
# **You will learn** how a computation is recorded and walked backward; why gradients that meet are added;
# how a gradient is checked by differences; and why the best step of such a check depends on the format.
#
# **You need** lessons 1 and 2, derivatives and the chain rule, matrix products.

# %%
import os
from itertools import count

import matplotlib.pyplot as plt
import numpy as np

import tinymp as mp
from tinymp.autograd import Op, apply
from tinymp.formats import decode, encode
from tinymp.inspect.style import BLACK, BLUE, GREEN, ORANGE

FAST = os.environ.get("TINYMP_FAST") == "1"
plt.rcParams.update({"figure.dpi": 80, "figure.constrained_layout.use": True, "font.size": 10})

# %% [markdown]
# ## The idea
#
# A program that computes a loss is a chain of simple operations. For each we know the derivative. If a
# small change of a result y changes the loss by g per unit, g is *the gradient with respect to y*; and if y
# = x₁ · x₂, a small change of x₁ changes y by x₂ per unit, and so the loss by g · x₂. That is the chain
# rule, and it turns the gradient of a result into gradients of its inputs. So:
#
# 1. **Forward**: compute, and note for each result which inputs it came from and how to hand a gradient on.
# 2. **Backward**: start at the loss with gradient 1 and walk the notes in reverse, last result first.
#
# ## The engine
#
# A `Variable` holds an array and its notes. The rest are rules, one for each input of an operation. The
# walk must not visit a variable before everything that uses it has been visited; results are numbered as
# they are made, so going down the numbers does it.

# %%
numbers = count()


class Variable:
    """An array that knows what it was computed from."""

    def __init__(self, value, sources=()):
        self.value = np.asarray(value, dtype=np.float64)
        self.sources = sources  # pairs: an input, and the rule that hands a gradient on to it
        self.number = next(numbers)


def add(x, y):
    return Variable(x.value + y.value, [(x, lambda g: g), (y, lambda g: g)])


def multiply(x, y):
    return Variable(x.value * y.value, [(x, lambda g: g * y.value), (y, lambda g: g * x.value)])


def matmul(x, y):
    return Variable(x.value @ y.value, [(x, lambda g: g @ y.value.T), (y, lambda g: x.value.T @ g)])


def add_row(x, row):
    """The same row added to each row of x: its gradient is the sum over the rows."""
    return Variable(x.value + row.value, [(x, lambda g: g), (row, lambda g: g.sum(axis=0))])


def tanh(x):
    y = np.tanh(x.value)
    return Variable(y, [(x, lambda g: g * (1 - y * y))])


def cross_entropy(logits, labels):
    """Mean of -log softmax(logits)[label]; its gradient is (softmax - one hot) / n."""
    shifted = logits.value - logits.value.max(axis=1, keepdims=True)
    softmax = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    difference = softmax.copy()
    difference[rows, labels] -= 1
    loss = -np.log(softmax[rows, labels]).mean()
    return Variable(loss, [(logits, lambda g: g * difference / len(labels))])


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


# %% [markdown]
# That is all of it. **Predict** the gradient of x · x + x at x = 3, and which line of `backward` a careless
# writer would get wrong so that it comes out as 3.

# %%
x = Variable(3.0)
print("d(x·x + x)/dx at 3:", backward(add(multiply(x, x), x))[x])
assert backward(add(multiply(x, x), x))[x] == 7
assert multiply(x, x).sources[-1][1](1.0) == 3  # the gradient that arrives last

# %% [markdown]
# x is used three times, so three gradients arrive: 3 and 3 from the product, 1 from the sum. They are
# *added*. Overwriting instead of adding, `gradients[source] = …`, keeps the one that arrives last, 3. It is
# the oldest bug of this trade (exercise 4b).
#
# ## It trains
#
# The digits that come with tinymp are 8×8 images. A network with 32 hidden units, plain gradient descent:

# %%
train, test = mp.data.load_digits("train"), mp.data.load_digits("test")
rng = np.random.default_rng(0)
layers = [
    rng.normal(0, 64**-0.5, (64, 32)), np.zeros(32),
    rng.normal(0, 32**-0.5, (32, 10)), np.zeros(10),
]  # fmt: skip


def network(inputs, parameters):
    w1, b1, w2, b2 = parameters
    return add_row(matmul(tanh(add_row(matmul(inputs, w1), b1)), w2), b2)


losses = []
for step in range(100 if FAST else 300):
    batch = rng.integers(0, len(train), 64)
    parameters = [Variable(layer) for layer in layers]
    loss = cross_entropy(network(Variable(train.inputs[batch]), parameters), train.targets[batch])
    gradients = backward(loss)
    layers = [layer - 0.5 * gradients[p] for layer, p in zip(layers, parameters, strict=True)]
    losses.append(float(loss.value))
guesses = network(Variable(test.inputs), [Variable(x) for x in layers]).value.argmax(axis=1)
accuracy = (guesses == test.targets).mean()
print(f"loss {losses[0]:.2f} -> {np.mean(losses[-20:]):.2f}, test accuracy {accuracy:.1%}")
assert accuracy > (0.85 if FAST else 0.93)

# %% [markdown]
# ## The real engine
#
# tinymp works the same way. A `Tensor` is the variable; an operation is a row of a table, with a forward
# rule and one gradient rule for each input (`tinymp/ops/`), and `tinymp/autograd/backward.py` is the walk.
# What it adds: every tensor has a dtype, and every result and gradient is rounded to it; only what the
# rules need is kept; broadcasting is undone; changes in place are noticed.
#
# The same network, the same weights, in float64: the gradients agree to the last digits.


# %%
def gradients_in(dtype):
    """The four gradients as tinymp computes them in one dtype, as float64 arrays."""
    inputs = mp.tensor(train.inputs[:256]).to(dtype)
    w1, b1, w2, b2 = (mp.tensor(layer).to(dtype).requires_grad_() for layer in layers)
    logits = mp.tanh(inputs @ w1 + b1) @ w2 + b2
    mp.nn.functional.cross_entropy(logits, mp.tensor(train.targets[:256])).backward()
    return [p.grad.to(mp.float64).numpy() for p in (w1, b1, w2, b2)]


parameters = [Variable(layer) for layer in layers]
loss = cross_entropy(network(Variable(train.inputs[:256]), parameters), train.targets[:256])
ours = [backward(loss)[p] for p in parameters]
theirs = gradients_in(mp.float64)
worst = max(np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True))
print(f"largest difference between the two engines: {worst:.1e}")
assert worst < 1e-14

# %% [markdown]
# In a narrow format the gradient of every operation is rounded on its way. **Predict** how large the
# relative error of the whole gradient is in FP32, FP16 and BF16. (Rounded to nearest; units are 2⁻²⁴, 2⁻¹¹,
# 2⁻⁸.)

# %%
exact = np.concatenate([g.ravel() for g in theirs])
with mp.rounding("nearest_even"):
    for dtype in (mp.float32, mp.float16, mp.bfloat16):
        found = np.concatenate([g.ravel() for g in gradients_in(dtype)])
        error = np.linalg.norm(found - exact) / np.linalg.norm(exact)
        unit = dtype.unit_roundoff("nearest_even")
        print(f"{dtype.name:9} relative error {error:.1e} = {error / unit:4.1f} unit roundoffs")
        assert 0.5 * unit < error < 40 * unit

# %% [markdown]
# An error of a few roundings, in proportion to the format. (In its own units FP32 does worst: operations on
# 2-byte tensors compute and add in FP32 and round once, while FP32 has nothing wider inside.) Stochastic
# gradient descent, whose gradients are noisy anyway, can live with that. What it cannot live with are
# gradients that vanish and updates that are lost. Those are the subjects of lessons 5 and 6.
#
# ## Is a gradient right? Ask the function
#
# Whoever writes a gradient rule gets one wrong sometimes. The check needs no calculus: move x a little up
# and down and watch the function,
#
#     f'(x) ≈ (f(x + h) − f(x − h)) / 2h
#
# **Predict**: is a smaller step h always better?

# %%
points = np.linspace(0.5, 1.5, 400)
steps = 2.0 ** -np.arange(0, 40, 1)
formats = {
    mp.float64: (BLACK, "-", "o"), mp.float32: (BLUE, "--", "s"),
    mp.float16: (ORANGE, "-.", "^"), mp.bfloat16: (GREEN, ":", "v"),
}  # fmt: skip


def in_format(values, dtype):
    return decode(encode(values, dtype, "nearest_even"), dtype).astype(np.float64)


def difference_errors(dtype):
    """Mean relative error of the difference quotient of exp, for each step."""
    errors = []
    for step in steps:
        above, below = in_format(points + step, dtype), in_format(points - step, dtype)
        taken = above - below  # the step that was really taken: x + h is rounded, too
        rise = in_format(np.exp(above), dtype) - in_format(np.exp(below), dtype)
        with np.errstate(invalid="ignore", divide="ignore"):
            errors.append(np.mean(np.abs(rise / taken / np.exp(points) - 1)))
    return np.array(errors)


figure, axes = plt.subplots(figsize=(7.5, 4.2))
for dtype, (colour, line, marker) in formats.items():
    errors = difference_errors(dtype)
    axes.loglog(steps, errors, line, color=colour, marker=marker, markersize=4, label=dtype.name)
    best = np.nanargmin(errors)
    unit = dtype.unit_roundoff("nearest_even")
    print(
        f"{dtype.name:9} best step 2^{np.log2(steps[best]):.0f}, error {errors[best]:.0e}; "
        f"u^(1/3) = 2^{np.log2(unit) / 3:.1f}, u^(2/3) = {unit ** (2 / 3):.0e}"
    )
    assert abs(np.log2(steps[best]) - np.log2(unit) / 3) < 2.5
    assert unit ** (2 / 3) / 8 < errors[best] < 8 * unit ** (2 / 3)
axes.set(xlabel="step h", ylabel="mean relative error of the quotient", title="V-curves of exp")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# The curves are Vs. On the right arm the step is too wide: the series is cut off, which costs about h²/6 of
# the third derivative, so the slope is 2. On the left arm the two values are so close that rounding them,
# by a relative u, is all that is left of their difference: u/h. The sum of the two is smallest near h =
# u^(1/3), and there it is about u^(2/3).
#
# So a gradient check in FP16 can tell right from wrong to between two and three digits at best, with steps
# of about 1/16; in FP64 it has eleven. This is why `mp.gradcheck` takes every input in float64, whatever
# its dtype. A row of the table that is right in float64 is right; what a format does to it is another
# question, with other tests.

# %%
inputs = mp.tensor(np.linspace(-2, 2, 7))
assert mp.gradcheck(lambda x: (mp.tanh(x) * x).sum(), inputs)

# %% [markdown]
# A row of tinymp's table, with a mistake planted in its gradient rule. **Predict** whether a test with x =
# 0 alone would notice.

# %%
wrong_tanh = Op(
    "wrong_tanh",
    lambda xp, x: xp.tanh(x),
    x=lambda xp, g, out: g * (1 - out),  # it should be 1 - out * out
)
assert mp.gradcheck(lambda x: apply(wrong_tanh, x), mp.zeros(1))  # 1 - 0 = 1 - 0 * 0: not noticed
try:
    mp.gradcheck(lambda x: apply(wrong_tanh, x), inputs)
except AssertionError as found:
    print("gradcheck:", found)
else:
    raise RuntimeError("the mistake was not found")

# %% [markdown]
# ## What to remember
#
# - Forward records, backward walks the record from the last result to the first; gradients that meet are
#   added.
# - An operation is its rule plus one gradient rule for each input. The rest of an engine is bookkeeping.
# - A difference quotient is best at h ≈ u^(1/3), with an error near u^(2/3). Check gradients in FP64, at
#   points that are not special.
#
# ## On your own
#
# 1. Add `divide`, `exp` and `sum` to the small engine and check them with differences.
# 2. One-sided differences, (f(x + h) − f(x))/h, have an error of h/2 of the second derivative. Where is the
#    lowest point of their V? Predict it, then change `difference_errors`.
# 3. Read `tinymp/autograd/backward.py`; with the rest of that folder it is an evening's reading. Where does
#    it round, and where does it add in FP32?
#
# Exercises: 4a (two gradient rules), 4b (bug hunt: a graph with shared variables), 4c (write the check that
# breaks them).
#
# ## Further reading
#
# - D. E. Rumelhart, G. E. Hinton, R. J. Williams, *Learning representations by back-propagating errors*,
#   Nature 323, 1986.
# - A. G. Baydin, B. A. Pearlmutter, A. A. Radul, J. M. Siskind, *Automatic differentiation in machine
#   learning: a survey*, J. Machine Learning Research 18(153), 2018.
# - J. Nocedal, S. J. Wright, *Numerical Optimization*, 2nd ed., Springer, 2006, section 8.1: the best step
#   of a difference quotient.
# - A. Karpathy, *micrograd* (github.com/karpathy/micrograd): a scalar engine in about a hundred lines.
