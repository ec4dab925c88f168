# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · A GPT in FP32, FP16 and BF16
#
# Read 25 min · run 40 s · practise 40 min · difficulty 2 of 3
#
# **You will** train a small GPT that learns to spell numbers, in four ways, and let it write.
#
# **You will learn** that everything of lessons 5 to 9 carries over to a transformer; what its loss can and
# cannot fall to; how large its activations are; and what truncation without masters does to a language
# model.
#
# **You need** lessons 5 to 7; that a transformer is made of attention, perceptrons and layer norms.

# %%
import os

# Matrices as small as these gain nothing from threads, which on a busy machine wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import matplotlib.pyplot as plt
import numpy as np

import tinymp as mp
from tinymp.data import ALPHABET, CharacterTokenizer, spell, spelling_numbers, spelling_text
from tinymp.inspect.style import BLACK, BLUE, ORANGE, VERMILION

FAST = os.environ.get("TINYMP_FAST") == "1"
plt.rcParams.update({"figure.dpi": 80, "figure.constrained_layout.use": True, "font.size": 10})
STEPS = 60 if FAST else 400
CONTEXT = 64

# %% [markdown]
# ## The task
#
# The corpus is made on the spot: numbers up to 999 and their English names. The model reads 64 characters
# and predicts each next one. One number in ten is never shown; at the end the model is asked for those.

# %%
tokenizer = CharacterTokenizer(ALPHABET)
text = spelling_text(20_000, largest=999, seed=0)
corpus = tokenizer.encode(text)
print(text[:120])
print(f"{len(corpus):,} characters, of {len(tokenizer)} different ones")

# %% [markdown]
# **Predict**: can the loss fall to zero?
#
# It cannot. Which number comes next is random, so its digits cannot be foretold; only what follows " = "
# can. The lengths 1, 2 and 3 are equally likely, and so are the numbers of a length. So each line holds log
# 3, for the length, and the logarithm of how many numbers have that length, which nobody can learn.

# %%
lines = text.splitlines(keepends=True)
digits = np.array([len(line.partition(" ")[0]) for line in lines])
unknowable = np.log(3) + np.log(np.where(digits == 1, 10, 9 * 10.0 ** (digits - 1)))
floor = unknowable.sum() / len(text)
print(f"the loss cannot fall below about {floor:.2f} a character")
assert 0.3 < floor < 0.5

# %% [markdown]
# ## The same loop, four policies
#
# The model is `mp.models.GPT`: two layers, four heads, 48 features, and the training step is the one of
# lesson 7, line by line. `mp.amp.get_policy` names the combination of formats.


# %%
def fit(name):
    """Train a GPT under a named policy; return the model, the losses, and the scaler's trace."""
    mp.manual_seed(0)
    order = np.random.default_rng(0)
    policy = mp.amp.get_policy(name)
    model = policy.cast_model(mp.models.GPT(len(tokenizer), CONTEXT, width=48, layers=2, heads=4))
    masters, scaler = policy.make_masters(model), policy.make_scaler()
    optimizer = mp.optim.AdamW(masters.parameters(), lr=3e-3, **policy.optimizer_options())
    losses = []
    with policy.rounding_context():
        for _ in range(STEPS):
            starts = order.integers(0, len(corpus) - CONTEXT - 1, 16)
            windows = np.stack([corpus[i : i + CONTEXT + 1] for i in starts])
            logits = policy.cast_output(model(mp.tensor(windows[:, :-1])))
            targets = mp.tensor(windows[:, 1:].reshape(-1))
            loss = mp.nn.functional.cross_entropy(logits.reshape(-1, len(tokenizer)), targets)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            masters.copy_gradients()
            scaler.unscale_(optimizer)
            mp.optim.clip_grad_norm_(masters.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            masters.copy_weights()
            losses.append(loss.item())
    return model, np.array(losses), scaler.trace


# %% [markdown]
# **Predict** the four curves: FP32; FP16 with masters and loss scaling; BF16 with masters (to nearest);
# BF16 alone, truncating.

# %%
runs = {
    "fp32": (fit("fp32"), BLACK, "-", 3.5),
    "fp16": (fit("fp16"), ORANGE, "--", 1.6),
    "bf16": (fit("bf16"), BLUE, ":", 2),
    "bf16-naive": (fit("bf16-naive"), VERMILION, "-.", 1.6),
}


def smooth(losses, width=20):
    return np.convolve(losses, np.ones(width) / width, mode="valid")


figure, axes = plt.subplots(figsize=(7, 3.8))
for name, ((_, losses, _), colour, line, width) in runs.items():
    axes.plot(smooth(losses), line, color=colour, linewidth=width, label=name)
axes.axhline(floor, color="grey", linewidth=0.8)
axes.annotate("what cannot be learned", (0, floor), va="bottom", fontsize=8)
axes.set(
    xlabel="step", ylabel="loss for each character,\nmean of 20 steps", ylim=(0, 3.2),
    title="a GPT of 62,000 parameters learns to spell",
)  # fmt: skip
axes.legend(frameon=False)
plt.show()
final = {name: run[0][1][-20:].mean() for name, run in runs.items()}
print({name: round(float(loss), 3) for name, loss in final.items()})
apart = {
    name: np.abs(smooth(runs[name][0][1]) - smooth(runs["fp32"][0][1])).max()
    for name in ("fp16", "bf16")
}
print("largest distance from FP32:", {name: round(float(d), 3) for name, d in apart.items()})
assert apart["fp16"] < 0.06 and apart["bf16"] < 0.1
assert final["bf16-naive"] > final["fp32"] + (0 if FAST else 0.08)

# %% [markdown]
# FP16 and BF16 with masters follow FP32 closely. BF16 alone with truncation does not: updates are lost or
# enlarged, and weights are pulled toward zero, as in lesson 5. Micikevicius et al. (2018, section 4.5) show
# the same for a large language model, bigLSTM on a billion words: with a loss scale of 128 the FP16 run
# matched FP32, and without one it diverged, after 300,000 iterations. (Ours has a dynamic scale.)

# %%
trace = runs["fp16"][0][2]
skipped = sum(record.skipped for record in trace)
print(
    f"FP16: scale {trace[0].scale:g} at first, {trace[-1].scale:g} at the end; {skipped} skipped steps"
)
assert skipped < 10

# %% [markdown]
# ## Let them write
#
# A number that was never shown, and " = ": the model continues, always with the likeliest character. After
# 400 steps it is half-way: **predict** what it has learned first, English number words or which digit is
# which word.


# %%
def spelled(model, number):
    """The name that the model gives a number."""
    start = mp.tensor(tokenizer.encode(f"\n{number} = ")[None])
    tokens = model.generate(start, 34, temperature=0.0).numpy()[0]
    return tokenizer.decode(tokens.astype(int)).split(" = ")[1].partition("\n")[0]


names = {spell(number) for number in range(1000)}
unseen = [int(n) for n in spelling_numbers(10 if FAST else 30, "unseen", largest=999, seed=1)]
well_formed = {}
for name, (run, *_) in runs.items():
    answers = [spelled(run[0], number) for number in unseen]
    right = np.mean([a == spell(number) for a, number in zip(answers, unseen, strict=True)])
    well_formed[name] = np.mean([answer in names for answer in answers])
    print(
        f"{name:10} {well_formed[name]:4.0%} are names of numbers, {right:3.0%} of the right one; "
        f"{unseen[0]} = {answers[0]}; {unseen[1]} = {answers[1]}"
    )
assert FAST or min(well_formed[name] for name in ("fp32", "fp16", "bf16")) > 0.6

# %% [markdown]
# The grammar comes first: most of what it writes is the name of some number. Which number is a matter
# of more steps than this page has time for; `tinymp train spelling` takes them.
#
# ## Where its memory goes
#
# A transformer saves much for its backward pass. **Predict** which kind is the largest for a batch of 16 ×
# 64 characters, and what FP16 makes of it.

# %%
for name in ("fp32", "fp16"):
    policy = mp.amp.get_policy(name)
    mp.manual_seed(0)
    model = policy.cast_model(mp.models.GPT(len(tokenizer), CONTEXT, width=48, layers=2, heads=4))
    logits = policy.cast_output(model(mp.tensor(corpus[: 16 * CONTEXT].reshape(16, CONTEXT))))
    loss = mp.nn.functional.cross_entropy(
        logits.reshape(-1, len(tokenizer)), mp.tensor(corpus[1 : 16 * CONTEXT + 1])
    )
    ledger = mp.inspect.memory(model, loss=loss)
    kept = ledger.bytes("saved activations")
    print(
        f"{name}: weights {ledger.bytes('weights') / 2**10:.0f} KiB, saved activations {kept / 2**10:.0f} KiB"
    )
    runs[name] = (*runs[name], kept)
assert runs["fp16"][-1] < 0.65 * runs["fp32"][-1]

# %% [markdown]
# ## What to remember
#
# - The recipe does not change with the architecture: masters, loss scaling for FP16, the order of a step.
# - Compare a loss with what it can fall to, and curves with each other, not single numbers.
# - Activations are the largest part of a transformer's memory, and take half in 16 bits.
#
# ## On your own
#
# 1. Run `bf16-stochastic` and `bf16-kahan`. Where do they end?
# 2. `tinymp train spelling` trains a larger GPT on numbers up to 999,999,999. How many steps does it need
#    until it spells unseen numbers without a mistake?
# 3. Give the loss a weight of 2⁻¹⁴ in `fp16-unscaled` and in `fp16`. Which parameters stop first?
#
# Exercises: 10a (bug hunt: a mask), 10b (the size of a cache).
#
# ## Further reading
#
# - A. Vaswani, N. Shazeer, N. Parmar, J. Uszkoreit, L. Jones, A. N. Gomez, Ł. Kaiser, I. Polosukhin,
#   *Attention is all you need*, NeurIPS 2017, arXiv 1706.03762.
# - A. Radford, J. Wu, R. Child, D. Luan, D. Amodei, I. Sutskever, *Language models are unsupervised
#   multitask learners*, OpenAI, 2019: the architecture of GPT-2.
# - P. Micikevicius, S. Narang, J. Alben, G. Diamos, E. Elsen, D. Garcia, B. Ginsburg, M. Houston, O.
#   Kuchaiev, G. Venkatesh, H. Wu, *Mixed precision training*, ICLR 2018, arXiv 1710.03740, section 4: the
#   same curves for larger models.
