# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2 · Rounding, and what a thousand small steps make of it
#
# Read 25 min · run 1 s · practise 45 min · difficulty 1 of 3
#
# **You will** round in three ways with one recipe, measure the errors, and add 0.001 a thousand times.
#
# **You will learn** truncation, rounding to nearest (ties to even) and stochastic rounding; the difference
# between an error that is small and an error that is biased; and why small updates vanish, or grow.
#
# **You need** lesson 1.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np

import tinymp as mp
from tinymp.formats import decode, encode
from tinymp.inspect.style import BLACK, BLUE, GREEN, VERMILION

FAST = os.environ.get("TINYMP_FAST") == "1"
plt.rcParams.update({"figure.dpi": 80, "figure.constrained_layout.use": True, "font.size": 10})
MODES = ("toward_zero", "nearest_even", "stochastic")
STYLES = {  # colour, line, marker: each can be told apart in grey, too
    "toward_zero": (VERMILION, "-", "v"),
    "nearest_even": (BLUE, "--", "s"),
    "stochastic": (GREEN, ":", "o"),
}

# %% [markdown]
# ## Add something, then cut
#
# A result nearly always falls between two numbers of the format. Which of the two becomes the answer is the
# *rounding mode*. Take FP32 numbers that are to become BF16. The BF16 word is the upper half of the FP32
# word (lesson 1), so the lower 16 bits must go, and all three modes follow one recipe:
#
# | mode | add to the FP32 word | then cut the lower 16 bits |
# |---|---|---|
# | toward zero (truncation) | nothing | |
# | to nearest, ties to even | almost half of what is cut: `0x7fff`, plus the last bit that is kept | |
# | stochastic | 16 random bits | |
#
# Adding half rounds to the nearest number, as 3.7 + 0.5 = 4.2 cuts to 4. A number exactly in the middle, a
# *tie*, would always go up that way. Adding a little less than half, plus the last bit kept, sends ties to
# the neighbour whose last bit is 0, the even one: half of the ties go up, half down.


# %%
def round_to_bfloat16(word, mode, rng):
    """BF16 words of FP32 words (arrays of uint32), by the recipe of the table."""
    if mode == "nearest_even":
        word = word + np.uint32(0x7FFF) + (word >> 16 & 1)
    if mode == "stochastic":
        word = word + rng.integers(0, 2**16, word.shape, dtype=np.uint32)
    return (word >> 16).astype(np.uint16)


rng = np.random.default_rng(2)
x = rng.standard_normal(100_000).astype(np.float32)
for mode in MODES[:2]:
    assert np.array_equal(
        round_to_bfloat16(x.view(np.uint32), mode, rng), encode(x, mp.bfloat16, mode)
    )
print("two lines of integer arithmetic agree with mp.formats.encode on", f"{len(x):,} numbers")

# %% [markdown]
# That is what cutting tools do in practice, and why BF16 is cheap. tinymp's own encoder does the same and
# also looks after NaNs: **predict** what truncation makes of the FP32 word `0x7f800001`, a NaN whose
# payload sits in the lower half.

# %%
nan = np.array([0x7F800001], dtype=np.uint32)
ours = decode(round_to_bfloat16(nan, "toward_zero", rng), mp.bfloat16)
careful = decode(encode(nan.view(np.float32), mp.bfloat16, "toward_zero"), mp.bfloat16)
print("cut:", ours[0], "  with care:", careful[0])
assert np.isinf(ours[0]) and np.isnan(careful[0])

# %% [markdown]
# A NaN has become infinity: "not a number" has become "very large". Property tests find such words; random
# numbers hardly ever do: one FP32 word in 32,769 is of that kind, and no result of ordinary arithmetic.
#
# ## Seeing the three modes
#
# Rounding is a staircase. Stochastic rounding has no fixed steps: for it the plot shows the average of many
# roundings of each number, and it is the identity. That is what *unbiased* means.

# %%
steps = np.linspace(1, 1 + 4 * 2**-7, 201, dtype=np.float32)
figure, axes = plt.subplots(figsize=(6.5, 4))
axes.plot(steps, steps, color=BLACK, linewidth=0.8, label="exact")
mp.manual_seed(0)
for mode in MODES:
    rounded = np.mean(
        [decode(encode(steps, mp.bfloat16, mode), mp.bfloat16) for _ in range(400)], axis=0
    )
    colour, line, marker = STYLES[mode]
    name = mode if mode != "stochastic" else "stochastic, mean of 400"
    axes.plot(
        steps, rounded, line, color=colour, marker=marker, markevery=10, markersize=4, label=name
    )
axes.set(xlabel="number", ylabel="after rounding to BF16", title="BF16 between 1 and 1.03")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Small and biased are two things
#
# **Predict**: measured in ulps (spacings of BF16), what is the largest error of each mode, and what is the
# average error, sign included?

# %%
x = rng.uniform(1, 2, 20_000 if FAST else 200_000).astype(np.float32)
errors = {m: (decode(encode(x, mp.bfloat16, m), mp.bfloat16) - x) / 2.0**-7 for m in MODES}
print(f"{'mode':14} largest   average  standard deviation")
for mode, e in errors.items():
    print(f"{mode:14} {np.abs(e).max():7.3f}  {e.mean():+8.4f}  {e.std():.4f}")
tolerance = 4 * 0.41 / np.sqrt(len(x))  # four standard errors of the noisiest average
assert abs(errors["toward_zero"].mean() + 0.5) < tolerance
assert abs(errors["nearest_even"].mean()) < tolerance
assert abs(errors["stochastic"].mean()) < tolerance
assert np.abs(errors["nearest_even"]).max() <= 0.5 < np.abs(errors["stochastic"]).max() < 1
assert abs(errors["toward_zero"].std() - np.sqrt(1 / 12)) < tolerance
assert abs(errors["stochastic"].std() - np.sqrt(1 / 6)) < tolerance

# %% [markdown]
# Truncation is off by half an ulp on average, always toward zero: a *bias*. Nearest has half its largest
# error and no bias. Stochastic rounding pays for its name: single errors are up to a whole ulp, the
# standard deviation is √2 times that of nearest, and yet its errors average out, for every number by
# itself.
#
# That last statement can be checked exactly, without statistics: round one number with each of the 65,536
# values that the 16 random bits can have.

# %%
one_number = np.full(2**16, np.float32(0.1))
every_draw = np.arange(2**16, dtype=np.uint32)
results = decode((one_number.view(np.uint32) + every_draw >> 16).astype(np.uint16), mp.bfloat16)
print("neighbours:", np.unique(results), " exact mean:", results.astype(np.float64).mean())
assert results.astype(np.float64).mean() == np.float64(np.float32(0.1))

# %% [markdown]
# ## A thousand small updates
#
# A weight of 1 in BF16 receives the update +0.001 a thousand times, and another one −0.001 a thousand
# times. After each, the sum is rounded to BF16. In exact arithmetic they end at 2 and at 0. The neighbours
# of 1 in BF16 are 1.0078 and 0.9961.
#
# **Predict** where each of the three modes ends, up and down. That makes six answers; one of them surprises
# nearly everybody.


# %%
def walk(update, mode, steps=1000):
    """A BF16 weight that starts at 1 and receives an update again and again; all its values."""
    weight = mp.ones(1, dtype=mp.bfloat16)
    path = [weight.item()]
    with mp.rounding(mode):
        for _ in range(steps):
            weight = weight + update  # computed in FP32, rounded once to BF16
            path.append(weight.item())
    return path


mp.manual_seed(1)
ends = {m: (walk(+0.001, m), walk(-0.001, m)) for m in MODES}
for mode, (rises, falls) in ends.items():
    print(f"{mode:14} up to {rises[-1]:7.4f}   down to {falls[-1]:8.4f}")
assert ends["nearest_even"][0][-1] == ends["nearest_even"][1][-1] == 1.0
assert ends["toward_zero"][0][-1] == 1.0
assert abs(ends["toward_zero"][1][-1] - -0.25) < 0.01
assert abs(ends["stochastic"][0][-1] - 2) < 0.2 and abs(ends["stochastic"][1][-1]) < 0.2

# %%
figure, panels = plt.subplots(1, 2, figsize=(8.5, 3.4), sharex=True)
for panel, index, sign in ((panels[0], 0, 1), (panels[1], 1, -1)):
    panel.plot([0, 1000], [1, 1 + sign], color=BLACK, linewidth=0.8, label="exact")
    for place, mode in enumerate(MODES):
        colour, line, marker = STYLES[mode]
        every = (25 * place, 100)  # so that markers of lines that lie on each other stay visible
        panel.plot(
            ends[mode][index], line, color=colour, marker=marker, markevery=every, markersize=4,
            label=mode,
        )  # fmt: skip
    panel.set(xlabel="updates", title=f"updates of {sign * 0.001:+}")
panels[0].set_ylabel("weight in BF16")
panels[1].legend(frameon=False)
plt.show()

# %% [markdown]
# - **Nearest** loses every update: 1 ± 0.001 is nearer to 1 than to a neighbour. A thousand correct
#   roundings, each with an error below half an ulp, and not one update has arrived.
# - **Truncation** loses the updates that go up. Those that go *down* it amplifies: 1 − 0.001 lies below 1,
#   so it is cut to the next number below, 0.9961, four times as far as was asked for. The weight falls too
#   fast, and through zero. From there on the same updates make its magnitude *larger*, and what is larger
#   is cut back: at −0.25, where the spacing is twice the update, every update is lost, and there it stays.
# - **Stochastic** rounding moves rarely, by a whole step, and with the right probability: about
#   0.001/0.0078 of the updates upward move the weight. It is right on average, and noisy.
#
# ## Which way does truncation pull?
#
# Gradients have both signs. Let a thousand weights, half of them at +1 and half at −1, receive updates of
# ±0.001 with random signs: in exact arithmetic they diffuse around where they began.

# %%
rng = np.random.default_rng(3)
start = np.where(np.arange(1000) % 2, 1.0, -1.0).astype(np.float32)
signs = rng.choice(np.array([-0.001, 0.001], np.float32), size=(200 if FAST else 1000, 1000))
means = {}
for mode in MODES:
    weights = start
    for update in signs:
        weights = decode(encode(weights + update, mp.bfloat16, mode), mp.bfloat16)
    means[mode] = np.abs(weights).mean()
    print(f"{mode:14} mean |weight| after {len(signs)} zero-mean updates: {means[mode]:.3f}")
assert means["nearest_even"] == 1
assert means["toward_zero"] < (0.75 if FAST else 0.45)
assert abs(means["stochastic"] - 1) < 0.01

# %% [markdown]
# Truncation pulls every weight toward zero, like a weight decay that nobody asked for: of updates with both
# signs, it keeps and enlarges those that shrink a weight. This is the drift to remember when you read that
# BF16 is "just the upper half". GPUs and TPUs round BF16 to nearest even; tinymp truncates unless it is
# told otherwise, so that the effect can be studied. `with mp.rounding("nearest_even"):` switches a block,
# and every comparison in these lessons says which rounding it means.
#
# ## Do not round twice
#
# Rounding to FP32 first and to FP16 afterwards is not the same as rounding once. **Predict** whether the
# number below is a tie for FP16, and what happens to it on the way through FP32.

# %%
number = 1 + 2.0**-11 + 2.0**-26  # a float64, just above the middle of 1 and 1 + 2^-10
once = float(decode(encode(np.float64(number), mp.float16), mp.float16))
twice = float(np.float16(np.float32(number)))
print("rounded once:", once, "  rounded twice:", twice)
assert once == 1 + 2**-10 and twice == 1.0

# %% [markdown]
# FP32 drops the 2^−26 and leaves an exact tie, which goes down to even. The number was above the middle, so
# up was right. tinymp's encoder rounds once from FP64, too. Between FP32 and FP16 there is a theorem that
# saves us: for + − × ÷ and √ of FP16 numbers, computing in FP32 and then rounding to FP16 gives the same as
# rounding the exact result once, because FP32's 24 bits are at least 2·11 + 2.

# %%
half = (
    rng.integers(0, 0x7C00, (2, 20_000 if FAST else 200_000), dtype=np.uint16)
    .view(np.float16)
    .astype(np.float64)
)
a, b = half
for operation in (np.add, np.multiply):
    in_single = operation(a.astype(np.float32), b.astype(np.float32))
    exact = operation(a, b)  # a float64 holds every sum (41 bits) and product (22 bits) exactly
    assert np.array_equal(encode(in_single, mp.float16), encode(exact, mp.float16))
print(f"{len(a):,} sums and products of FP16 numbers: through FP32 or directly, the same")

# %% [markdown]
# ## What to remember
#
# - Every rounding is "add something, then cut": nothing, half, or random bits.
# - Errors that are small but biased add up; errors that are larger but unbiased average out.
# - An update below half a spacing is lost under nearest. Under truncation it is lost or amplified,
#   depending on its direction. Stochastic rounding keeps it on average.
#
# ## On your own
#
# 1. Repeat the thousand updates in FP16. From which size of update on does nearest keep them? Compare with
#    2^−11 and explain.
# 2. Start the walk at 0.9 instead of 1. Why does nearest round +0.002 up to almost twice the update there?
# 3. Run the stochastic walk with 20 seeds and compare the spread of its ends with √n times the standard
#    deviation of one step.
#
# Exercises: 2a (round to nearest even), 2b (stochastic rounding, proved exactly) and 2c (write the inputs
# that expose five wrong encoders).
#
# ## Further reading
#
# - N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., SIAM, 2002, chapters 2 and 3.
# - S. Gupta, A. Agrawal, K. Gopalakrishnan, P. Narayanan, *Deep learning with limited numerical precision*,
#   ICML 2015, arXiv 1502.02551. Trained networks for MNIST and CIFAR-10 in 16-bit fixed point: with
#   stochastic rounding they lost little or no accuracy against FP32; rounding to nearest lost the small
#   updates, as in the walks above.
# - M. Croci, M. Fasi, N. J. Higham, T. Mary, M. Mikaitis, *Stochastic rounding: implementation, error
#   analysis and applications*, Royal Society Open Science 9:211631, 2022.
# - S. A. Figueroa, *When is double rounding innocuous?*, ACM SIGNUM Newsletter 30(3), 1995: the theorem above.
