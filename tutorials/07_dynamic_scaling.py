# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 7 · Dynamic loss scaling
#
# Read 30 min · run 2 s · practise 50 min · difficulty 2 of 3
#
# **You will** write the state machine that PyTorch uses, watch it find a scale, and see what it does when
# the trouble is not an overflow.
#
# **You will learn** how a scale is found while training; what a skipped step must leave alone; the one
# right order of a step; how other libraries' rules differ; and how a NaN drags a scale to zero.
#
# **You need** lesson 6.

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

# %% [markdown]
# ## The idea: try too high
#
# Lesson 6 chose the scale by measuring all gradients. In training they change from step to step, and
# looking at each is what we want to avoid. One thing is cheap to notice: a gradient that is infinite or
# NaN. So:
#
# - start with a scale that is probably too large;
# - if a step's gradients hold an inf or a NaN, **skip the step** and halve the scale;
# - after many clean steps in a row, double it: gradients shrink as training goes on.
#
# Skipping is not a failure; it is the measurement.


# %%
class Scale:
    """A loss scale that finds itself: the rule of PyTorch's GradScaler."""

    def __init__(self, scale=2.0**16, interval=2000):
        self.scale, self.interval, self.clean = scale, interval, 0

    def update(self, overflowed):
        """Take in what a step found; choose the next scale."""
        if overflowed:
            self.scale, self.clean = self.scale / 2, 0
            return
        self.clean += 1
        if self.clean == self.interval:
            self.scale, self.clean = self.scale * 2, 0


# %% [markdown]
# **Predict** the scale after each of these steps, with an interval of 3: overflow, clean, clean, overflow,
# and then four clean ones.

# %%
mine, trace = Scale(scale=8.0, interval=3), []
for overflowed in (True, False, False, True, False, False, False, False):
    mine.update(overflowed)
    trace.append(mine.scale)
print(trace)
assert trace == [4, 4, 4, 2, 2, 2, 4, 4]

# %% [markdown]
# tinymp keeps the rule as an immutable value, `mp.amp.DynamicLossScale`, apart from the state: easy to test
# against another machine. A thousand random histories:

# %%
rng = np.random.default_rng(0)
for _ in range(100 if FAST else 1000):
    interval = int(rng.integers(1, 6))
    rule = mp.amp.DynamicLossScale(init_scale=2.0**16, growth_interval=interval)
    state, mine = rule.start, Scale(2.0**16, interval)
    for overflowed in rng.random(40) < 0.3:
        state = rule.next(state, bool(overflowed))
        mine.update(overflowed)
        assert state.scale == mine.scale
print("the same scales in every history")

# %% [markdown]
# ## A step, line by line
#
# `mp.amp.GradScaler` holds such a rule and does what belongs to it. This is the whole step of mixed
# precision training with FP16 weights. Each line stands where it stands for a reason; each other order is a
# known bug.
#
# 1. `scaler.scale(loss).backward()`: small gradients survive.
# 2. `masters.copy_gradients()`: on to FP32.
# 3. `scaler.unscale_(optimizer)`: divide by the scale, look for inf and NaN.
# 4. `clip_grad_norm_`: before line 3 it would clip a norm that is S times too large.
# 5. `scaler.step(optimizer)`: unless something was found.
# 6. `scaler.update()`: choose the next scale. Before line 5 it would forget what line 3 found.
# 7. `masters.copy_weights()`: rounded to FP16. A learning-rate schedule moves on only if the step was
#    taken.


# %%
def train_step(model, masters, optimizer, scaler, x, y):
    optimizer.zero_grad()
    loss = cross_entropy(model(x).float(), y)
    scaler.scale(loss).backward()
    masters.copy_gradients()
    scaler.unscale_(optimizer)
    mp.optim.clip_grad_norm_(masters.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
    masters.copy_weights()
    return loss.item()


def fit(dtype, policy=None, steps=150 if FAST else 500):
    """Train on the digits; return the losses, the scaler's trace and the test accuracy."""
    mp.manual_seed(0)
    order = np.random.default_rng(0)
    model = mp.models.MLP(64, [64], 10).to(dtype)
    masters = mp.amp.MasterWeights(model.parameters())
    optimizer = mp.optim.Adam(masters.parameters(), lr=0.003)
    scaler = mp.amp.GradScaler(policy=policy, enabled=policy is not None)
    losses = []
    for _ in range(steps):
        batch = order.integers(0, len(train), 128)
        x, y = mp.tensor(train.inputs[batch]).to(dtype), mp.tensor(train.targets[batch])
        losses.append(train_step(model, masters, optimizer, scaler, x, y))
    guesses = model(mp.tensor(test.inputs).to(dtype)).numpy().argmax(axis=1)
    return np.array(losses), scaler.trace, (guesses == test.targets).mean()


# %% [markdown]
# The scale starts at 2³⁰, far too high on purpose, and grows after 50 clean steps. (PyTorch's defaults are
# 2¹⁶ and 2,000, TensorFlow's 2¹⁵ and 2,000; a training of 500 steps needs a shorter interval to show
# anything.) **Predict** the picture: how many steps are skipped at first, and what happens every 50 steps
# later?

# %%
policy = mp.amp.DynamicLossScale(init_scale=2.0**30, growth_interval=50)
wide_losses, _, wide_accuracy = fit(mp.float32)
losses, trace, accuracy = fit(mp.float16, policy)
scales = np.log2([record.scale for record in trace])
skipped = np.array([record.skipped for record in trace])

figure, (upper, lower) = plt.subplots(2, 1, figsize=(7.5, 5), sharex=True)
upper.semilogy(wide_losses, color=BLACK, linewidth=3, label="FP32")
upper.semilogy(losses, "--", color=ORANGE, linewidth=1.5, label="FP16, dynamic scale")
upper.set(ylabel="training loss")
upper.legend(frameon=False)
lower.step(np.arange(len(scales)), scales, where="mid", color=BLUE, label="scale")
lower.plot(np.flatnonzero(skipped), scales[skipped], "x", color=VERMILION, label="skipped step")
lower.set(xlabel="step", ylabel="loss scale,\nas a power of two")
lower.legend(frameon=False)
plt.show()
first_clean = int(np.argmin(skipped))
later = skipped[first_clean:]
print(
    f"skipped at first: {first_clean}; later: {later.sum()} of {len(later)} steps ({later.mean():.1%})"
)
print(
    f"scale after settling: 2^{scales[first_clean:].min():.0f} to 2^{scales[first_clean:].max():.0f}"
)
print(f"test accuracy: FP32 {wide_accuracy:.1%}, FP16 {accuracy:.1%}")
assert 3 <= first_clean <= 20 and skipped[:first_clean].all()
assert later.mean() < 0.03
assert np.ptp(scales[first_clean:]) <= 5
assert abs(accuracy - wide_accuracy) < 0.015
assert abs(losses[-20:].mean() - wide_losses[-20:].mean()) < (0.1 if FAST else 0.02)

# %% [markdown]
# It settles within a few steps, tries a higher scale every 50 clean steps, and is thrown back when that
# overflows. As training goes on the gradients shrink, and the scale climbs. One skipped step in a hundred
# costs next to nothing: the curves lie on each other (FP16's is a few skipped steps behind at first).
#
# ## The first two lines, on arrays
#
# What lines 1 and 2 do can be read down to the last rounding. `mp.amp.capture_backward` watches a loss once
# and writes down what it did as functions of arrays: `forward` from the inputs to the loss, `backward` from
# the gradient of the loss to those of the masters. `xp` is NumPy; `unpack` reads 2-byte storage as FP32
# values; `representable` rounds values to FP16 and leaves them in FP32, where a master wants its gradient.
# The scale needs no line: `g`, with which `backward` begins, is the scale. **Predict** how many roundings to
# FP16 stand in `backward`: ReLU only passes gradients on or stops them.

# %%
model = mp.models.MLP(64, [64], 10).half()
masters, scaler = mp.amp.MasterWeights(model.parameters()), mp.amp.GradScaler()
x, y = mp.tensor(train.inputs[:32]).half(), mp.tensor(train.targets[:32])


def loss_of(x, y):
    return cross_entropy(model(x).float(), y)


lines_1_and_2 = mp.amp.capture_backward(loss_of, masters, scaler)
lines_1_and_2(x, y)
print(lines_1_and_2.source)
found = [master.grad.numpy() for master in masters.parameters()]

for master in masters.parameters():
    master.grad = None
scaler.scale(loss_of(x, y)).backward()
masters.copy_gradients()
assert all(np.array_equal(f, m.grad.numpy()) for f, m in zip(found, masters.parameters()))
assert lines_1_and_2.source.split("def backward")[1].count("representable(") == 6

# %% [markdown]
# Six: one for each tensor in FP16 that gets a gradient, which are the logits, the hidden activations, two
# weights and two biases. The gradients are those of the lines, bit for bit, in less time, for what is gone
# is Python. `tinymp train --capture` trains so.
#
# ## A skipped step changes nothing
#
# Not the weights, not the masters, not Adam's means, not its step counter. Otherwise the skipped step would
# leave traces: an infinity in Adam's state never goes away again.

# %%
mp.manual_seed(0)
model = mp.models.MLP(64, [64], 10).half()
masters = mp.amp.MasterWeights(model.parameters())
optimizer = mp.optim.Adam(masters.parameters(), lr=0.003)
scaler = mp.amp.GradScaler(init_scale=2.0**14, growth_interval=50)
x, y = mp.tensor(train.inputs[:128]).half(), mp.tensor(train.targets[:128])


def everything():
    """Bits of all weights, masters and optimizer state."""
    tensors = [*model.parameters(), *masters.parameters()]
    for state in optimizer.state.values():
        tensors += [state["exp_avg"], state["exp_avg_sq"], mp.tensor([float(state["step"])])]
    return b"".join(t.detach().storage.tobytes() for t in tensors)


train_step(model, masters, optimizer, scaler, x, y)
after_one = everything()
scaler.update(2.0**40)  # far too high: the next step must be skipped
train_step(model, masters, optimizer, scaler, x, y)
print(f"skipped: {scaler.trace[-1].skipped}   next scale: 2^{np.log2(scaler.get_scale()):.0f}")
assert scaler.trace[-1].skipped and everything() == after_one
assert scaler.get_scale() == 2.0**39

# %% [markdown]
# ## Other rules
#
# The rule is a choice. Some that libraries made, each a value of `mp.amp`:
#
# - **static**: one scale for all steps (`StaticLossScale`);
# - **gradual** (Chainer): after the first overflow, grow by a factor of 2^(1/interval) in *each* clean
#   step;
# - **hysteresis** (Megatron, DeepSpeed): forgive the first overflow, halve at the second, and at each more
#   until the scale has grown again;
# - **logarithmic** (OpenSeq2Seq's LogMax): follow the mean and spread of log₂ of the largest gradient, so
#   that an overflow becomes unlikely, instead of waiting for it.
#
# **Predict** which of them skips the fewest steps, and what each does on an odd batch whose gradients are
# 100 times as large. All see the same sequence: largest gradients that shrink slowly, with noise and two
# outliers.

# %%
STEPS = 400
rng = np.random.default_rng(1)
largest = 2.0 ** (-4 - 3 * np.arange(STEPS) / STEPS + 0.5 * rng.standard_normal(STEPS))
largest[[150, 300]] *= 100
rules = {
    "dynamic": (mp.amp.DynamicLossScale(2.0**24, growth_interval=50), BLUE, "-"),
    "gradual": (
        mp.amp.GradualLossScale(2.0**10, growth_interval=50, max_scale=2.0**24),
        GREEN,
        "--",
    ),
    "hysteresis": (mp.amp.HysteresisLossScale(2.0**24, growth_interval=50), PURPLE, "-."),
    "logarithmic": (mp.amp.LogMaxLossScale(growth_interval=50), ORANGE, ":"),
}
figure, axes = plt.subplots(figsize=(7.5, 4))
axes.plot(
    np.log2(65504 / largest), color="grey", linewidth=0.6, label="largest scale without overflow"
)
skips, paths = {}, {}
for name, (rule, colour, line) in rules.items():
    state, path, skips[name] = rule.start, [], 0
    paths[name] = path
    for top in largest:
        found = bool(top * state.scale >= 65520)
        path.append(np.log2(state.scale))
        state = rule.next(state, found, 0.0 if found else float(top))
        skips[name] += found
    axes.plot(path, line, color=colour, linewidth=2, label=f"{name}: {skips[name]} skipped")
axes.set(xlabel="step", ylabel="loss scale, as a power of two", title="four rules, one sequence")
axes.legend(frameon=False, fontsize=8, loc="lower right")
plt.show()
at_outlier = {name: (path[150], path[151]) for name, path in paths.items()}
for name, (before, after) in at_outlier.items():
    print(f"{name:12} at the first outlier: 2^{before:.2f} -> 2^{after:.2f}")
assert at_outlier["dynamic"][1] == at_outlier["dynamic"][0] - 1
assert skips["logarithmic"] <= 4 < skips["gradual"]
assert skips["hysteresis"] > skips["dynamic"]
assert skips["dynamic"] < STEPS * 0.05

# %% [markdown]
# The dynamic rule loses a step for every try that was too high, and stays a bit or two below the limit. The
# gradual one creeps up until it overflows; its scales are no powers of two, so scaling rounds. Hysteresis
# pays with a second skipped step wherever the scale really is too high, and forgives an outlier only if
# nothing else has overflowed since it last grew; here something had. The logarithmic rule keeps a distance
# of three deviations and hardly ever skips; but it must see the largest gradient of every step.
#
# ## When it is not an overflow
#
# A scaler knows one cure. If the loss itself is NaN, from a NaN in the data, say, every step is "overflow",
# and the scale halves until nothing is left of it. Many a training died this way in the night, with a
# message that the loss scale had reached its minimum. tinymp's scaler looks at the loss before it was
# scaled, and says so.

# %%
mp.manual_seed(0)
model = mp.models.MLP(64, [64], 10).half()
masters = mp.amp.MasterWeights(model.parameters())
optimizer = mp.optim.Adam(masters.parameters(), lr=0.003)
scaler = mp.amp.GradScaler(init_scale=2.0**10)
spoilt = train.inputs[:128].copy()
spoilt[3, 17] = np.nan
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for _ in range(12):
        train_step(model, masters, optimizer, scaler, mp.tensor(spoilt).half(), y)
for warning in said:
    print("Warning:", warning.message, "\n")
print("scale after 12 steps:", scaler.get_scale())
assert any("no loss scale can mend it" in str(w.message) for w in said)
assert scaler.get_scale() == 0.25 and all(record.skipped for record in scaler.trace)

# %% [markdown]
# ## What to remember
#
# - Halve on inf or NaN and skip the step; double after many clean steps.
# - A skipped step changes nothing but the scaler. The order is: backward, copy, unscale and check, clip,
#   step, update, copy back.
# - A scale that falls and falls is a symptom. Look at the unscaled loss first.
#
# ## On your own
#
# 1. Move `scaler.update()` before `scaler.step(optimizer)`. What becomes of the gradients in the first
#    step, and what does tinymp say in the second?
# 2. Replace Adam by SGD and compare the gradients that arrive with and without clipping in the wrong place.
# 3. Give `LogMaxLossScale` 1 deviation instead of 3.09. How many steps are skipped, and is it worth it?
#
# Exercises: 7a (the state machine), 7b (a rule with hysteresis), 7c (write the histories that break
# scalers).
#
# ## Further reading
#
# - P. Micikevicius et al., *Mixed precision training*, ICLR 2018, arXiv 1710.03740, section 3.2: skipping
#   an update when an overflow is detected; section 5 names a scale that changes by itself as future work.
# - O. Kuchaiev, B. Ginsburg, I. Gitman, V. Lavrukhin, J. Li, H. Nguyen, C. Case, P. Micikevicius,
#   *Mixed-precision training for NLP and speech recognition with OpenSeq2Seq*, arXiv 1805.10387, 2018:
#   backoff and LogMax.
# - PyTorch documentation, *Automatic mixed precision package*: `GradScaler` and its defaults.
# - R. Zhao, B. Vogel, T. Ahmed, *Adaptive loss scaling for mixed precision training*, arXiv 1910.12385,
#   2019: a scale for each layer.
