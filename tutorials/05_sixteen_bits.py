# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5 · Training in 16 bits alone, and master weights
#
# Read 30 min · run 20 s · practise 50 min · difficulty 2 of 3
#
# **You will** train one network in FP32, FP16 and BF16, see two of the three stall, count the updates that
# never arrived, and repair the training with master weights, and in two other ways.
#
# **You will learn** when an update is lost; why a network stops learning although every gradient is right;
# what FP32 master weights do and cost; and what else goes wrong when Adam runs in FP16.
#
# **You need** lessons 1, 2 and 4.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np

import tinymp as mp
from tinymp.inspect.style import BLACK, BLUE, ORANGE, VERMILION

FAST = os.environ.get("TINYMP_FAST") == "1"
plt.rcParams.update({"figure.dpi": 80, "figure.constrained_layout.use": True, "font.size": 10})

# %% [markdown]
# ## One loop for everything
#
# A small network on the 8×8 digits, with plain gradient descent and a small learning rate, as at the end of
# any schedule. `dtype` is the format of weights, activations and gradients alike. The data, their order and
# the starting weights are the same every time; only the format changes. `masters=True` adds three lines
# that we come to below; for now they do nothing. The loss is computed in FP32.

# %%
train, test = mp.data.load_digits("train"), mp.data.load_digits("test")
STEPS = 500 if FAST else 2500


def fit(dtype, masters=False, mode="nearest_even", **options):
    """Train; return the loss of each step, the test accuracy, and a watch over the updates."""
    mp.manual_seed(0)
    order = np.random.default_rng(0)
    losses, watch = [], mp.inspect.UpdateWatch()
    with mp.rounding(mode):
        model = mp.models.MLP(64, [64], 10).to(dtype)
        weights = mp.amp.MasterWeights(model.parameters(), enabled=masters)
        optimizer = mp.optim.SGD(weights.parameters(), lr=0.004, **options)
        for _ in range(STEPS):
            batch = order.integers(0, len(train), 64)
            x = mp.tensor(train.inputs[batch]).to(dtype)
            y = mp.tensor(train.targets[batch])
            loss = mp.nn.functional.cross_entropy(model(x).float(), y)
            optimizer.zero_grad()
            loss.backward()
            weights.copy_gradients()  # model -> masters, if there are any
            with watch.step(optimizer):
                optimizer.step()
            weights.copy_weights()  # masters -> model, rounded
            losses.append(loss.item())
        guesses = model(mp.tensor(test.inputs).to(dtype)).numpy().argmax(axis=1)
    return np.array(losses), (guesses == test.targets).mean(), watch


# %% [markdown]
# **Predict**: which of FP16 and BF16 will train better here, without any help? Gradients are around 10⁻³,
# well inside the range of both.

# %%
runs = {
    "FP32": fit(mp.float32),
    "FP16 alone": fit(mp.float16),
    "BF16 alone, nearest": fit(mp.bfloat16),
    "BF16 alone, truncating": fit(mp.bfloat16, mode="toward_zero"),
}


def report(names):
    print(f"{'':24} final loss  accuracy  updates lost  more than doubled")
    for name in names:
        losses, accuracy, watch = runs[name]
        total = watch.total
        doubled = total.more_than_doubled / total.intended
        print(
            f"{name:24} {losses[-50:].mean():10.3f} {accuracy:9.1%} {total.lost_share:13.1%} "
            f"{doubled:18.1%}"
        )


report(runs)

# %%
STYLES = {
    "FP32": (BLACK, "-", 3.5),
    "FP16 alone": (ORANGE, "--", 1.6),
    "BF16 alone, nearest": (BLUE, "-.", 1.6),
    "BF16 alone, truncating": (VERMILION, ":", 2.2),
    "FP16 with masters": (ORANGE, "--", 1.6),
    "BF16 with masters": (BLUE, ":", 2.2),
}


def smooth(losses, width=50):
    return np.convolve(losses, np.ones(width) / width, mode="valid")


def plot_losses(names, title):
    _, axes = plt.subplots(figsize=(7, 3.6))
    for name in names:
        colour, line, width = STYLES[name]
        axes.plot(smooth(runs[name][0]), line, color=colour, linewidth=width, label=name)
    axes.set(xlabel="step", ylabel="training loss, mean of 50 steps", title=title)
    axes.legend(frameon=False)
    plt.show()


plot_losses(list(runs), "one network, four ways to store it")
final = {name: run[0][-50:].mean() for name, run in runs.items()}
assert final["FP32"] < final["FP16 alone"] < final["BF16 alone, nearest"]
if not FAST:
    assert final["FP16 alone"] > final["FP32"] + 0.05
    assert final["BF16 alone, nearest"] > 2 and final["BF16 alone, truncating"] > 2
    assert runs["BF16 alone, nearest"][1] < 0.4 < 0.8 < runs["FP32"][1]

# %% [markdown]
# BF16, whose gradients never leave its range, fails; FP16 falls behind. In both the gradients are right to
# within a few roundings (lesson 4). What fails is the last line, w ← w − lr · g. Look at the sizes.
#
# ## An update beside its weight
#
# A weight w and the next number of its format differ by one ulp. Under rounding to nearest, an update below
# half an ulp is lost. Half an ulp of a normal FP16 number lies between 2⁻¹² and 2⁻¹¹ of the number (it is
# 2⁻¹¹ of a power of two, and just above 2⁻¹² of the number below the next one). For BF16 it is 2⁻⁹ to 2⁻⁸.
# So a weight that receives updates smaller than about a 4,000th of itself does not move in FP16.

# %%
mp.manual_seed(0)
model = mp.models.MLP(64, [64], 10)
optimizer = mp.optim.SGD(model.parameters(), lr=0.004)
batch = np.random.default_rng(1).integers(0, len(train), 64)
logits = model(mp.tensor(train.inputs[batch]))
mp.nn.functional.cross_entropy(logits, mp.tensor(train.targets[batch])).backward()
weight = np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])
update = np.concatenate([0.004 * p.grad.numpy().ravel() for p in model.parameters()])
moved = (update != 0) & (weight != 0)
ratio = np.log2(np.abs(update[moved] / weight[moved]))

figure, axes = plt.subplots(figsize=(7, 3.4))
axes.hist(ratio, bins=np.arange(-24, 1, 0.5), color=BLUE, edgecolor="white", linewidth=0.4)
for left, hatch, name, side in ((-12, "///", "FP16", "right"), (-9, "...", "BF16", "left")):
    axes.axvspan(left, left + 1, facecolor="none", edgecolor=BLACK, hatch=hatch, linewidth=0.8)
    axes.annotate(
        f"{name}: lost left of the band,\nkept right of it",
        (left - 0.3 if side == "right" else left + 1.3, 0.96),
        xycoords=("data", "axes fraction"),
        ha=side,
        va="top",
        fontsize=9,
    )
axes.margins(y=0.35)
axes.set(
    xlabel="|update| / |weight|, as a power of two",
    ylabel="weights",
    title="first step, FP32 (both formats to nearest)",
)
plt.show()
below = {"FP16": (ratio < -12).mean(), "BF16": (ratio < -9).mean()}
print("certainly lost:", ", ".join(f"{name} {share:.0%}" for name, share in below.items()))
assert 0.15 < below["FP16"] < below["BF16"] and below["BF16"] > 0.7

# %% [markdown]
# Micikevicius et al. (2018, section 3.1) give the same reason in other words: once a weight is at least
# 2,048 times larger than its update, the FP16 addition can return the weight unchanged. They trained a
# Mandarin speech model that lost 80 % of its accuracy, in relative terms, when FP16 weights were updated
# directly, and none with FP32 masters. (They give a second reason, too: about 5 % of that model's weight
# gradients lie below 2⁻²⁴, FP16's smallest number; lesson 6.) Here it is:

# %%
shares = {name: run[2].total.lost_share for name, run in runs.items()}
for name, share in shares.items():
    print(f"{name:24} {share:6.1%} of the updates were lost")
assert shares["FP32"] < 0.01 and shares["FP16 alone"] > 0.4
assert shares["BF16 alone, nearest"] > 0.9
assert 0.4 < shares["BF16 alone, truncating"] < shares["BF16 alone, nearest"]

# %% [markdown]
# Under truncation fewer updates are lost, and it helps nothing: of those toward zero, each moves the weight
# by a whole ulp, often many times too far (lesson 2). All weights are pulled toward zero. The loss stays
# near log 10 ≈ 2.30, that of guessing, because the outputs have become so small; their order still knows
# something, which is why the accuracy looks better than the loss. Count lost *and* amplified updates.
#
# ## Master weights
#
# The remedy of mixed precision training keeps two copies of each weight:
#
# - a **master** in FP32, which receives the updates;
# - its rounded copy in FP16 or BF16, which the forward and backward pass use.
#
# After each step the copy is made again. By hand, for a single weight and 1,000 updates of 10⁻⁴:

# %%
alone = mp.ones(1, dtype=mp.float16)
master = mp.ones(1, dtype=mp.float32)
copies = []
for _ in range(1000):
    alone = alone + 1e-4  # stored in FP16
    master = master + 1e-4  # stored in FP32
    copies.append(master.to(mp.float16).item())
print(
    f"alone: {alone.item()}   copy of the master: {copies[-1]}   ({len(set(copies))} values on the way)"
)
assert alone.item() == 1.0 and abs(copies[-1] - 1.1) < 2**-10

# %% [markdown]
# The master collects what is too small to see, and moves the copy once enough has come together. In the
# loop above that is `masters=True`. **Predict** the loss curves.

# %%
runs["FP16 with masters"] = fit(mp.float16, masters=True)
runs["BF16 with masters"] = fit(mp.bfloat16, masters=True)
repaired = ["FP32", "FP16 with masters", "BF16 with masters"]
report(repaired)
plot_losses(repaired, "with FP32 masters: three curves, one on top of the other")
apart = {
    name: np.abs(smooth(runs[name][0]) - smooth(runs["FP32"][0])).max() for name in repaired[1:]
}
print(
    "largest distance of the curves from FP32:", {k: round(float(v), 4) for k, v in apart.items()}
)
assert apart["FP16 with masters"] < 0.002 and apart["BF16 with masters"] < 0.01
assert all(abs(runs[name][1] - runs["FP32"][1]) < 0.01 for name in repaired)

# %% [markdown]
# The gap has closed. Nothing about the gradients changed: they are still computed in 16 bits, from 16-bit
# weights. Only the place where updates are collected is wider.
#
# What it costs: 4 bytes more for each weight, 6 instead of the 4 of an FP32 weight. Mixed precision does
# not save memory on weights; it saves on activations and gradients, and on time (lesson 9 adds it all up).
#
# ## Without masters, after all?
#
# Where those 4 bytes are too many, the lost part can be kept in other ways:
#
# - **stochastic rounding** of the updated weight: right on average (lesson 2), no extra bytes;
# - **Kahan compensation**: what rounding lost is kept in a second 16-bit number (lesson 3), 2 bytes extra.

# %%
runs["BF16, stochastic update"] = fit(mp.bfloat16, rounding="stochastic")
runs["BF16, Kahan update"] = fit(mp.bfloat16, compensated=True)
report(["FP32", "BF16 alone, nearest", "BF16, stochastic update", "BF16, Kahan update"])
for name in ("BF16, stochastic update", "BF16, Kahan update"):
    assert abs(runs[name][0][-50:].mean() - final["FP32"]) < 0.02
    assert abs(runs[name][1] - runs["FP32"][1]) < 0.02
assert runs["BF16, stochastic update"][2].total.lost_share > 0.7

# %% [markdown]
# Both come out where FP32 does, although most single updates are still lost: those that arrive make up for
# the others. (So the share of lost updates tells you that something is at risk, not that it has gone
# wrong.) Zamirai et al. (2020) found the same in seven applications, trained in BF16 alone: against
# rounding to nearest the two remedies gained up to 7 points of validation accuracy, and they ended between
# 0.1 points below and 0.2 points above FP32.
#
# ## Adam has two more numbers for each weight
#
# Adam divides the mean gradient by the root of the mean *squared* gradient. Let a weight have a constant
# gradient of 10⁻⁴ and β₂ = 0.999: then each step adds 0.001 · 10⁻⁸ = 10⁻¹¹ to the mean of squares. In FP32
# Adam moves the weight by just the learning rate. **Predict** what happens if the state is kept in FP16,
# whose smallest number is 6 · 10⁻⁸.

# %%
steps = {}
for dtype in (mp.float32, mp.float16):
    weight = mp.zeros(1, dtype=dtype).requires_grad_()
    optimizer = mp.optim.Adam([weight], lr=0.01)
    moves = []
    for _ in range(1000):
        weight.data.zero_()  # so that the step is seen, not what rounding makes of the sum
        weight.grad = mp.full((1,), 1e-4, dtype=dtype)
        optimizer.step()
        moves.append(-weight.item() / 0.01)
    steps[dtype.name] = np.array(moves)
    square = optimizer.state[weight]["exp_avg_sq"].item()
    print(f"{dtype.name}: mean of squares {square:.2e}, last step {moves[-1]:.2f} learning rates")

figure, axes = plt.subplots(figsize=(6.5, 3.2))
axes.plot(steps["float32"], color=BLACK, label="state in FP32")
axes.plot(steps["float16"], "--", color=ORANGE, label="state in FP16")
axes.set(xlabel="step", ylabel="size of the step,\nin learning rates", title="Adam, gradient 10⁻⁴")
axes.legend(frameon=False)
plt.show()
assert np.allclose(steps["float32"], 1, rtol=1e-3)
assert steps["float16"][-1] > 20

# %% [markdown]
# The FP16 mean of squares is zero and stays zero. Of a thousand squares only the newest one, which is still
# at hand in FP32 during the step, is left to divide by, so the steps grow towards √(1/0.001) ≈ 32 learning
# rates. Training diverges. (Adam's ε = 10⁻⁸ would be zero in FP16, too; here it enters in FP32.) So
# optimizers keep their state in FP32: on the masters this comes by itself, because state takes the dtype of
# its parameter.
#
# ## What to remember
#
# - Gradients survive 16 bits; updates do not. Below half an ulp of the weight they are lost, and under
#   truncation they are lost one way and amplified the other.
# - FP32 masters close the gap, for FP16 and for BF16, and cost 4 bytes a weight. Stochastic rounding and
#   Kahan compensation are cheaper ways to the same end.
# - Optimizer state belongs in FP32.
#
# ## On your own
#
# 1. Use a learning rate of 0.5 instead of 0.004 and fewer steps. Why does "FP16 alone" do well then?
# 2. Print the share of lost updates for each step (`watch.steps`, or
#    `mp.inspect.plot_updates(watch.steps)`). Does it rise or fall in the course of training, and why?
# 3. By hand, as for the single weight above: keep the master in a format with 8 bits more than BF16,
#    `mp.formats.float_format(8, 15)`. For which size of updates is that enough?
#
# Exercises: 5a (master weights by hand), 5b (which update is lost?), 5c (bug hunt: masters that do not
# help).
#
# ## Further reading
#
# - P. Micikevicius, S. Narang, J. Alben, G. Diamos, E. Elsen, D. Garcia, B. Ginsburg, M. Houston, O.
#   Kuchaiev, G. Venkatesh, H. Wu, *Mixed precision training*, ICLR 2018, arXiv 1710.03740, section 3.1.
# - P. Zamirai, J. Zhang, C. R. Aberger, C. De Sa, *Revisiting BFloat16 training*, arXiv 2010.06192, 2020:
#   stochastic rounding and Kahan compensation of the update; figures from the abstract.
# - D. P. Kingma, J. Ba, *Adam: a method for stochastic optimization*, ICLR 2015, arXiv 1412.6980.
