# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11 · On a real GPU: tensor cores, throughput and memory
#
# Read 30 min · run 2 s · practise 35 min · difficulty 2 of 3
#
# **You will** find out what limits a kernel, turn a NumPy rule into a CUDA kernel, and account for the
# milliseconds and gibibytes of a training step on an NVIDIA H200.
#
# **You will learn** why 2-byte formats are fast, and where they help only a little; what the roofline of a
# GPU is; why small steps spend their time on being started; and why one mixed precision saves memory and
# another none.
#
# **You need** lessons 3 and 9. You do *not* need a GPU: figures that only a GPU can give were recorded on
# one, and the page says which those are. Where there is a GPU, it is measured as well.

# %%
import os
import time
from math import prod

import matplotlib.pyplot as plt
import numpy as np

import tinymp as mp
from tinymp.autograd.op import OPS
from tinymp.course.recordings import recorded_tiles
from tinymp.devices import get_device
from tinymp.devices.kernels.elementwise import Baked, elementwise_kernel
from tinymp.devices.kernels.twin import Target
from tinymp.inspect.style import BLACK, BLUE, GREY, ORANGE, PURPLE, SKY, VERMILION
from tinymp.numerics import tensor_core_matmul

FAST = os.environ.get("TINYMP_FAST") == "1"
plt.rcParams.update({"figure.dpi": 80, "figure.constrained_layout.use": True, "font.size": 10})
try:
    device = get_device("cuda")
except RuntimeError:
    device = get_device("cpu")
print(f"measured on this machine: {device.name}; everything else below was recorded on an H200")

# %% [markdown]
# Here are the recordings. One NVIDIA H200, November 2026, CuPy 14.2, CUDA 13.0, PyTorch 2.11. The commands
# beside them measure the same on your GPU, if you have one.

# %%
# `tinymp doctor`: products of 8192 × 8192 matrices, and a copy from the GPU's memory to itself
RATES = {"FP16": 767e12, "BF16": 767e12, "TF32": 379e12, "FP32": 51e12}  # FLOP/s
COPY = 4.18e12  # bytes/s, read and written

# `tinymp bench gpu products`: format, (m, k, n), FLOP/s
PRODUCTS = [
    ("FP16", (8192, 8192, 8192), 682e12),
    ("FP16", (8192, 768, 768), 577e12),
]
# `tinymp bench gpu kernels`: how fast, as a share of a copy of as many bytes; FP16
SHARES = {"add": 1.03, "softmax": 0.98, "layer_norm": 0.94, "gelu_tanh": 0.93}
# `tinymp bench gpu attention`: causal, FP16; batch, heads, positions, features of a head; seconds
ATTENTION, ATTENTION_SECONDS = (8, 12, 1024, 64), 42.2e-6

# `tinymp train digits --device cuda`: seconds for an epoch of 45 steps, the same bits in all three
EPOCH = {"step by step": 0.29, "without waiting": 0.052, "as a CUDA graph": 0.0061}

# `tinymp bench gpu gpt2`: GPT-2-small's shape, batch 8, 1,024 positions, AdamW (PyTorch's: the fused one):
# milliseconds for a step, and the peak of all arrays in GiB
STEPS = {
    "ours, FP32": (175.4, 13.96),
    "ours, TF32": (51.0, 13.96),
    "ours, FP16": (20.7, 5.52),
    "ours, FP16, as a graph": (16.4, 5.52),
    "PyTorch, FP32": (187.2, 15.11),
    "PyTorch, TF32": (68.2, 15.11),
    "PyTorch, AMP": (52.5, 14.86),
    "PyTorch, AMP, fused attention": (25.9, 8.12),
}
SAVED = {"FP32": 10.86, "FP16": 3.05}  # GiB that backward needs, ours

# %% [markdown]
# ## A tensor core, once more
#
# In lesson 3 you met the arithmetic of a tensor core: align, cut, add, cut. That model runs on any laptop and
# has the bits of the real thing. What it does not show is the speed. One instruction, `mma.sync` m16n8k16,
# multiplies a 16 × 16 matrix by a 16 × 8 matrix. An ordinary core does one multiplication and one addition
# per instruction and thread; 32 threads act together.
#
# **Predict** how many operations one tensor core instruction does, and how many of them the H200 must
# complete in a nanosecond to reach the recorded rate.

# %%
tiles = recorded_tiles()
ours = tensor_core_matmul(tiles["a"], tiles["b"], mp.float16, c=tiles["c"])
print("bits as on the H200:", np.array_equal(ours.view(np.uint32), tiles["d"].view(np.uint32)))
assert np.array_equal(ours.view(np.uint32), tiles["d"].view(np.uint32))

in_one = 2 * 16 * 16 * 8
print(f"one instruction: {in_one:,} operations; FP32, 32 threads: {2 * 32}")
print(f"recorded: {RATES['FP16'] / in_one / 1e9:.0f} tensor core instructions in a nanosecond")
print({name: f"{rate / RATES['FP32']:.1f} times FP32" for name, rate in RATES.items()})
assert in_one == 64 * (2 * 32)
assert RATES["FP16"] > 15 * RATES["FP32"] and 2 < RATES["FP16"] / RATES["TF32"] < 2.1

# %% [markdown]
# One instruction stands for 64 of the ordinary kind, and a product takes a fifteenth of the time. TF32 uses
# the same units with 4-byte numbers, of which 11 bits of precision enter: it reaches half the rate of FP16.
#
# ## The roofline
#
# A kernel has two jobs: move bytes, and compute. Both go on at once, so the slower one sets the time. For
# a product of (m, k) by (k, n) matrices, count
#
# - 2mkn operations: a multiplication and an addition for each of mkn pairs;
# - s(mk + kn + mn) bytes at least, with s bytes for a number.
#
# Their ratio, operations for each byte, is the **arithmetic intensity**. At intensity I nothing is faster
# than I · (bytes/s), nor than the rate of its arithmetic. Drawn over I this is the *roofline* (Williams et
# al. 2009): a slope, then a flat roof. **Predict** at how many operations for each byte the roof of FP16
# bends, and that of FP32.


# %%
def intensity(m, k, n, itemsize):
    """Operations for each byte of a matrix product that reads and writes every matrix once."""
    return 2 * m * k * n / (itemsize * (m * k + k * n + m * n))


BYTES = {"FP16": 2, "TF32": 4, "FP32": 4}
bends = {name: RATES[name] / COPY for name in BYTES}
for name, bend in bends.items():
    side = 1.5 * BYTES[name] * bend  # where 2n³ / (3·s·n²) is the bend
    print(f"{name}: bend at {bend:.0f} operations a byte: square products from n = {side:.0f}")
    assert np.isclose(intensity(side, side, side, BYTES[name]), bend)
assert 180 < bends["FP16"] < 190 and 12 < bends["FP32"] < 13

# %% [markdown]
# So for every FP16 number that is read, the H200 has time for more than 370 operations. Now the recorded
# kernels. For kernels that are no products, operations are counted by hand, each function such as exp as one.

# %%
batch, heads, positions, features = ATTENTION
attention_work = 2 * batch * heads * positions**2 * features  # two products, half of each is masked
attention_bytes = 2 * 4 * prod(ATTENTION)  # queries, keys, values and the result
points = {f"product {m}×{k}×{n}": (intensity(m, k, n, 2), rate) for _, (m, k, n), rate in PRODUCTS}
points["attention"] = attention_work / attention_bytes, attention_work / ATTENTION_SECONDS
COUNTED = {"add": (1, 6), "gelu_tanh": (9, 4), "softmax": (5, 4), "layer_norm": (7, 4)}
for name, (operations, moved) in COUNTED.items():
    points[name] = operations / moved, operations / moved * SHARES[name] * COPY

figure, axes = plt.subplots(figsize=(7.5, 4.4))
across = np.geomspace(0.1, 10_000, 400)
for name, colour, line in (("FP16", BLACK, "-"), ("TF32", BLUE, "--"), ("FP32", VERMILION, ":")):
    axes.loglog(
        across, np.minimum(across * COPY, RATES[name]) / 1e12, line, color=colour, linewidth=2,
        label=f"{name}: {RATES[name] / 1e12:.0f} TFLOP/s",
    )  # fmt: skip
places = {
    "add": (8, -4), "softmax": (-48, -1), "layer_norm": (-62, 6), "gelu_tanh": (10, -8),
    "attention": (10, -10), "product 8192×768×768": (-92, 13), "product 8192×8192×8192": (-50, 12),
}  # fmt: skip
for name, (at, rate) in points.items():
    is_product = name.startswith("product")
    axes.plot(
        at, rate / 1e12, "s" if is_product else "o", color=ORANGE if is_product else SKY,
        markeredgecolor=BLACK, markersize=8,
    )  # fmt: skip
    axes.annotate(
        name, (at, rate / 1e12), places[name], textcoords="offset points", fontsize=8,
    )  # fmt: skip
axes.set(
    xlabel="arithmetic intensity, operations for each byte", ylabel="TFLOP/s",
    title="roofline of an H200, recorded; markers: FP16 kernels", ylim=(0.3, 3000),
)  # fmt: skip
axes.set_xticks([0.1, 1, 10, 100, 1000, 10_000], ["0.1", "1", "10", "100", "1,000", "10,000"])
axes.set_yticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
axes.legend(frameon=False, title=f"copy: {COPY / 1e12:.2f} TB/s", loc="lower right")
plt.show()
for name, (at, rate) in points.items():
    roof = min(at * COPY, RATES["FP16"])
    bound = "memory" if at < bends["FP16"] else "arithmetic"
    print(f"{name:24} {at:8.2f} operations a byte: {bound:10} {rate / roof:4.0%} of the roof")
    assert rate < 1.05 * roof
    assert (bound == "arithmetic") == (name.startswith("product") or name == "attention")
    assert bound == "arithmetic" or at < bends["FP32"] / 5

# %% [markdown]
# Products and attention lie right of the bend, everything else far left of it: left even of FP32's, whose
# ordinary cores do the arithmetic of all kernels that are no products. (The roof is a recording, too:
# two programs found 767 and 682 TFLOP/s for the same product on such a machine. And add is a little
# faster than the copy of its own race. Attention computes exponentials between its products, which no tensor
# core does.)
#
# **Two bytes help twice.** Right of the bend they help by the *rate*: tensor cores. Left of it they help by
# the *traffic*: half of the bytes, half of the time, and no tensor core is involved. **Predict** the gain
# from FP32 to FP16 that the roofline allows for: a large product, adding two arrays, and a matrix times a
# vector, which is what a language model does when it writes one token after the other.


# %%
def least_seconds(work, moved, rate):
    """The roofline as a time: the slower of the two jobs."""
    return max(work / rate, moved / COPY)


gains = {}
for name, (m, k, n) in {"product": (8192, 8192, 8192), "matrix × vector": (8192, 8192, 1)}.items():
    seconds = [
        least_seconds(
            2 * m * k * n, BYTES[f] * (m * k + k * n + m * n), RATES[f]
        )
        for f in ("FP32", "FP16")
    ]  # fmt: skip
    gains[name] = seconds[0] / seconds[1]
millions = 50e6
gains["add"] = least_seconds(millions, 12 * millions, RATES["FP32"]) / least_seconds(
    millions, 6 * millions, RATES["FP32"]
)
print({name: f"{gain:.1f} times" for name, gain in gains.items()})
assert gains["product"] > 15 and gains["matrix × vector"] == gains["add"] == 2

# %% [markdown]
# Fifteen times for the product, twice for the others. A training step is a mixture of them, and so its gain
# lies between, as you will see.
#
# ## Your own machine
#
# The same two measurements here: products, and adding arrays, in FP32 and in FP16. On a CPU, NumPy has no
# 16-bit arithmetic to use: tinymp widens the numbers, computes in FP32 and rounds. **Predict** what FP16 gains
# then.


# %%
def seconds_of(run):
    """The shortest of a few runs; a GPU is waited for."""
    run()
    device.synchronize()
    taken = []
    for _ in range(3 if FAST else 7):
        start = time.perf_counter()
        run()
        device.synchronize()
        taken.append(time.perf_counter() - start)
    return min(taken)


on_gpu = device.name.startswith("cuda")
n = 4096 if on_gpu else (256 if FAST else 1024)
rows = 8192 if on_gpu else (512 if FAST else 2048)
live = {}
with mp.no_grad(), mp.rounding("nearest_even"):
    for dtype in (mp.float32, mp.float16):
        a, b = (mp.rand(n, n, device=device).to(dtype) for _ in range(2))
        x, y = (mp.rand(rows, rows, device=device).to(dtype) for _ in range(2))
        live[dtype] = (
            2 * n**3 / seconds_of(lambda a=a, b=b: a @ b),
            3 * dtype.itemsize * rows**2 / seconds_of(lambda x=x, y=y: x + y),
        )
        rate, traffic = live[dtype]
        print(
            f"{device.name}, {dtype.name}: products {rate / 1e12:.3g} TFLOP/s, adding {traffic / 1e9:.3g} GB/s"
        )
print(
    f"H200, recorded: products {RATES['FP32'] / 1e12:.0f} (FP32) and {RATES['FP16'] / 1e12:.0f} (FP16) "
    f"TFLOP/s, copies {COPY / 1e9:,.0f} GB/s"
)
print(
    f"bend of this machine, FP32: about {live[mp.float32][0] / live[mp.float32][1]:.1f} FLOP a byte"
)
faster = live[mp.float16][0] / live[mp.float32][0]
assert faster > 1.5 if on_gpu else faster < (4 if FAST else 2)

# %% [markdown]
# Without units for 16 bits, half the bytes gain nothing, and the widening costs time. That is why these
# lessons show *what* 16 bits do to numbers on a laptop, and need recordings for *how fast*.
#
# ## From a rule to a kernel
#
# How does an operation get onto a GPU? A rule of tinymp is a NumPy expression, `lambda xp, x: …`. Run on a
# *symbol* instead of an array, it writes down what it does: CUDA C++. This needs no GPU, so here is the whole
# kernel of GELU (with tanh). **Predict** how many statements there are for one element, and how many bytes of
# memory each costs.


# %%
def made_kernel(name, rule, inputs=1, **options):
    """The kernel of a rule on FP16 arrays, None if the rule cannot be traced."""
    named = tuple((key, Baked(value)) for key, value in options.items())
    target = Target(mp.float16, "nearest_even")
    return elementwise_kernel(name, rule, (mp.float16,) * inputs, named, target)


def body(kernel):
    """The C++ statements for one element, between reading it and writing it."""
    inside = kernel.source(1, 8).split("#pragma unroll")[-1]
    lines = [line.strip() for line in inside.splitlines()]
    return [line for line in lines if line.startswith("const") and "decode<" not in line]


gelu = OPS["gelu_tanh"].forward
source = made_kernel("gelu", gelu).source(1, 8)
print(source[source.index('extern "C"') :])
statements = body(made_kernel("gelu", gelu))
print(len(statements), "statements")
assert len(statements) == COUNTED["gelu_tanh"][0]
assert source.count("decode<float16>(x0") == source.count("write<float16, nearest_even>(out") == 1

# %% [markdown]
# Each thread takes eight neighbouring elements: one load of 16 bytes, one store. Values v0, v1, … live in
# registers and cost no memory traffic. The number is widened once, computed in FP32, rounded once: the same
# arithmetic as on the CPU. `tanhf` counts as one statement here but is two dozen instructions, enough to hold
# up a kernel that otherwise only copies: this one reaches two thirds of a copy. So GELU is served by another
# spelling of the same formula, x / (1 + e^(-2u)) with the u of v5, which needs one exponential: 93 %.
#
# **Predict** which of these rules can *not* be traced: add, exp, sigmoid, relu, softmax, the sum of an array.

# %%
TRIED = {
    "add": {}, "exp": {}, "sigmoid": {}, "relu": {}, "softmax": {"dim": -1},
    "sum": {"dim": None, "keepdim": False},
}  # fmt: skip
traced = {}
for name, options in TRIED.items():
    kernel = made_kernel(name, OPS[name].forward, len(OPS[name].inputs), **options)
    traced[name] = kernel is not None
    print(f"{name:8}", f"{len(body(kernel))} statements" if kernel else "needs other elements, too")
assert [name for name, is_traced in traced.items() if not is_traced] == ["softmax", "sum"]

# %% [markdown]
# A symbol stands for *one* element. A sum needs the whole row, and softmax needs its sum; so they have kernels
# written by hand, in which threads exchange values. (That is the line between "elementwise" and the rest.)
#
# ## Fusing
#
# A layer computes gelu(x + b). As array expressions, each operation reads its operands from memory and writes
# its result there. As one kernel, only x, b and the result travel. The trace itself tells the bytes of both:
# in every statement, count the variables. **Predict** the ratio, counting FP32 throughout.


# %%
def variables(statement):
    """How many arrays the operation reads and writes, were it a kernel of its own."""
    words = (
        statement.replace("(", " ").replace(")", " ").replace(";", " ").replace(",", " ").split()
    )
    return len({word.lstrip("-") for word in words if word.lstrip("-").startswith("v")})


def bias_gelu(xp, x, b):
    return gelu(xp, x + b)


separate_steps = body(made_kernel("bias_gelu", bias_gelu, inputs=2))
separate = sum(4 * variables(statement) for statement in separate_steps)
# b is one row for all rows of x: its few bytes do not count in one kernel, nor in the first of several.
separate -= 4
fused = 4 + 4
two = (4 + 4) + (4 + 4)
print(f"{len(separate_steps)} operations, each by itself: {separate} bytes an element")
print(
    f"add, then gelu: {two} bytes; one kernel: {fused} bytes; one kernel in FP16: {fused // 2} bytes"
)
print(
    f"50 million elements on the H200, at least: {50e6 * separate / COPY * 1e6:.0f} µs apart, ",
    end="",
)
print(f"{50e6 * fused / COPY * 1e6:.0f} µs fused, {50e6 * fused / 2 / COPY * 1e6:.0f} µs in FP16")
assert separate > 10 * fused and two == 2 * fused

# %% [markdown]
# Fusing gains more than the format. Fused attention is the same idea on a larger scale: the matrix of
# attention weights, T × T for each head, is never written to memory.
#
# ## Being started takes time
#
# The host starts every kernel: Python finds the rule, the shape, the kernel, and asks the driver. That takes
# microseconds, whether the kernel works for one microsecond or a thousand. A network for digits is far too
# small for a GPU. **Predict** what a step costs if the host (a) waits for each loss to print it, (b) runs ahead
# without waiting, (c) records the whole step once as a *CUDA graph* and starts that.

# %%
per_step = {name: seconds / 45 * 1e6 for name, seconds in EPOCH.items()}
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
left.bar(
    ["step by step", "without\nwaiting", "as a CUDA\ngraph"], list(per_step.values()),
    color=[VERMILION, ORANGE, SKY], hatch=["//", "..", ""], edgecolor=BLACK,
)  # fmt: skip
left.set_yscale("log")
left.set(ylabel="µs for a step", title="digits, FP16, batch 32", ylim=(50, 20_000))
left.set_yticks([100, 1000, 10_000], ["100", "1,000", "10,000"])
left.tick_params(axis="x", labelsize=8)
for place, value in enumerate(per_step.values()):
    left.annotate(f"{value:,.0f}", (place, value), (0, 2), textcoords="offset points", ha="center")
milliseconds = {name: step for name, (step, _) in STEPS.items()}
colours = [BLUE if name.startswith("ours") else GREY for name in STEPS]
right.barh(
    list(milliseconds), list(milliseconds.values()), color=colours, edgecolor=BLACK,
    hatch=["" if name.startswith("ours") else "//" for name in STEPS],
)  # fmt: skip
right.invert_yaxis()
right.tick_params(axis="y", labelsize=8)
right.set(xlabel="ms for a step", title="GPT-2-small's shape, batch 8", xlim=(0, 225))
for place, value in enumerate(milliseconds.values()):
    right.annotate(f"{value:.0f}", (value, place), (3, 0), textcoords="offset points", va="center")
figure.suptitle("recorded on an H200", fontsize=10)
plt.show()
print({name: f"{value:,.0f} µs" for name, value in per_step.items()})
assert EPOCH["step by step"] > 30 * EPOCH["as a CUDA graph"]
assert EPOCH["step by step"] > 2.5 * EPOCH["without waiting"]

# %% [markdown]
# The same kernels, the same bits, a forty-eighth of the time. For GPT-2-small's shape kernels are longer, and
# yet our FP16 step waits for the host, too: of its 20.7 ms the GPU works for 16.4, as the graph shows.
#
# ## Where a large step's time goes
#
# Count the operations of GPT-2-small's products, forward and twice as many backward. **Predict** how much of a
# step they take in FP32, and how much in FP16, if they run at the recorded rates.

# %%
B, T, WIDTH, LAYERS, HEADS, VOCABULARY = 8, 1024, 768, 12, 12, 50304
tokens = B * T
in_layers = LAYERS * 2 * tokens * 12 * WIDTH**2
in_head = 2 * tokens * WIDTH * VOCABULARY
in_attention = LAYERS * 2 * 2 * B * T**2 * WIDTH
work = 3 * (in_layers + in_head + in_attention)
print(f"{work / 1e12:.1f} · 10¹² operations a step")
shares = {}
for name in ("FP32", "TF32", "FP16"):
    step = STEPS[f"ours, {name}"][0]
    shares[name] = work / RATES[name] * 1e3 / step
    print(f"{name}: products {work / RATES[name] * 1e3:5.1f} ms of {step:5.1f}: {shares[name]:.0%}")
speedup = STEPS["ours, FP32"][0] / STEPS["ours, FP16"][0]
print(f"products {RATES['FP16'] / RATES['FP32']:.0f} times as fast, the step {speedup:.1f} times")
assert shares["FP32"] > 0.75 and shares["FP16"] < 0.5
assert speedup < 0.6 * RATES["FP16"] / RATES["FP32"]

# %% [markdown]
# In FP32 a step is mostly products. Make them fifteen times as fast, and what remains is everything else:
# norms, additions, the optimizer, the cross entropy over 50,304 classes, and launches. This is Amdahl's law,
# and the reason why fusing and graphs matter *more* in FP16.
#
# ## Where its memory goes
#
# Lesson 9 counted 16 bytes a parameter for FP32 with Adam, 18 for FP16 with masters, and activations on top.
# **Predict** the moment at which a step holds most. At the end of forward all activations are there, but no
# gradient yet. Then backward begins with the largest array of all: the gradient of the logits, 8,192 × 50,304;
# and the first gradient of a weight, that of the token table (which serves as the last layer, too).

# %%
GIB = 2**30
parameters = VOCABULARY * WIDTH + T * WIDTH + LAYERS * (12 * WIDTH**2 + 13 * WIDTH) + 2 * WIDTH
print(f"{parameters:,} parameters")
parts = {}
for name, weights, itemsize in (("FP32", 4, 4), ("FP16", 2 + 4, 2)):
    parts[name] = {
        "weights and masters": weights * parameters / GIB,
        "Adam's state": 8 * parameters / GIB,
        "saved for backward": SAVED[name],
        "gradient of the logits": itemsize * tokens * VOCABULARY / GIB,
        "gradient of the token table": itemsize * VOCABULARY * WIDTH / GIB,
    }
    predicted, measured = sum(parts[name].values()), STEPS[f"ours, {name}"][1]
    print(f"{name}: {predicted:.2f} GiB predicted, {measured:.2f} GiB recorded")
    assert abs(predicted / measured - 1) < 0.01
    at_the_end = (weights + 4 + 8) * parameters / GIB
    assert at_the_end < 0.5 * measured

figure, axes = plt.subplots(figsize=(7.5, 2.8))
looks = zip((BLUE, ORANGE, SKY, VERMILION, PURPLE), ("", "--", "..", "//", "xx"), strict=True)
start = dict.fromkeys(parts, 0.0)
for kind, (colour, hatch) in zip(parts["FP32"], looks, strict=True):
    axes.barh(
        list(parts), [part[kind] for part in parts.values()], left=list(start.values()),
        color=colour, hatch=hatch, edgecolor=BLACK, linewidth=0.5, label=kind,
    )  # fmt: skip
    start = {name: start[name] + parts[name][kind] for name in parts}
for place, name in enumerate(parts):
    axes.plot([STEPS[f"ours, {name}"][1]] * 2, [place - 0.48, place + 0.48], color=BLACK, lw=2.5)
axes.invert_yaxis()
axes.set(xlabel="GiB", title="one step of GPT-2-small's shape; black lines: recorded peaks")
axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# The formula hits both peaks within one percent. But half of 10.86 is 5.43, and FP16 keeps only 3.05. What else
# has gone? The attention weights: T × T for each head, layer and sequence. In FP32 they are saved; in FP16 a
# fused kernel computes them again in backward. **Predict** how many GiB they are.

# %%
weights_of_attention = B * HEADS * T**2 * LAYERS
kept_fp32 = 4 * weights_of_attention / GIB
rest = SAVED["FP32"] - kept_fp32
print(
    f"attention weights in FP32: {kept_fp32:.2f} GiB; the rest: {rest:.2f} GiB, half of it {rest / 2:.2f}"
)
assert abs(rest / 2 / SAVED["FP16"] - 1) < 0.05

# %% [markdown]
# Now the riddle in the table: PyTorch's autocast (AMP) takes 14.86 GiB, hardly less than FP32's 15.11, when
# attention is written as two products and a softmax. Autocast runs softmax in FP32 (lesson 8). Its backward
# needs the FP32 result: 4 bytes. The product after it needs an FP16 copy: 2 bytes more. FP32 alone has a single
# array for both. **Predict** from this what fused attention must save under autocast.

# %%
by_products, with_fused = STEPS["PyTorch, AMP"][1], STEPS["PyTorch, AMP, fused attention"][1]
predicted = (4 + 2) * weights_of_attention / GIB
print(f"predicted {predicted:.2f} GiB, recorded {by_products - with_fused:.2f} GiB")
assert abs(predicted - (by_products - with_fused)) < 0.02
gained = STEPS["PyTorch, FP32"][1] - by_products
lost = 2 * weights_of_attention / GIB
print(
    f"so autocast loses {lost:.2f} GiB on attention weights; it gains {gained + lost:.2f} GiB elsewhere"
)
assert gained + lost > 2 and gained < 0.3

# %% [markdown]
# Autocast halves many activations; but where an FP32 operation stands between FP16 ones it keeps both copies,
# and here that eats nearly all of the gain. (FP16 casts of weights come on top.) A policy that keeps
# *everything* in 16 bits and computes in FP32 inside its kernels, as ours does, has one 2-byte array in each
# place. PyTorch's step with fused attention takes 26 ms, ours 21, and 16 as a graph.
#
# The same can be seen on a small scale on your laptop, in a GPT of two layers. Attention is not fused on a CPU,
# so its weights remain. **Predict** the order of the three.


# %%
def saved_bytes(name, positions=64 if FAST else 256):
    """Bytes that a small GPT saves for backward."""
    policy = mp.amp.get_policy(name)
    mp.manual_seed(0)
    model = policy.cast_model(mp.models.GPT(64, positions, width=64, layers=2, heads=4))
    read = np.random.default_rng(0).integers(0, 64, (2, positions + 1))
    with policy.rounding_context(), policy.autocast_context():
        logits = policy.cast_output(model(mp.tensor(read[:, :-1]))).reshape(-1, 64)
        loss = mp.nn.functional.cross_entropy(logits, mp.tensor(read[:, 1:].reshape(-1)))
    return mp.inspect.memory(model, loss=loss).bytes("saved activations")


kept = {name: saved_bytes(name) for name in ("fp32", "autocast-fp16", "fp16")}
print({name: f"{size / kept['fp32']:.0%} of FP32" for name, size in kept.items()})
assert kept["fp16"] < kept["autocast-fp16"] < kept["fp32"]
assert 0.49 < kept["fp16"] / kept["fp32"] < 0.55

# %% [markdown]
# (Our attention is one operation, so that autocast has no place for a second copy of its weights.)
#
# ## What to remember
#
# - A kernel is limited by arithmetic or by memory, and its arithmetic intensity says by which.
# - Tensor cores speed up products only; 2 bytes speed up all that memory limits, by two at most.
# - Fused kernels keep values in registers. That is worth more than a narrower format.
# - Short kernels wait for the host. A CUDA graph starts a whole step at once.
# - Memory peaks where backward begins. FP32 islands between 16-bit operations cost both copies.
#
# ## On your own
#
# 1. For which batch sizes is a linear layer of 4096 × 4096 limited by arithmetic, in FP16, on an H200? A
#    model that writes text for one reader has batch 1: what share of the tensor cores does it use?
# 2. The data sheet promises 989 TFLOP/s (1,979 with sparsity) and 4.8 TB/s. Draw this roofline, too. How much is reached?
# 3. With T = 4096 and batch 2 (as many tokens): predict ours and PyTorch's peaks of memory.
# 4. On a GPU of your own: `tinymp doctor`, then `tinymp bench gpu`. Redraw every plot with your figures.
#
# Exercises: 11a (what limits a product?), 11b (a rule that becomes a kernel).
#
# ## Further reading
#
# - S. Williams, A. Waterman, D. Patterson, *Roofline: an insightful visual performance model for multicore
#   architectures*, Commun. ACM 52(4), 2009.
# - T. Dao, D. Fu, S. Ermon, A. Rudra, C. Ré, *FlashAttention: fast and memory-efficient exact attention with
#   IO-awareness*, NeurIPS 2022, arXiv 2205.14135.
# - G. Amdahl, *Validity of the single processor approach to achieving large scale computing capabilities*,
#   AFIPS 1967.
# - NVIDIA, *H200 Tensor Core GPU*, data sheet; *CUDA C++ Programming Guide*, chapter on CUDA graphs.
