# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 13 · Beyond 16 bits: FP8, and a scale for every tensor
#
# Read 30 min · run 5 s · practise 45 min · difficulty 3 of 3
#
# **You will** train the digits' network with 8-bit products, see it fail without scales, and give each
# tensor one.
#
# **You will learn** what E4M3 and E5M2 are for; why one loss scale is no longer enough; how scales are
# found, at once or from the past; what a single outlier does; and why the accumulator becomes a question
# again.
#
# **You need** lessons 1 to 3, 6 and 7.

# %%
import os
from collections import deque

import matplotlib.pyplot as plt
import numpy as np

import tinymp as mp
from tinymp.formats import decode, encode
from tinymp.inspect.style import BLACK, BLUE, ORANGE, PURPLE, VERMILION
from tinymp.numerics import tensor_core_matmul

FAST = os.environ.get("TINYMP_FAST") == "1"
plt.rcParams.update({"figure.dpi": 80, "figure.constrained_layout.use": True, "font.size": 10})
cross_entropy = mp.nn.functional.cross_entropy
train, test = mp.data.load_digits("train"), mp.data.load_digits("test")
E4M3, E5M2 = mp.float8_e4m3fn, mp.float8_e5m2

# %% [markdown]
# ## Two formats of eight bits
#
# Eight bits hold 256 words. E4M3 spends them on precision (3 significand bits), E5M2 on range (5 exponent
# bits, like FP16's). Weights and activations are stored in E4M3, gradients in E5M2 (Micikevicius et al.
# 2022).

# %%
for dtype in (E4M3, E5M2, mp.float16):
    ratio = np.log2(dtype.max / dtype.smallest_subnormal)
    print(
        f"{dtype.name:14} from 2^{np.log2(dtype.smallest_subnormal):.0f} to {dtype.max:g}: {ratio:.1f} powers "
        f"of two, relative precision 2^-{dtype.precision}"
    )
assert (E4M3.max, E5M2.max) == (448, 57344)
assert E4M3.smallest_subnormal == 2.0**-9 and E5M2.smallest_subnormal == 2.0**-16

# %% [markdown]
# E4M3 spans fewer than 18 powers of two, FP16 spans 40. Where do the tensors of a real step lie? Here are a
# weight matrix, the activations behind it and the gradient that comes back, as they are in FP32 after some
# training. **Predict** which of the three E4M3 and E5M2 can store as they are.

# %%
mp.manual_seed(0)
model = mp.models.MLP(64, [128, 128], 10)
optimizer = mp.optim.Adam(model.parameters(), lr=0.003)
order = np.random.default_rng(0)
for _ in range(100):
    batch = order.integers(0, len(train), 512)
    optimizer.zero_grad()
    hidden = model[1](model[0](mp.tensor(train.inputs[batch])))
    before = model[2](hidden)
    before.retain_grad()
    loss = cross_entropy(model[4](model[3](before)), mp.tensor(train.targets[batch]))
    loss.backward()
    optimizer.step()
tensors = {
    "weights": model[2].weight.detach().numpy(),
    "activations": hidden.detach().numpy(),
    "gradients": before.grad.numpy(),
}


def lost(x, dtype, scale=1.0):
    """Share of the values other than zero that become zero."""
    present = x != 0
    stored = decode(encode(x * np.float32(scale), dtype, saturate=True), dtype)
    return (stored[present] == 0).mean()


print(f"{'':12}  largest   lost in E4M3  lost in E5M2  in E4M3, scaled")
for name, x in tensors.items():
    scale = E4M3.max / np.abs(x).max()
    print(
        f"{name:12} {np.abs(x).max():8.2g} {lost(x, E4M3):13.1%} {lost(x, E5M2):13.1%} "
        f"{lost(x, E4M3, scale):14.1%}"
    )
assert lost(tensors["gradients"], E4M3) > 0.9 and lost(tensors["gradients"], E5M2) > 0.1
assert lost(tensors["gradients"], E4M3, E4M3.max / np.abs(tensors["gradients"]).max()) < 0.35
assert lost(tensors["weights"], E4M3) < 0.05

# %% [markdown]
# The tensors are of different sizes, and the window is narrow. One factor on the loss, as in lesson 6,
# moves all gradients together, and weights and activations not at all. So with FP8 **each tensor gets a
# scale of its own**:
#
#     stored = round(x · s),   s = 448 / max|x|,   used as stored / s.
#
# ## A quantised layer
#
# A product of two E4M3 numbers is exact in FP32 (4 + 4 bits). So rounding both factors to E4M3 and
# multiplying in FP32 gives what FP8 hardware with an FP32 accumulator would give. For the backward pass the
# gradient is rounded to E5M2 as it arrives at the layer. The rounding itself is passed over by the
# gradient, as if it were not there: the *straight-through* estimate.


# %%
def rounded(x, dtype, scale):
    """x · scale rounded to a format (saturating), and divided by the scale again: FP32 arrays."""
    return decode(encode(x * np.float32(scale), dtype, saturate=True), dtype) / np.float32(scale)


def straight_through(x, dtype, scale):
    """A tensor with rounded values whose gradient is that of x."""
    change = mp.tensor(rounded(x.detach().numpy(), dtype, scale)) - x.detach()
    return x + change


class Scales:
    """How the scale of each tensor is chosen: "one", "now" or "delayed" (from the last 16 steps)."""

    def __init__(self, rule):
        self.rule, self.history = rule, {}

    def __call__(self, name, values, dtype):
        largest = float(np.abs(values).max())
        past = self.history.setdefault(name, deque(maxlen=16))
        known = max(past, default=0.0) if self.rule == "delayed" and past else largest
        past.append(largest)
        if self.rule == "one" or known == 0:
            return 1.0
        return 2.0 ** np.floor(np.log2(dtype.max / known))


def linear8(x, layer, name, scales):
    """A linear layer with E4M3 factors and an E5M2 gradient."""
    if scales is None:
        return layer(x)
    inputs = straight_through(x, E4M3, scales(name + " input", x.detach().numpy(), E4M3))
    values = layer.weight.detach().numpy()
    weight = straight_through(layer.weight, E4M3, scales(name + " weight", values, E4M3))
    out = mp.nn.functional.linear(inputs, weight, layer.bias)

    def hook(gradient):
        g = gradient.numpy()
        return mp.tensor(rounded(g, E5M2, scales(name + " gradient", g, E5M2)))

    out.register_hook(hook)
    return out


WEIGHT = 2.0**-7


def fit(scales, steps=120 if FAST else 400):
    mp.manual_seed(0)
    order = np.random.default_rng(0)
    model = mp.models.MLP(64, [128, 128], 10)
    optimizer = mp.optim.Adam(model.parameters(), lr=0.002)

    def forward(x):
        x = mp.relu(linear8(x, model[0], "first", scales))
        x = mp.relu(linear8(x, model[2], "second", scales))
        return model[4](x)  # the last layer stays wide, as is customary

    losses = []
    for _ in range(steps):
        batch = order.integers(0, len(train), 512)
        loss = cross_entropy(
            forward(mp.tensor(train.inputs[batch])), mp.tensor(train.targets[batch])
        )
        optimizer.zero_grad()
        (loss * WEIGHT).backward()
        optimizer.step()
        losses.append(loss.item())
    with mp.no_grad():
        h = mp.relu(model[0](mp.tensor(test.inputs)))
        guesses = model[4](mp.relu(model[2](h))).numpy().argmax(axis=1)
    return np.array(losses), (guesses == test.targets).mean()


# %% [markdown]
# The loss has a weight of 2⁻⁷, as one term among others (lesson 6). **Predict**: which of the three rules
# reaches the FP32 loss?

# %%
runs = {
    "FP32": (fit(None), BLACK, "-", 3),
    "FP8, no scales": (fit(Scales("one")), VERMILION, ":", 2),
    "FP8, scale of this step": (fit(Scales("now")), ORANGE, "--", 1.6),
    "FP8, delayed scale": (fit(Scales("delayed")), BLUE, "-.", 1.6),
}
figure, axes = plt.subplots(figsize=(7, 3.6))
for name, ((losses, accuracy), colour, line, width) in runs.items():
    axes.semilogy(losses, line, color=colour, linewidth=width, label=name)
    print(f"{name:24} final loss {losses[-20:].mean():.4f}, test accuracy {accuracy:.1%}")
axes.set(xlabel="step", ylabel="training loss", title="E4M3 forward, E5M2 backward, to nearest")
axes.legend(frameon=False)
plt.show()
last = {name: run[0][0][-20:].mean() for name, run in runs.items()}
assert last["FP8, no scales"] > 1.5 * last["FP32"]
for name in ("FP8, scale of this step", "FP8, delayed scale"):
    assert last[name] < 1.5 * last["FP32"] + 0.01
    assert abs(runs[name][0][1] - runs["FP32"][0][1]) < 0.015

# %% [markdown]
# With scales the 8-bit run comes close to FP32. The scale of this step needs a pass over each tensor before
# it can be rounded; on a GPU that is dear, so libraries take the largest value of past steps (*delayed
# scaling*). When a tensor grows faster than its history, values saturate at 448 for a step. They must
# *saturate*: E4M3 has no infinity, and without saturation what is too large becomes NaN.

# %%
too_large = np.float32([1.0, 470.0])
print(
    "saturating:",
    decode(encode(too_large, E4M3, saturate=True), E4M3),
    "  not:",
    decode(encode(too_large, E4M3), E4M3),
)
assert decode(encode(too_large, E4M3, saturate=True), E4M3)[1] == 448
assert np.isnan(decode(encode(too_large, E4M3), E4M3)[1])

# %% [markdown]
# ## One outlier
#
# A scale for the whole tensor is set by its largest element. Let one activation in a thousand channels be
# much larger than all others, as happens in language models. **Predict** what becomes of the rest when it
# is 10,000 times as large, and what scales for blocks of 32 neighbours would do.

# %%
rng = np.random.default_rng(5)
sizes = 2.0 ** np.arange(0, 21, 2)
errors = {"one scale": [], "a scale for each 32": []}
for size in sizes:
    x = rng.standard_normal((64, 1024)).astype(np.float32)
    x[:, 100] *= np.float32(size)
    others = np.delete(np.arange(1024), 100)
    whole = rounded(x, E4M3, E4M3.max / np.abs(x).max())
    blocks = x.reshape(64, 32, 32)
    scales = E4M3.max / np.abs(blocks).max(axis=2, keepdims=True)
    by_block = (decode(encode(blocks * scales, E4M3, saturate=True), E4M3) / scales).reshape(
        x.shape
    )
    for name, stored in (("one scale", whole), ("a scale for each 32", by_block)):
        difference = np.linalg.norm((stored - x)[:, others])
        errors[name].append(difference / np.linalg.norm(x[:, others]))
figure, axes = plt.subplots(figsize=(6.5, 3.4))
axes.loglog(sizes, errors["one scale"], "-o", color=VERMILION, label="one scale")
axes.loglog(sizes, errors["a scale for each 32"], "--s", color=PURPLE, label="a scale for each 32")
axes.set(xlabel="size of the outlier channel", ylabel="relative error\nof all other values")
axes.legend(frameon=False)
plt.show()
print({name: [round(float(e), 3) for e in found[::5]] for name, found in errors.items()})
assert errors["one scale"][0] < 0.04 and errors["one scale"][-1] > 0.9
assert errors["a scale for each 32"][-1] < 0.25

# %% [markdown]
# With one scale FP8 forgives a factor of a few thousand, because it is a *floating* point format: the small
# values only get rounded coarsely once they are subnormal. Beyond that one scale fails altogether; with
# blocks the damage stays in the one block of thirty-two that has the outlier. This is the idea of the
# microscaling formats (MXFP8): a power of two for every 32 elements.
#
# ## The accumulator again
#
# Lesson 3 opened an FP16 tensor core. For FP8 the H200 aligns its 32 products more coarsely and cuts each
# result to 14 bits. Without *fast accumulation* cuBLAS moves the sum to an ordinary FP32 number after every
# 128 products; with it, the 14 bits are all there is. **Predict** the relative error for long sums of positive
# terms.

# %%
lengths = [2**k for k in range(6, 11 if FAST else 13)]
found = {"fast": [], "FP32 after each 128": []}
for k in lengths:
    a = encode(rng.uniform(0.5, 1.5, (16, k)).astype(np.float32), E4M3)
    b = encode(rng.uniform(0.5, 1.5, (k, 16)).astype(np.float32), E4M3)
    exact = decode(a, E4M3).astype(np.float64) @ decode(b, E4M3).astype(np.float64)
    for name, fast in (("fast", True), ("FP32 after each 128", False)):
        product = tensor_core_matmul(a, b, E4M3, fast_accumulation=fast)
        found[name].append(np.abs(product / exact - 1).max())
figure, axes = plt.subplots(figsize=(6.5, 3.4))
axes.loglog(lengths, found["fast"], "-o", color=VERMILION, label="fast: 14 bits throughout")
axes.loglog(
    lengths, found["FP32 after each 128"], "--s", color=BLUE, label="to FP32 after each 128"
)
axes.axhline(2.0**-4, color="grey", linewidth=0.8)
axes.annotate("rounding one factor to E4M3", (lengths[0], 2.0**-4), va="bottom", fontsize=8)
axes.set(xlabel="length K of the dot product", ylabel="largest relative error")
axes.legend(frameon=False, loc="center right")
plt.show()
print("at K =", lengths[-1], {name: f"{e[-1]:.1e}" for name, e in found.items()})
assert found["fast"][-1] > 5 * found["FP32 after each 128"][-1]
assert FAST or 0.05 < found["fast"][-1] < 0.1

# %% [markdown]
# Always cutting 14-bit sums toward zero costs 7 % at K = 4,096 here, as much as rounding a factor to E4M3
# in the first place; and it does not average out. The report on DeepSeek-V3 (2024, section 3.3.2) names
# nearly 2 % as the largest error at this K in its preliminary test on H800 GPUs, which is why its training
# moves partial sums to FP32 after every 128 products. Ours is larger because all terms are positive and
# every cut goes the same way; it comes from a model that was checked bit for bit against an H200.
#
# ## What to remember
#
# - E4M3 for weights and activations, E5M2 for gradients: less than 18 powers of two, so every tensor needs
#   a scale.
# - Scales come from the largest value, of this step or of past ones; what exceeds them saturates.
# - Outliers spoil a tensor's scale; smaller blocks keep the damage local. Long sums need a wide accumulator
#   again.
#
# ## On your own
#
# 1. Use E4M3 for gradients, too, with scales, as DeepSeek-V3 does. Is anything lost on this task?
# 2. Quantise the last layer as well. How much accuracy does it cost, and why is it customary not to?
# 3. `mp.formats.float_format(2, 3)` is a format of six bits. How far do block scales carry you with it?
#
# Exercises: 13a (a scale from the past), 13b (block scales), 13c (bug hunt: a scale that does not help).
#
# ## Further reading
#
# - P. Micikevicius, D. Stosic, N. Burgess, et al., *FP8 formats for deep learning*, arXiv 2209.05433, 2022.
# - DeepSeek-AI, *DeepSeek-V3 technical report*, arXiv 2412.19437, 2024, section 3.3: blocks of scales, and
#   sums of 128.
# - NVIDIA, *Transformer Engine* (docs.nvidia.com): delayed scaling, by default from the last 1,024 steps.
# - Y. Bengio, N. Léonard, A. Courville, *Estimating or propagating gradients through stochastic neurons for
#   conditional computation*, arXiv 1308.3432, 2013: the straight-through estimate.
# - T. Dettmers, M. Lewis, Y. Belkada, L. Zettlemoyer, *LLM.int8(): 8-bit matrix multiplication for
#   transformers at scale*, NeurIPS 2022, arXiv 2208.07339: outliers in language models.
# - B. D. Rouhani et al., *Microscaling data formats for deep learning*, arXiv 2310.10537, 2023.
# - X. Sun, J. Choi, C.-Y. Chen, et al., *Hybrid 8-bit floating point (HFP8) training and inference for deep
#   neural networks*, NeurIPS 2019: one format forward, another one backward.
