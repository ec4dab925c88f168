# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 9 · Where the memory goes
#
# Read 25 min · run 2 s · practise 40 min · difficulty 2 of 3
#
# **You will** count every byte that a training step holds, for six ways to train, and trade memory for time
# with checkpointing.
#
# **You will learn** what a parameter costs under each policy; why mixed precision saves little for small
# batches and nearly half for large ones; and what checkpointing keeps and recomputes.
#
# **You need** lessons 4 and 5; lesson 8 for autocast.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np

import tinymp as mp
from tinymp.inspect.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION

FAST = os.environ.get("TINYMP_FAST") == "1"
plt.rcParams.update({"figure.dpi": 80, "figure.constrained_layout.use": True, "font.size": 10})
train = mp.data.load_digits("train")

# %% [markdown]
# ## Four kinds of bytes
#
# While training, a program holds
#
# - **weights**, and perhaps FP32 masters of them;
# - **gradients**, one for each weight;
# - **optimizer state**: Adam keeps two numbers for each weight;
# - **activations**: whatever the forward pass saves for the backward pass. They grow with the batch.
#
# **Predict** the bytes for each parameter, activations aside, of FP32 training with Adam. Then of training
# with FP16 weights and FP32 masters: is it more, or less?

# %%
POLICIES = ("fp32", "autocast-fp16", "fp16", "bf16", "bf16-kahan", "bf16-stochastic")


def ledger_of_a_step(name, batch=1024, hidden=(512, 512, 512)):
    """The bytes that one training step holds, by kind, and the number of parameters."""
    mp.manual_seed(0)
    policy = mp.amp.get_policy(name)
    model = policy.cast_model(mp.models.MLP(64, list(hidden), 10))
    masters, scaler = policy.make_masters(model), policy.make_scaler()
    options = policy.optimizer_options()
    optimizer = mp.optim.Adam(masters.parameters(), lr=1e-3, **options)
    rows = np.arange(batch) % len(train)
    x, y = mp.tensor(train.inputs[rows]), mp.tensor(train.targets[rows])
    with policy.rounding_context():
        with policy.autocast_context():
            outputs = policy.cast_output(model(policy.cast_input(x)))
            loss = mp.nn.functional.cross_entropy(outputs, y)
        graph = mp.inspect.memory(model, masters=masters, optimizer=optimizer, loss=loss)
        scaler.scale(loss).backward()
        masters.copy_gradients()
        scaler.step(optimizer)
        scaler.update()
        masters.copy_weights()
    held = mp.inspect.memory(model, masters=masters, optimizer=optimizer)
    return graph | held, sum(p.size for p in model.parameters())


ledgers = {name: ledger_of_a_step(name) for name in POLICIES}
parameters = ledgers["fp32"][1]
print(f"a network of {parameters:,} parameters, batch of 1,024, FP32:\n")
print(ledgers["fp32"][0])

# %% [markdown]
# The ledger looks at the arrays themselves: nothing is computed from formulas, and storage that two tensors
# share counts once. Now all policies, activations aside, for each parameter:

# %%
KINDS = {
    "weights": (BLUE, ""), "master weights": (GREY, ".."), "gradients": (VERMILION, "//"),
    "master gradients": (PURPLE, "xx"), "optimizer state": (ORANGE, "--"), "casts of weights": (GREEN, "\\\\"),
}  # fmt: skip
per_parameter = {
    name: {kind: ledger.bytes(kind) / parameters for kind in KINDS}
    for name, (ledger, _) in ledgers.items()
}
figure, axes = plt.subplots(figsize=(7.5, 3.6))
left = dict.fromkeys(POLICIES, 0.0)
for kind, (colour, hatch) in KINDS.items():
    widths = [per_parameter[name][kind] for name in POLICIES]
    axes.barh(
        POLICIES, widths, left=list(left.values()), color=colour, hatch=hatch, edgecolor=BLACK,
        linewidth=0.5, label=kind,
    )  # fmt: skip
    left = {name: left[name] + per_parameter[name][kind] for name in POLICIES}
axes.invert_yaxis()
axes.set(xlabel="bytes for each parameter", title="Adam, at the end of a step, without activations")
axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()
totals = {name: sum(kinds.values()) for name, kinds in per_parameter.items()}
print({name: round(total, 2) for name, total in totals.items()})
assert totals["fp32"] == 4 + 4 + 8
assert totals["fp16"] == totals["bf16"] == 2 + 4 + 4 + 8
assert totals["bf16-kahan"] == 2 + 2 + 4 + 2 and totals["bf16-stochastic"] == 2 + 2 + 4
assert 17.5 < totals["autocast-fp16"] < 18

# %% [markdown]
# FP32 takes 16 bytes for each parameter. FP16 with masters takes **18**: two bytes of weights come on top.
# (Before they are handed over, there are FP16 gradients as well, for a moment. The often-quoted 16 bytes of
# mixed precision, as in Rajbhandari et al. 2020, are 2 + 2 + 4 + 8: gradients stay in FP16 there.) Autocast
# is about as large: its FP16 casts of the weights live as long as the graph. So on *parameters* mixed
# precision saves nothing.
#
# Without masters (lesson 5) it does: 10 bytes with Kahan compensation, 8 with stochastic rounding, Adam's
# state in BF16 included.
#
# ## Activations decide
#
# **Predict** what the ratio of the totals, FP16 with masters to FP32, becomes as the batch grows.

# %%
batches = [16, 64, 256, 1024] if FAST else [16, 64, 256, 1024, 4096]
totals_by_batch = {
    name: np.array([ledger_of_a_step(name, batch)[0].total for batch in batches]) / 2**20
    for name in ("fp32", "fp16", "bf16-stochastic")
}
looks = {"fp32": (BLACK, "-", "o"), "fp16": (ORANGE, "--", "s"), "bf16-stochastic": (SKY, ":", "^")}
figure, axes = plt.subplots(figsize=(6.5, 3.6))
for name, (colour, line, marker) in looks.items():
    axes.loglog(batches, totals_by_batch[name], line, color=colour, marker=marker, label=name)
axes.set(
    xlabel="images in a batch", ylabel="memory of a step, MiB", title="563,722 parameters, Adam"
)
axes.set_xticks(batches, [str(batch) for batch in batches])
axes.set_yticks([4, 8, 16, 32], ["4", "8", "16", "32"])
axes.minorticks_off()
axes.legend(frameon=False)
plt.show()
ratio = totals_by_batch["fp16"] / totals_by_batch["fp32"]
print("FP16 with masters / FP32:", dict(zip(batches, np.round(ratio, 2).tolist(), strict=True)))
assert ratio[0] > 1.05 and (np.diff(ratio) < 0).all()
assert ratio[-1] < (0.9 if FAST else 0.68)
assert parameters == 563_722

# %% [markdown]
# Small batch: FP16 needs *more*. Large batch: the ratio falls towards one half, because activations are all
# that matters and take two bytes instead of four. Micikevicius et al. (2018, section 3.1) say the same of
# their networks: the extra copy makes the memory of the weights half as large again (6 bytes for 4), which
# is small beside the activations, and memory is roughly halved overall.
#
# ## Checkpointing: compute it again
#
# Backward needs the activations of each layer, but not of all layers at once. *Checkpointing* keeps only
# the input of a block and computes the block's insides a second time when backward arrives there: less
# memory, one more forward pass.
#
# **Predict** for a network of 16 layers: in blocks of how many layers does it need the least memory?
# Everything is measured by Python's own allocator: what is kept after the forward pass, and the peak in the
# backward pass.


# %%
def deep_step(block_size, depth=16, width=128, batch=512):
    """Bytes kept after forward, the peak in backward, and the gradients; `block_size` 0: no checkpoints."""
    mp.manual_seed(0)
    layers = [mp.nn.Linear(width, width) for _ in range(depth)]

    def block(x, part):
        for layer in part:
            x = mp.tanh(layer(x))
        return x

    x = mp.randn((batch, width)).requires_grad_()
    with mp.inspect.TracedMemory() as traced:
        out = x
        for start in range(0, depth, block_size or depth):
            part = layers[start : start + (block_size or depth)]
            out = mp.checkpoint(block, out, part) if block_size else block(out, part)
        loss = (out * out).mean()
        kept = traced.arrays()
        loss.backward()
    return kept, traced.peak, [p.grad.numpy() for layer in layers for p in layer.parameters()]


everything, peak_of_everything, exact = deep_step(0)
sizes = [1, 2, 4, 8, 16]
kept, peaks = [], {}
for size in sizes:
    bytes_kept, peaks[size], gradients = deep_step(size)
    kept.append(bytes_kept)
    assert all(np.array_equal(a, b) for a, b in zip(gradients, exact, strict=True))
print("the same gradients, bit for bit, with every block size")

figure, axes = plt.subplots(figsize=(6.5, 3.4))
places = np.arange(len(sizes) + 1)
axes.bar(
    places - 0.2, np.array([everything, *kept]) / 2**20, 0.4, color=BLUE, edgecolor=BLACK,
    label="kept after forward",
)  # fmt: skip
axes.bar(
    places + 0.2, np.array([peak_of_everything, *peaks.values()]) / 2**20, 0.4, color=ORANGE,
    hatch="//", edgecolor=BLACK, label="peak in backward, with gradients",
)  # fmt: skip
axes.set_xticks(places, ["none", *[str(size) for size in sizes]])
axes.set(
    xlabel="layers in a checkpointed block", ylabel="memory, MiB", title="16 layers", ylim=(0, 7.5)
)
axes.legend(frameon=False, loc="upper center")
plt.show()
print("kept:", {size: f"{k / everything:.0%}" for size, k in zip(sizes, kept, strict=True)})
print("peak:", {size: f"{p / peak_of_everything:.0%}" for size, p in peaks.items()})
assert min(peaks, key=peaks.get) in (2, 4)
assert min(peaks.values()) < 0.7 * peak_of_everything < peaks[16]
assert kept == sorted(kept, reverse=True)

# %% [markdown]
# With n layers in blocks of b, n/b inputs are kept and b layers are recomputed at a time; the sum is
# smallest near b = √n. That is how the memory for activations can grow like √n instead of n (Chen et al.
# 2016), at the price of one extra forward pass, about a third more computing. Checkpointing combines with
# 16-bit activations, and replays random numbers and roundings, so that the gradients stay the same to the
# bit.
#
# ## What to remember
#
# - FP32 with Adam: 16 bytes a parameter. FP16 or BF16 with FP32 masters: 18. Without masters: 8 to 10.
# - Mixed precision halves *activations*. It saves memory where they dominate, that is, for large batches.
# - Checkpointing keeps block inputs and recomputes the rest: blocks of about √n layers.
#
# ## On your own
#
# 1. A model of 7 billion parameters is trained with Adam. How many gigabytes under each policy, activations
#    aside? Which would fit one GPU of 141 GB?
# 2. Use SGD with momentum in `ledger_of_a_step`. How do the six totals change?
# 3. Wrap a training step in `with mp.inspect.TracedMemory() as traced:` and pass `traced=` to
#    `mp.inspect.memory`. How large are the temporaries, and which operation makes them?
#
# Exercises: 9a (bytes of a policy), 9b (the best block size), 9c (bug hunt: memory that grows).
#
# ## Further reading
#
# - T. Chen, B. Xu, C. Zhang, C. Guestrin, *Training deep nets with sublinear memory cost*, arXiv
#   1604.06174, 2016.
# - S. Rajbhandari, J. Rasley, O. Ruwase, Y. He, *ZeRO: memory optimizations toward training trillion
#   parameter models*, SC 2020, arXiv 1910.02054, section 3: the 16 bytes.
# - P. Micikevicius et al., *Mixed precision training*, ICLR 2018, arXiv 1710.03740, section 3.1.
