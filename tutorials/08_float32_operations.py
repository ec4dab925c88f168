# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 8 · Which operations need FP32
#
# Read 30 min · run 2 s · practise 45 min · difficulty 2 of 3
#
# **You will** break a softmax, a norm and a loss in FP16, find out for each operation how often its results
# leave FP16's range, and compare what you found with the table that autocast uses.
#
# **You will learn** which operations are dangerous in FP16 and why; the difference between the format in
# which an operation computes and the one in which it returns; and what autocast does, cast by cast.
#
# **You need** lessons 1 to 3; lesson 6 for the last part.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np

import tinymp as mp
from tinymp.amp.autocast import categories
from tinymp.inspect.style import BLACK, ORANGE, SKY, VERMILION

FAST = os.environ.get("TINYMP_FAST") == "1"
plt.rcParams.update({"figure.dpi": 80, "figure.constrained_layout.use": True, "font.size": 10})
cross_entropy = mp.nn.functional.cross_entropy
train, test = mp.data.load_digits("train"), mp.data.load_digits("test")

# %% [markdown]
# ## Computing is not the problem, storing is
#
# A tinymp operation on FP16 tensors decodes them, *computes* in FP32 and rounds the result once to FP16. A
# GPU does much the same inside one kernel. So the question is never whether a single exp is computed well;
# it is whether its result *fits*. And a formula made of several operations rounds after each of them.
#
# ## Softmax by hand
#
# **Predict**: logits of 5 and 12 in FP16. What is exp(12), and what is the softmax computed step by step?

# %%
logits = mp.tensor([5.0, 12.0], dtype=mp.float16)
powers = mp.exp(logits)
by_hand = powers / powers.sum()
print("exp:            ", powers.numpy())
print("by hand:        ", by_hand.numpy())
print("one operation:  ", mp.softmax(logits, dim=0).numpy())
assert np.isinf(powers.numpy()[1]) and np.isnan(by_hand.numpy()[1])
assert np.allclose(mp.softmax(logits, dim=0).numpy(), [0.00091105, 0.99908895], atol=2**-12)

# %% [markdown]
# exp(12) = 162,755 is beyond 65,504: infinity, and ∞/∞ is NaN. FP16 ends at exp(11.09). Subtracting the
# largest logit first helps, in any format; and as *one* operation, softmax has its powers in FP32 and only
# returns FP16.
#
# The logarithm comes next. A loss is −log p, and p underflows where the loss should be large:

# %%
logits = mp.tensor([[0.0, 18.0]], dtype=mp.float16)
p = mp.softmax(logits, dim=1)
with np.errstate(divide="ignore"):
    two_steps = -mp.log(p)[0, 0].item()
one_step = cross_entropy(logits.float(), mp.tensor([0])).item()
print(f"p = {p.numpy()[0, 0]}, -log p = {two_steps}, cross entropy in one step = {one_step:.3f}")
assert two_steps == np.inf and abs(one_step - 18) < 1e-4

# %% [markdown]
# p = e⁻¹⁸ ≈ 1.5 · 10⁻⁸ is zero in FP16, and the loss infinite. Losses above −log 2⁻²⁵ ≈ 17.3 do not exist
# in FP16 when computed in two steps, and long before that −log p is coarse.
#
# ## Norms: squares double the exponent
#
# Squaring doubles an exponent, so a format's range is halved (as exponents go): squares overflow from 256
# on and vanish below 2⁻¹² or so. **Predict** the root mean square of a vector of 300s, and of one of 10⁻⁴s,
# in FP16, step by step.

# %%
for size in (300.0, 1e-4):
    x = mp.full((8,), size, dtype=mp.float16)
    step_by_step = mp.sqrt((x * x).mean()).item()
    widened = mp.sqrt((x.float() * x.float()).mean()).half().item()
    print(f"rms of {size}: step by step {step_by_step}, in FP32 and then rounded {widened:.6g}")
    assert step_by_step == (np.inf if size > 1 else 0.0)
    assert abs(widened / size - 1) < 2**-10

# %% [markdown]
# That is the inside of every layer norm, of gradient clipping, and of Adam. Divide by the second of these
# and you divide by zero, unless an ε is added; and the customary ε of 10⁻⁸ is zero in FP16, too.

# %%
print(
    "1e-8 in FP16:",
    mp.tensor(1e-8, dtype=mp.float16).item(),
    "   1e-5:",
    mp.tensor(1e-5, dtype=mp.float16).item(),
)
assert mp.tensor(1e-8, dtype=mp.float16).item() == 0
assert mp.tensor(1e-5, dtype=mp.float16).item() > 0

# %% [markdown]
# ## Ask every operation
#
# Let us measure instead of collecting examples. Give each operation FP16 inputs of ordinary size, normally
# distributed with standard deviation 10, let it return FP32, and count which results FP16 could not hold:
# overflow, or underflow to zero. (A sum is over 8,192 terms, a product of matrices over 256.) **Predict**
# the two worst.

# %%
rng = np.random.default_rng(0)
x = mp.tensor(10 * rng.standard_normal((64, 8192)), dtype=mp.float16).float()
positive = abs(x) + 2.0**-10
small = x[:, :256]
operations = {
    "exp": lambda: mp.exp(x),
    "pow 4": lambda: x**4,
    "square, summed": lambda: (x * x).sum(dim=1),
    "softmax": lambda: mp.softmax(x, dim=1),
    "log": lambda: mp.log(positive),
    "sum": lambda: x.sum(dim=1),
    "tanh": lambda: mp.tanh(x),
    "relu": lambda: mp.relu(x),
    "add": lambda: x + x,
    "multiply": lambda: x * x,
    "matmul": lambda: small @ small.transpose(0, 1),
    "layer norm": lambda: mp.layer_norm(x, (8192,)),
}
counts = {name: mp.inspect.histogram(run(), mp.float16) for name, run in operations.items()}
lost = {n: (100 * c.share("overflow"), 100 * c.share("underflow")) for n, c in counts.items()}
order = sorted(lost, key=lambda name: sum(lost[name]))
figure, axes = plt.subplots(figsize=(7, 4))
axes.barh(
    order,
    [lost[n][0] for n in order],
    color=VERMILION,
    hatch="//",
    edgecolor="white",
    label="overflow",
)
axes.barh(
    order, [lost[n][1] for n in order], left=[lost[n][0] for n in order], color=SKY, hatch="..",
    edgecolor="white", label="underflow to zero",
)  # fmt: skip
axes.set(xlabel="results that FP16 cannot hold, %", title="inputs of standard deviation 10")
axes.legend(frameon=False, loc="lower right")
plt.show()
worst = order[::-1][:4]
print("worst:", {name: f"{sum(lost[name]):.0f} %" for name in worst})
assert set(worst) == {"square, summed", "softmax", "exp", "pow 4"}
for name in ("tanh", "relu", "add", "multiply", "matmul", "layer norm", "log", "sum"):
    assert sum(lost[name]) < 1, name

# %% [markdown]
# Exponentials, powers, and sums of squares leave the range; what compresses or selects (tanh, relu), and
# sums of a few hundred products, does not. (The many zeros of softmax are honest: most probabilities among
# 8,192 are tiny. They are a loss only where a logarithm follows. And sums are here for another reason:
# lesson 3.)
#
# ## Autocast: the same, as a table
#
# Mixed precision libraries keep such findings as lists. Inside `mp.amp.autocast`, a model with FP32 weights
# runs matrix products in FP16 and what is dangerous in FP32. Every operation has one of four categories:
#
# - **lower**: inputs are cast to FP16: products, where the speed is;
# - **float32**: the result is FP32: exponentials, logarithms, norms, losses, sums;
# - **widest**: all inputs to the widest type among them;
# - **follow**: whatever comes: relu, reshape, maximum.

# %%
table = categories()
for category in ("lower", "float32", "widest"):
    print(f"{category:8} {', '.join(table[category])}")
print(f"follow   all others, such as {', '.join(table['follow'][:5])}")
assert {"matmul", "linear", "conv2d"} <= set(table["lower"])
assert {"exp", "pow", "softmax", "sum", "layer_norm", "cross_entropy"} <= set(table["float32"])
assert {"relu", "tanh", "add", "mul"} <= set(table["follow"])

# %% [markdown]
# Compare it with the plot. Our four worst are in the FP32 list, and so are log, sum and layer norm, whose
# results would fit: what a layer norm is made of would not, a sum needs the precision, and a logarithm is
# mostly followed by a sum. The rest of our twelve follow, but for matmul, which is what mixed precision is
# for.
#
# ## Watch it work
#
# Autocast inserts ordinary casts, and a trace shows them. **Predict** the dtypes of a linear layer, a relu,
# a softmax, in this order, for FP32 weights and inputs.

# %%
mp.manual_seed(0)
layer = mp.nn.Linear(64, 10)
inputs = mp.tensor(train.inputs[:4])
with mp.amp.autocast(mp.float16), mp.inspect.trace() as seen:
    hidden = mp.relu(layer(inputs))
    out = mp.softmax(hidden, dim=1)
for event in seen.events:
    print(
        f"{event.contract.op:8} -> {event.outputs[0]}"
        + ("   (put in by autocast)" if event.cast else "")
    )
assert hidden.dtype is mp.float16 and out.dtype is mp.float32
assert layer.weight.dtype is mp.float32

# %% [markdown]
# The weights stay FP32: they are their own masters, and the cast that autocast puts in is differentiable,
# so their gradients are FP32 as well. The products see FP16.
#
# The same can be had as a program. `mp.capture` watches a function once and writes down what it did, without
# modules, graph and autocast: the rules of the operations on plain arrays, and every cast and rounding where
# it happens. (`xp` is NumPy; `representable` rounds values to a format and leaves them in FP32; in networks
# with FP16 weights there are `unpack` and `pack`, too, for 2-byte storage.) Later calls run this program: the
# same bits in less time. **Predict** how many roundings to FP16 stand in `backward`.


# %%
def loss_of(x, y):
    with mp.amp.autocast(mp.float16):
        return mp.nn.functional.cross_entropy(mp.relu(layer(x)), y)


captured = mp.capture(loss_of)
labels = mp.tensor(train.targets[:4])
captured(inputs, labels).backward()
print(captured.source)

found = layer.weight.grad.numpy()
layer.weight.grad = None
loss_of(inputs, labels).backward()
assert np.array_equal(layer.weight.grad.numpy(), found)
backward = captured.source.split("def backward")[1]
assert backward.count("representable(") == 3

# %% [markdown]
# Gradients are rounded to FP16 wherever the tensor they belong to is one, and only there: this is where small
# ones are lost. What an operation computes inside, such as the exponentials in `cross_entropy`, is FP32.
#
# ## Does it train?
#
# The digits with autocast and a loss scaler, beside FP32, and beside "everything in FP16": weights, logits,
# and a loss computed step by step, `-log(exp(z) / sum(exp(z)))`.


# %%
def by_hand(logits, labels):
    """Cross entropy, one FP16 operation after the other."""
    powers = mp.exp(logits)
    shares = powers / powers.sum(dim=1, keepdim=True)
    return -mp.log(shares[np.arange(len(labels)), labels.numpy()]).mean()


def fit(policy, loss_function=cross_entropy, steps=100 if FAST else 400):
    mp.manual_seed(0)
    order = np.random.default_rng(0)
    policy = mp.amp.get_policy(policy)
    model = policy.cast_model(mp.models.MLP(64, [64], 10))
    masters, scaler = policy.make_masters(model), policy.make_scaler()
    optimizer = mp.optim.Adam(masters.parameters(), lr=0.01)
    losses = []
    for _ in range(steps):
        batch = order.integers(0, len(train), 128)
        x, y = mp.tensor(train.inputs[batch]), mp.tensor(train.targets[batch])
        optimizer.zero_grad()
        with policy.autocast_context():
            logits = model(policy.cast_input(x))
            loss = loss_function(logits if loss_function is by_hand else logits.float(), y)
        scaler.scale(loss.float()).backward()
        masters.copy_gradients()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        masters.copy_weights()
        losses.append(loss.item())
    return np.array(losses)


runs = {
    "FP32": (fit("fp32"), BLACK, "-", 3),
    "autocast, FP16": (fit("autocast-fp16"), ORANGE, "--", 1.6),
    "all FP16, loss step by step": (fit("fp16-unscaled", by_hand), SKY, "-", 1.2),
}
figure, axes = plt.subplots(figsize=(7, 3.4))
for name, (losses, colour, line, width) in runs.items():
    axes.semilogy(losses, line, color=colour, linewidth=width, label=name)
broken = ~np.isfinite(runs["all FP16, loss step by step"][0])
first = int(broken.argmax())
if broken.any():
    axes.axvline(first, color=BLACK, linestyle=":", linewidth=1.2)
    axes.annotate("step by step:\ninf or NaN", (first + 4, 0.7))
axes.set(xlabel="step", ylabel="training loss", title="where the loss is computed")
axes.legend(frameon=False)
plt.show()
last = {name: losses[0][-20:].mean() for name, losses in runs.items()}
print(
    {name: round(float(value), 4) for name, value in last.items()},
    " first inf or NaN at step",
    first,
)
assert abs(last["autocast, FP16"] - last["FP32"]) < 0.02
assert broken.any()

# %% [markdown]
# Autocast lies on FP32. The hand-made loss runs along until the network gets good: then some logit passes
# 11.09, its exponential becomes infinite, and infinity over infinity is NaN, from which no weight recovers.
# Success is what breaks it. (Gradients are of ordinary size here; loss scaling would not have helped.)
#
# ## What to remember
#
# - Operations compute in FP32 inside; what matters is whether each *result* that is stored fits FP16.
# - Dangerous: exponentials, powers, sums and norms of squares, logarithms of small numbers, ε of 10⁻⁸.
#   Fused operations (softmax, cross entropy, layer norm) keep the dangerous part inside.
# - Autocast is a table of such findings plus ordinary casts. Losses belong in FP32.
#
# ## On your own
#
# 1. Repeat the bar plot for BF16 (`mp.bfloat16` in the histogram). Which bars are left, and why does
#    autocast keep the same FP32 list for BF16? (`mp.inspect.attribute_errors` shows the other half of the
#    answer.)
# 2. Find the largest logit for which `by_hand` gives a finite loss, and compare with log 65504.
# 3. `print(mp.inspect.contract_of("softmax", mp.float16))`, inside an autocast block and outside. Explain
#    each line.
#
# Exercises: 8a (softmax in FP16 alone), 8b (bug hunt: a layer norm), 8c (a loss that survives).
#
# ## Further reading
#
# - P. Micikevicius et al., *Mixed precision training*, ICLR 2018, arXiv 1710.03740, section 3.3: large
#   sums, those of batch normalisation and softmax, in FP32, while these layers read and write FP16.
# - PyTorch documentation, *Autocast op reference*: the lists that tinymp's table follows (those for CUDA).
# - P. Blanchard, D. J. Higham, N. J. Higham, *Accurately computing the log-sum-exp and softmax functions*,
#   IMA Journal of Numerical Analysis 41(4), 2021.
