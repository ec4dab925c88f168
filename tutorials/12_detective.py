# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12 · Detective work: a training script with five mistakes
#
# Read 30 min · run 3 s · practise 100 min · difficulty 3 of 3
#
# **You will** be given a script that runs without an error and learns nothing, find five precision mistakes
# in it with the instruments of this course, and then repair one that nobody explains to you.
#
# **You will learn** to go from a symptom to a line of code; which measurement answers which question; and
# that some mistakes do not show in the accuracy at all.
#
# **You need** lessons 1 to 8.

# %%
import os
import warnings

import matplotlib.pyplot as plt
import numpy as np

import tinymp as mp
from tinymp.inspect.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, VERMILION

FAST = os.environ.get("TINYMP_FAST") == "1"
plt.rcParams.update({"figure.dpi": 80, "figure.constrained_layout.use": True, "font.size": 10})
cross_entropy = mp.nn.functional.cross_entropy
train, test = mp.data.load_digits("train"), mp.data.load_digits("test")
PIXELS, TEST_PIXELS = 16 * train.inputs, 16 * test.inputs  # 0 to 16, as in the data set
STEPS = 150 if FAST else 300

# %% [markdown]
# ## The script
#
# It was meant to be: FP16 weights, FP32 masters, dynamic loss scaling, clipping to a norm of 1, inputs
# brought to mean 0 and standard deviation 1. **Predict** as many of its five mistakes as you can before you
# run it. Take your time; nothing in this lesson is more useful than these ten minutes.


# %%
def broken_script():
    mp.manual_seed(0)
    order = np.random.default_rng(0)
    pixels = mp.tensor(PIXELS).half()
    mean = pixels.mean()
    deviation = mp.sqrt((pixels * pixels).sum() / pixels.size - mean * mean)

    model = mp.models.MLP(64, [64], 10).half()
    masters = mp.amp.MasterWeights(model.parameters())
    optimizer = mp.optim.SGD(masters.parameters(), lr=0.02, momentum=0.9)
    scaler = mp.amp.GradScaler(init_scale=2.0**24, growth_interval=100)
    for _ in range(STEPS):
        batch = order.integers(0, len(train), 128)
        inputs = ((mp.tensor(PIXELS[batch]) - mean.float()) / deviation.float()).half()
        powers = mp.exp(model(inputs))
        shares = powers / powers.sum(dim=1, keepdim=True)
        loss = -mp.log(shares[np.arange(128), train.targets[batch]]).float().mean()

        optimizer.zero_grad()
        scaler.scale(loss).backward()
        for parameter, master in zip(model.parameters(), masters.parameters(), strict=True):
            master.data = parameter.detach().float()
        masters.copy_gradients()
        mp.optim.clip_grad_norm_(masters.parameters(), 1.0)
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        masters.copy_weights()

    inputs = ((mp.tensor(TEST_PIXELS) - mean.float()) / deviation.float()).half()
    right = model(inputs).numpy().argmax(axis=1) == test.targets
    counted = mp.zeros(1, dtype=mp.bfloat16)
    for answer in right:
        counted = counted + float(answer)
    return loss.item(), counted.item() / len(right)


with mp.rounding("nearest_even"):
    loss, accuracy = broken_script()
print(f"loss {loss:.3f} (guessing: {np.log(10):.3f}), test accuracy {accuracy:.1%}")
assert abs(loss - np.log(10)) < 0.05 and accuracy < 0.2

# %% [markdown]
# It does not crash, it warns of nothing, and it guesses. Where does one begin? At the beginning: follow the
# numbers from the input to the update, and look at each for being zero, infinite, NaN or simply of the
# wrong size.
#
# ## Clue 1: what goes in
#
# **Predict** the largest input.

# %%
pixels = mp.tensor(PIXELS).half()
squares = (pixels * pixels).sum()
mean = pixels.mean()
deviation = mp.sqrt(squares / pixels.size - mean * mean)
inputs = (mp.tensor(PIXELS[:128]) - mean.float()) / deviation.float()
print("sum of squares:", squares.item(), "  deviation:", deviation.item())
print("largest input:", float(np.abs(inputs.numpy()).max()))
assert np.isinf(deviation.item()) and np.abs(inputs.numpy()).max() == 0

# %% [markdown]
# All inputs are zero: divided by infinity. The sum of 92,032 squares does not fit FP16 (lesson 8). The
# network has only its biases to learn with. **Repair**: statistics in FP32.
#
# ## Clue 2: what comes back
#
# With that repaired, the loss still stays where it is. So compare the gradient that the optimizer sees with
# that of FP32. The function below is the script with each mistake as a switch, so that we can look inside.


# %%
def script(mistakes=()):
    """The script with the named mistakes alone.

    Returns the losses, the test accuracy, the share of masters that were FP16 numbers before the last step, and the
    norms of the gradients that the optimizer saw.
    """
    mp.manual_seed(0)
    order = np.random.default_rng(0)
    pixels = mp.tensor(PIXELS)
    if "statistics" in mistakes:
        pixels = pixels.half()
    mean = pixels.mean()
    deviation = mp.sqrt((pixels * pixels).sum() / pixels.size - mean * mean)
    model = mp.models.MLP(64, [64], 10).half()
    masters = mp.amp.MasterWeights(model.parameters())
    optimizer = mp.optim.SGD(masters.parameters(), lr=0.02, momentum=0.9)
    scaler = mp.amp.GradScaler(init_scale=2.0**24, growth_interval=100)
    losses, norms = [], []
    for _ in range(STEPS):
        batch = order.integers(0, len(train), 128)
        labels = train.targets[batch]
        logits = model(((mp.tensor(PIXELS[batch]) - mean.float()) / deviation.float()).half())
        if "loss" in mistakes:
            powers = mp.exp(logits)
            shares = powers / powers.sum(dim=1, keepdim=True)
            loss = -mp.log(shares[np.arange(128), labels]).float().mean()
        else:
            loss = cross_entropy(logits.float(), mp.tensor(labels))
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        if "masters" in mistakes:
            for parameter, master in zip(model.parameters(), masters.parameters(), strict=True):
                master.data = parameter.detach().float()
        masters.copy_gradients()
        if "clip" in mistakes:
            mp.optim.clip_grad_norm_(masters.parameters(), 1.0)
        scaler.unscale_(optimizer)
        if "clip" not in mistakes:
            mp.optim.clip_grad_norm_(masters.parameters(), 1.0)
        values = np.concatenate([m.detach().numpy().ravel() for m in masters.parameters()])
        rounded = np.mean(values == values.astype(np.float16).astype(np.float32))
        squares = [
            float((m.grad.numpy().astype(np.float64) ** 2).sum()) for m in masters.parameters()
        ]
        norms.append(np.sqrt(sum(squares)))
        scaler.step(optimizer)
        try:
            scaler.update()
        except FloatingPointError as trouble:
            print("stopped:", str(trouble).partition(".")[0])
            losses += [np.nan] * (STEPS - len(losses))
            break
        masters.copy_weights()
        losses.append(loss.item())
    logits = model(((mp.tensor(TEST_PIXELS) - mean.float()) / deviation.float()).half())
    right = logits.numpy().argmax(axis=1) == test.targets
    count = float(right.sum())
    if "count" in mistakes:
        total = mp.zeros(1, dtype=mp.bfloat16)
        for answer in right:
            total = total + float(answer)
        count = total.item()
    return np.array(losses), count / len(right), rounded, np.array(norms)


def run(*mistakes):
    with mp.rounding("nearest_even"), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the scaler says what is wrong; here we find out for ourselves
        return script(mistakes)


good, clipped = run(), run("clip")
finite = [norms[np.isfinite(norms) & (norms > 0)] for norms in (good[3], clipped[3])]
print(
    f"gradient norm at the optimizer: right {np.median(finite[0]):.2g}, here {np.median(finite[1]):.2g}"
)
print(f"1 / 2^20 = {2.0**-20:.2g}")
assert np.median(finite[0]) > 0.01 > 1e-4 > np.median(finite[1])

# %% [markdown]
# The norm that arrives is about one over the loss scale. The scaled gradients were clipped to a norm of 1,
# and *then* divided by the scale. **Repair**: unscale before clipping (lesson 6).
#
# ## Clue 3: a run that goes well, until it does not
#
# Now it learns. And then, in a longer or a luckier run, it stops. **Predict** what the loss scale does.

# %%
hand_made = run("loss")
broken_at = int(np.isnan(hand_made[0]).argmax()) if np.isnan(hand_made[0]).any() else None
print(
    "first NaN at step",
    broken_at,
    "- lowest loss before:",
    round(float(np.nanmin(hand_made[0])), 3),
)
assert FAST or broken_at is not None

# %% [markdown]
# The scale falls to zero, because every step is "overflow". But the unscaled loss is NaN: no scale can mend
# that. A logit has passed log 65504 ≈ 11.09, and its exponential is infinite (lesson 8). **Repair**: the
# loss in FP32, in one operation.
#
# ## Clue 4: masters that are not
#
# The remaining two show neither in the loss curve nor in a crash. An FP32 master that collects small
# updates has bits that FP16 does not have. **Predict** the share of masters that are FP16 numbers, in a
# right script and in this one.

# %%
overwritten = run("masters")
print(f"masters that are FP16 numbers: right {good[2]:.1%}, here {overwritten[2]:.1%}")
print(f"final loss: right {good[0][-20:].mean():.4f}, here {overwritten[0][-20:].mean():.4f}")
assert good[2] < 0.05 and overwritten[2] > 0.99

# %% [markdown]
# Every master is an FP16 number before each step: somebody copies the weights over them. At this learning
# rate the updates are large and hardly anything is lost; at the end of a schedule training would stall
# (lesson 5). **Repair**: never copy from the weights to the masters. That one had to be found by *asking
# for a property*, not by looking at results.
#
# ## Clue 5: a number that comes too often
#
# The last mistake is not in the training at all. **Predict** the largest accuracy that the broken script
# can report.

# %%
miscounted = run("count")
print(
    f"accuracy: counted right {good[1]:.4f}, counted in BF16 {miscounted[1]:.4f} = 256 / {len(test)}"
)
assert miscounted[1] == 256 / len(test) < good[1]

# %% [markdown]
# From 256 on, BF16 ones are lost (lesson 3): no accuracy on 359 images can exceed 71.3 %. **Repair**: count
# in integers.
#
# ## Each alone
#
# For the record, the loss of the right script, and of each mistake planted alone.

# %%
runs = {
    "right": (good, BLACK, "-", 3),
    "statistics": (run("statistics"), VERMILION, "--", 1.6),
    "clip": (clipped, BLUE, "-.", 1.6),
    "loss": (hand_made, ORANGE, "-", 1.4),
    "masters": (overwritten, GREEN, ":", 2),
    "count": (miscounted, PURPLE, ":", 1.2),
}
figure, axes = plt.subplots(figsize=(7.5, 3.8))
print("mistake      final loss  accuracy reported")
for name, (found, colour, line, width) in runs.items():
    axes.semilogy(found[0], line, color=colour, linewidth=width, label=name)
    print(f"{name:12} {found[0][-20:].mean():10.4f} {found[1]:10.1%}")
axes.set(xlabel="step", ylabel="training loss", title="one mistake at a time")
axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()
final = {name: found[0][0][-20:].mean() for name, found in runs.items()}
assert final["statistics"] > 2 and final["clip"] > 2
assert abs(final["masters"] - final["right"]) < 0.01 and final["count"] == final["right"]
assert good[1] > 0.9

# %% [markdown]
# Two of five are plain to see, one bides its time, one is invisible here, and one is in the ruler and not
# in the thing. All five are of kinds that are found in real programs.
#
# ## A list to keep
#
# | symptom | ask | instrument |
# |---|---|---|
# | nothing is learned | is anything zero, inf or NaN on its way? | `mp.inspect.ranges()`, norms at each stage |
# | loss scale falls and falls | is the *unscaled* loss finite? | the loss; the scaler's warning |
# | loss scale is stuck low | which operation overflows first? | `mp.inspect.ranges(model=model)` |
# | learns, then stalls | do updates arrive? are masters wider than weights? | `mp.inspect.UpdateWatch`, this page |
# | worse than FP32 by a little | where do errors enter? | `mp.inspect.attribute_errors` |
# | jumps after a restart | what was not saved, or not loaded? | bits before and after, exercise 12c |
# | a suspiciously round number | who counts, and in which format? | your eyes |
#
# ## What to remember
#
# - Follow the numbers from the input to the update, and compare each stage with FP32.
# - Clipping, counting, statistics and losses are where the formats bite, not the matrix products.
# - Test properties (masters hold more than FP16; a skipped step changes nothing), because results may look
#   fine.
#
# ## On your own
#
# 1. Plant a sixth mistake that a friend cannot find within half an hour, and say which instrument would
#    have found it.
# 2. Lower the learning rate until "masters" shows in the final loss. Compare the share of lost updates.
# 3. Run the right script in BF16 with `mp.rounding("toward_zero")`. Which of the five would still be
#    mistakes?
#
# Exercises: 12a (another script, four mistakes), 12b (a watchdog), 12c (bug hunt: a training that resumes).
#
# ## Further reading
#
# - D. Goldberg, *What every computer scientist should know about floating-point arithmetic*, ACM Computing
#   Surveys 23(1), 1991: the section on systems.
# - P. Micikevicius et al., *Mixed precision training*, ICLR 2018, arXiv 1710.03740, section 3.2: unscale
#   right after backward, before clipping.
# - D. Sculley et al., *Hidden technical debt in machine learning systems*, NeurIPS 2015: why such mistakes
#   stay.
