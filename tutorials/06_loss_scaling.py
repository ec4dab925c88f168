# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6 · Gradients below 2⁻²⁴, and loss scaling
#
# Read 30 min · run 3 s · practise 45 min · difficulty 2 of 3
#
# **You will** look at the exponents of every gradient of a network, see a training fail because most of
# them vanish, and repair it with two multiplications.
#
# **You will learn** where FP16 ends at the bottom; why gradients, of all numbers, are small; why one factor
# on the loss moves all of them; how to choose it; and where to divide by it again.
#
# **You need** lessons 1, 4 and 5.

# %%
import os

# Matrices as small as these gain nothing from threads, which on a busy machine wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import matplotlib.pyplot as plt
import numpy as np

import tinymp as mp
from tinymp.inspect.style import BLACK, BLUE, GREEN, ORANGE, VERMILION

FAST = os.environ.get("TINYMP_FAST") == "1"
plt.rcParams.update({"figure.dpi": 80, "figure.constrained_layout.use": True, "font.size": 10})
cross_entropy = mp.nn.functional.cross_entropy
train, test = mp.data.load_digits("train"), mp.data.load_digits("test")

# %% [markdown]
# ## The bottom of FP16
#
# The smallest positive FP16 number is 2⁻²⁴ ≈ 6 · 10⁻⁸. Under rounding to nearest, 2⁻²⁵ and everything below
# becomes zero (2⁻²⁵ itself is a tie between 0 and 2⁻²⁴, and 0 is even); under truncation everything below
# 2⁻²⁴ does. Below 2⁻¹⁴ numbers are subnormal: they have fewer and fewer bits left.

# %%
powers = 2.0 ** np.arange(-13, -27, -1)
halves = powers.astype(np.float16)
print(
    "survive:", [f"2^{int(np.log2(p))}" for p, h in zip(powers, halves, strict=True) if h > 0][-1]
)
assert halves[powers == 2.0**-24] > 0 and halves[powers == 2.0**-25] == 0
assert np.float16(np.nextafter(np.float32(2.0**-25), np.float32(1))) == np.float16(2.0**-24)

# %% [markdown]
# ## A loss among other losses
#
# Why should gradients be that small? A mean over a batch of 1,024 divides each image's gradient by 1,024. A
# mean over the tokens of a language model divides by more. Here the digits' loss also gets a weight of
# 2⁻¹², as one term among others may have. To FP32 such a factor is nothing.
#
# **Predict**: which share of all gradients that backpropagation computes in this network, of weights and of
# activations, lies below FP16's range? Which share is zero to begin with, in FP32?

# %%
WEIGHT = 2.0**-12


def network_and_loss(dtype, scale=1.0):
    mp.manual_seed(0)
    model = mp.models.MLP(64, [64], 10).to(dtype)
    x = mp.tensor(train.inputs[:1024]).to(dtype)
    loss = cross_entropy(model(x).float(), mp.tensor(train.targets[:1024]))
    return model, loss * (WEIGHT * scale)


def gradients_of_a_step(scale=1.0):
    """Exponents and classes, against FP16, of all gradients of one FP32 step."""
    with mp.inspect.ranges(mp.float16) as run:
        network_and_loss(mp.float32, scale)[1].backward()
    first, *rest = run.gradients.values()
    return sum(rest, start=first)


every = gradients_of_a_step()
for name, number in every.classes.items():
    print(f"{name:10} {number:8,}  {number / every.total:6.1%}")
share = {name: number / every.total for name, number in every.classes.items()}
assert 0.1 < share["zero"] < 0.35 and share["underflow"] > 0.5 and share["overflow"] == 0

# %% [markdown]
# Two things must be kept apart. A fifth of the gradients is *zero in FP32 already*, most of them because a
# ReLU was off: they are no loss. Nearly three quarters *underflow*: they have a value in FP32, and none in
# FP16.
#
# The most copied figure about loss scaling is the histogram of activation gradients in Micikevicius et al.
# (2018, figure 3), of a Multibox SSD detector. The paper says that 67 % of the values are zero, NVIDIA's
# guide to the same histogram 66.8 %, and both are sometimes quoted as "two thirds of the gradients become zero
# in FP16". But it was recorded *in FP32*: those zeros are zero there already. Their figures beside ours:
#
# | share of the gradients | their SSD | here |
# |---|---|---|
# | zero in FP32 already | 66.8 % | 22.5 % |
# | zero in FP16 only | about 28 %, what is left of 100 % | 72.1 % |
# | not zero in FP16 | 5.3 % | 5.4 % |
# | loss scale that was enough | 8 | 2¹², see below |
#
# A scale of 8 was enough for the SSD, so what lies below 2⁻²⁷ did not matter to it, and what lies between
# 2⁻²⁷ and 2⁻²⁴ did. (The guide's text says 31 % where the table has 28; with 66.8 and 5.3 that is more
# than everything.)

# %%
left = 1 - share["zero"] - share["underflow"]
assert np.allclose([share["zero"], share["underflow"], left], [0.225, 0.721, 0.054], atol=0.003)

# %% [markdown]
# ## One factor moves them all
#
# The chain rule is linear: multiply the loss by S, and every gradient is multiplied by S. If S is a power
# of two, that only adds to the exponents: no bit of any significand changes. Here are the exponents of the
# same step, as it is and scaled by 2¹⁶. **Predict** how the second picture differs from the first.

# %%
step = {scale: gradients_of_a_step(scale) for scale in (1.0, 2.0**16)}
figure, panels = plt.subplots(2, 1, figsize=(7.5, 5), sharex=True, sharey=True)
for panel, (scale, counted) in zip(panels, step.items(), strict=True):
    for low, high, colour, hatch, name in (
        (-99, -25, VERMILION, "///", "lost in FP16"),
        (-25, -14, ORANGE, "...", "subnormal in FP16"),
        (-14, 99, BLUE, "", "normal in FP16"),
    ):
        bars = {e: n for e, n in counted.exponents.items() if low <= e < high}
        lost = sum(bars.values()) / counted.total
        panel.bar(
            list(bars), list(bars.values()), width=1, align="edge", color=colour, hatch=hatch,
            edgecolor="white", linewidth=0.4, label=f"{name}: {lost:.0%}",
        )  # fmt: skip
    panel.axvline(16, color=BLACK, linewidth=1)
    panel.annotate(
        "overflow\nfrom here", (16.3, 0.6), xycoords=("data", "axes fraction"), fontsize=8
    )
    panel.set(title=f"loss scale 2^{int(np.log2(scale))}", ylabel="gradients")
    panel.legend(frameon=False, fontsize=8, loc="upper left")
panels[1].set(xlabel="exponent e of the gradient, 2^e ≤ |g| < 2^(e+1)", xlim=(-50, 26))
plt.show()
plain, scaled = step.values()
assert {e + 16: n for e, n in plain.exponents.items()} == scaled.exponents
assert scaled.share("underflow") < 0.05

# %% [markdown]
# ## What really arrives
#
# Counting an FP32 run says what would be lost at each operation by itself. In an FP16 run losses travel:
# once the gradient of the outputs is zero, so is everything before it. So now the same step in FP16, at
# many scales, and the gradients of the weights as they arrive. **Predict** the shape of the curve. What
# limits S above?


# %%
def weight_gradients(dtype, scale):
    model, loss = network_and_loss(dtype, scale)
    loss.backward()
    return np.concatenate([p.grad.float().numpy().ravel() for p in model.parameters()])


exact = weight_gradients(mp.float32, 1.0)
present = exact != 0
powers = np.arange(0, 37, 2 if FAST else 1)
flushed, infinite = [], []
for power in powers:
    found = weight_gradients(mp.float16, 2.0**power)
    flushed.append((found[present] == 0).mean())
    infinite.append((~np.isfinite(found)).mean())
flushed, infinite = np.array(flushed), np.array(infinite)

figure, axes = plt.subplots(figsize=(7, 3.6))
axes.plot(powers, 100 * flushed, "-o", color=VERMILION, markersize=4, label="flushed to zero")
axes.plot(powers, 100 * infinite, "--s", color=BLUE, markersize=4, label="infinite or NaN")
good = powers[(flushed < 0.001) & (infinite == 0)]
axes.axvspan(good[0], good[-1], facecolor="none", edgecolor=GREEN, hatch="//", linewidth=0)
axes.annotate(
    "safe", ((good[0] + good[-1]) / 2, 50), ha="center", backgroundcolor="white", fontsize=10
)
axes.set(
    xlabel="loss scale, as a power of two",
    ylabel="weight gradients, %",
    title="gradients that arrive at the weights in FP16",
)
axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0.08, 1))
plt.show()
print(f"unscaled: {flushed[0]:.0%} flushed; safe scales: 2^{good[0]} to 2^{good[-1]}")
assert flushed[0] > 0.3 and infinite[-1] > 0.1
assert (good[0], good[-1]) == ((12, 32) if FAST else (12, 33))
assert (np.diff(flushed[powers <= 20]) <= 0).all()

# %% [markdown]
# The window of safe scales is wide, 2¹² to 2³³, and its upper end is where the first gradient anywhere in
# the network passes 65504. Static scales from 8 to 32,768 are what Micikevicius et al. (2018, section 3.2)
# used, and many of their networks needed none. Lesson 7 finds the scale while training.
#
# ## Unscale in FP32
#
# The weights must get the true gradient: divide by S before it is used. If that is done in FP16, the small
# ones die after all.

# %%
scale = 2.0**16
scaled = weight_gradients(mp.float16, scale)
wrong = (scaled.astype(np.float16) / np.float16(scale / 2) / np.float16(2)).astype(np.float32)
right = scaled / np.float32(scale)
error = np.abs(right - exact)[present] / np.abs(exact)[present]
print(
    f"zero after unscaling: in FP16 {(wrong[present] == 0).mean():.0%}, in FP32 {(right[present] == 0).mean():.0%}"
)
print(
    f"median relative error in FP32: {np.median(error):.1e} (FP16's unit roundoff is {2.0**-11:.1e})"
)
assert (wrong[present] == 0).mean() > 0.2 and (right[present] == 0).mean() < 0.001
assert np.median(error) < 4 * 2.0**-11

# %% [markdown]
# Dividing by a power of two is exact in FP32. That is why scales are powers of two: the only rounding left
# is the FP16 one of the backward pass itself.
#
# ## The order of a step
#
# With masters (lesson 5) the step now reads, and this order matters:
#
# 1. backward on the *scaled* loss;
# 2. copy the gradients to the FP32 masters;
# 3. divide them by S, there;
# 4. clip, if you clip: only now are they the true gradients;
# 5. optimizer step; copy the masters back to FP16.
#
# Does it matter for training? The digits again, with Adam, the same weight of 2⁻¹² on the loss.


# %%
def fit(dtype, scale=1.0, steps=120 if FAST else 400):
    mp.manual_seed(0)
    order = np.random.default_rng(0)
    losses = []
    with mp.rounding("nearest_even"):
        model = mp.models.MLP(64, [64], 10).to(dtype)
        masters = mp.amp.MasterWeights(model.parameters())
        optimizer = mp.optim.Adam(masters.parameters(), lr=0.005)
        for _ in range(steps):
            batch = order.integers(0, len(train), 1024)
            x = mp.tensor(train.inputs[batch]).to(dtype)
            loss = cross_entropy(model(x).float(), mp.tensor(train.targets[batch]))
            optimizer.zero_grad()
            (loss * (WEIGHT * scale)).backward()
            masters.copy_gradients()
            for master in masters.parameters():
                master.grad.mul_(1 / scale)
            optimizer.step()
            masters.copy_weights()
            losses.append(loss.item())
        guesses = model(mp.tensor(test.inputs).to(dtype)).numpy().argmax(axis=1)
    return np.array(losses), (guesses == test.targets).mean()


runs = {
    "FP32": (fit(mp.float32), BLACK, "-"),
    "FP16, no scaling": (fit(mp.float16), VERMILION, "-."),
    "FP16, scale 2^16": (fit(mp.float16, 2.0**16), ORANGE, "--"),
    "BF16, no scaling": (fit(mp.bfloat16), BLUE, ":"),
}
figure, axes = plt.subplots(figsize=(7, 3.6))
for name, ((losses, accuracy), colour, line) in runs.items():
    axes.semilogy(losses, line, color=colour, linewidth=3 if name == "FP32" else 1.8, label=name)
    print(f"{name:17} final loss {losses[-10:].mean():.4f}, test accuracy {accuracy:.1%}")
axes.set(xlabel="step", ylabel="training loss", title="all with FP32 masters, to nearest")
axes.legend(frameon=False)
plt.show()
results = {name: run[0] for name, run in runs.items()}
assert results["FP16, no scaling"][0][-10:].mean() > 0.8
for name in ("FP16, scale 2^16", "BF16, no scaling"):
    ratio = results[name][0][-10:].mean() / results["FP32"][0][-10:].mean()
    assert 0.8 < ratio < 1.25, f"{name}: {ratio}"
    assert abs(results[name][1] - results["FP32"][1]) < 0.01

# %% [markdown]
# Two multiplications make the difference between a third of the digits and nearly all of them. (On the
# weights themselves scaling has no effect whatever: after step 3 the gradients are the same numbers as in
# FP32, up to FP16's rounding.)
#
# BF16 needs none of this: with the exponents of FP32, its gradients do not underflow before FP32's do. That
# is what its 8 exponent bits buy. What they cost is precision: its numbers are eight times as coarse.
#
# ## What to remember
#
# - FP16 gradients at or below 2⁻²⁵ are zero under rounding to nearest, below 2⁻²⁴ under truncation. Zeros
#   that are zero in FP32, too, are no underflow.
# - S on the loss is S on every gradient. Powers of two are exact. Choose S so large that the largest
#   gradient stays below 65504, with room to spare.
# - Unscale in FP32, before anything else looks at the gradients.
#
# ## On your own
#
# 1. Truncate instead: `mp.rounding("toward_zero")` around `weight_gradients`. How does the curve move?
# 2. Which operation flushes first? Print `run` of `mp.inspect.ranges(mp.float16, model=model)` in an FP16
#    run.
# 3. Scale by 3 · 2¹⁴ instead of 2¹⁶ and compare the gradients bit by bit. Where does the extra error come
#    from?
#
# Exercises: 6a (choose a scale), 6b (predict what is flushed), 6c (bug hunt: the order of a step).
#
# ## Further reading
#
# - P. Micikevicius, S. Narang, J. Alben, G. Diamos, E. Elsen, D. Garcia, B. Ginsburg, M. Houston, O.
#   Kuchaiev, G. Venkatesh, H. Wu, *Mixed precision training*, ICLR 2018, arXiv 1710.03740, section 3.2 and
#   figure 3.
# - D. Kalamkar et al., *A study of BFLOAT16 for deep learning training*, arXiv 1905.12322, 2019: training
#   without loss scaling.
# - NVIDIA, *Train with mixed precision* (docs.nvidia.com/deeplearning/performance): the histogram once
#   more, with 66.8 % and 5.3 %; choosing a scaling factor.
