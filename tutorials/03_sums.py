# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3 · Adding many numbers, and a look inside a tensor core
#
# Read 35 min · run 10 s · practise 60 min · difficulty 2 of 3
#
# **You will** add ones until the sum stops growing, measure how errors grow with the number of terms, and
# write a model of one tensor-core instruction that gives, bit for bit, what an H200 gave.
#
# **You will learn** why the format of the *accumulator* matters more than that of the terms; how chunks,
# pairs and compensation help; what error bounds promise; and how a tensor core adds.
#
# **You need** lessons 1 and 2.

# %%
import math
import os

import matplotlib.pyplot as plt
import numpy as np

import tinymp as mp
from tinymp.course.recordings import recorded_tiles
from tinymp.inspect.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, VERMILION
from tinymp.numerics import accumulator, tensor_core_matmul
from tinymp.numerics.bounds import gamma

FAST = os.environ.get("TINYMP_FAST") == "1"
plt.rcParams.update({"figure.dpi": 80, "figure.constrained_layout.use": True, "font.size": 10})

# %% [markdown]
# ## A perfect classifier with 50 % accuracy
#
# A classifier is right on all of 4,096 images: `correct` holds 4,096 ones in FP16. Its accuracy is their
# sum divided by 4,096. **Predict** what you get if the sum, too, is kept in FP16.

# %%
correct = mp.ones(4096, dtype=mp.float16)
with mp.accumulation("float16"):
    total = correct.sum()
print("sum of 4,096 ones:", total.item(), "  accuracy:", total.item() / 4096)
assert total.item() == 2048

# %% [markdown]
# From 2048 on the FP16 numbers are 2 apart (lesson 1). 2048 + 1 is a tie between 2048 and 2050, and goes to
# the even one: 2048, again and again. BF16, with its 8 bits, is stuck at 256, and under stochastic rounding
# the sum at least goes on climbing.

# %%
lengths = np.arange(0, 4097)
runs = {
    "exact": (lengths, BLACK, "-", None),
    "FP16, to nearest": (np.minimum(lengths, 2048), ORANGE, "-", "s"),
    "BF16, to nearest": (np.minimum(lengths, 256), VERMILION, "--", "v"),
}
mp.manual_seed(0)
total, path = mp.zeros(1, dtype=mp.float16), [0.0]
with mp.rounding("stochastic"):
    for _ in range(4096):
        total = total + 1.0
        path.append(total.item())
runs["FP16, stochastic"] = (np.array(path), GREEN, ":", "o")
figure, axes = plt.subplots(figsize=(6.5, 3.8))
for name, (values, colour, line, marker) in runs.items():
    axes.plot(values, line, color=colour, marker=marker, markevery=512, label=name)
axes.set(xlabel="ones added", ylabel="sum", title="a running sum of ones")
axes.legend(frameon=False)
plt.show()
checks = {"float16": 2048, "bfloat16": 256}
for dtype, stuck_at in checks.items():  # the flat lines of the plot are not a drawing
    terms = np.ones(4096, np.float32)
    assert accumulator("sequential", dtype=dtype, rounding="nearest_even").sum(terms) == stuck_at
assert abs(path[-1] - 4096) < 200

# %% [markdown]
# FP32 is no different, only later: it is stuck at 2²⁴ = 16,777,216.

# %%
assert np.float32(2**24) + np.float32(1) == 2**24

# %% [markdown]
# ## Five ways to add in FP16
#
# Where the accumulator must be narrow, the *order* can help. All of these keep every partial sum in FP16:
#
# - **sequential**: one term after the other;
# - **chunked**: chunks of 64 terms first, then the sums of the chunks;
# - **pairwise**: halves, each summed by halves, so that a term passes only log₂ n additions;
# - **Kahan**: what an addition lost is computed, and given to the next one;
# - **stochastic**: sequential, but rounded as in lesson 2.

# %%
ways = {
    "sequential": accumulator("float16"),
    "chunked, 64": accumulator("chunked", size=64, dtype="float16"),
    "pairwise": accumulator("pairwise", dtype="float16"),
    "Kahan": accumulator("kahan", dtype="float16"),
    "stochastic": accumulator("stochastic"),
}
mp.manual_seed(0)
for name, way in ways.items():
    print(f"{name:12} {float(way.sum(np.ones(4096, np.float32))):7.0f}")
assert float(ways["pairwise"].sum(np.ones(4096, np.float32))) == 4096
assert float(ways["Kahan"].sum(np.ones(4096, np.float32))) == 4096

# %% [markdown]
# Chunks of 64 are those of Wang et al. (2018), who trained networks with 16-bit accumulators of 6 exponent
# and 9 significand bits. Their figure 3 adds random terms of mean 1 and standard deviation 1: the plain sum
# stops at 4,096, the chunked one does not. From 4,096 on the numbers of that format are 8 apart, and the
# largest term is 1 + √3 ≈ 2.7. Ours:

# %%
nine_bits = mp.formats.float_format(6, 9)
spread = np.random.default_rng(0).uniform(1 - 3**0.5, 1 + 3**0.5, 16_384)
plain, chunked = (
    float(accumulator(name, dtype=nine_bits, **size).sum(spread.astype(np.float32)))
    for name, size in (("sequential", {}), ("chunked", {"size": 64}))
)
print(
    f"exact {spread.sum():,.0f}   one after the other {plain:,.0f}   in chunks of 64 {chunked:,.0f}"
)
assert plain == 4096 and abs(chunked / spread.sum() - 1) < 0.02

# %% [markdown]
# ## How errors grow
#
# Ones are a special case. Here are sums of random numbers between 0 and 1, which FP16 holds exactly, so all
# error comes from adding. The error is relative to the sum of magnitudes. **Predict** the order of the six
# lines before you look.

# %%
rng = np.random.default_rng(4)
sizes = [2**k for k in range(4, 12 if FAST else 14)]
columns = 40  # sums of each length, to average over
terms = rng.uniform(0, 1, (sizes[-1], columns)).astype(np.float16).astype(np.float32)
measured = {name: [] for name in [*ways, "FP32, sequential"]}
for n in sizes:
    exact = terms[:n].astype(np.float64).sum(axis=0)
    for name, way in {**ways, "FP32, sequential": accumulator("sequential")}.items():
        error = np.abs(way.sum(terms[:n], axis=0) - exact) / exact
        measured[name].append(error.mean())

u = mp.float16.unit_roundoff("nearest_even")
figure, axes = plt.subplots(figsize=(7.5, 4.6))
looks = zip(
    (ORANGE, BLUE, GREEN, PURPLE, VERMILION, BLACK), "os^Dv+", "- - -- -. : -".split(), strict=True
)
for (name, errors), (colour, marker, line) in zip(measured.items(), looks, strict=True):
    shown = [max(error, 1e-9) for error in errors]
    axes.loglog(sizes, shown, line, color=colour, marker=marker, markersize=5, label=name)
bound = [gamma(n - 1, u) for n in sizes]
axes.loglog(sizes, bound, color="grey", linewidth=3, alpha=0.4, label="bound γ, FP16 sequential")
axes.set(
    xlabel="number of terms", ylabel="mean relative error", title="sums in FP16", ylim=(1e-9, 2)
)
axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()
for name, errors in measured.items():
    print(f"{name:17} error at n = {sizes[-1]:6,}: {errors[-1]:.1e}")
at_end = {name: errors[-1] for name, errors in measured.items()}
assert at_end["sequential"] > 5 * at_end["chunked, 64"] > 5 * at_end["pairwise"]
assert at_end["Kahan"] < 2 * u and at_end["pairwise"] < 3 * u
assert at_end["FP32, sequential"] < at_end["Kahan"] / 100
assert all(error <= b for error, b in zip(measured["sequential"], bound, strict=True))

# %% [markdown]
# Three things to read off:
#
# - Pairwise and Kahan sums are about as good as an FP16 result can be: what is left of their error is the
#   rounding of the result. The same FP16 terms, added in **FP32**, are hundreds of times better (and short
#   sums are exact there). This is why matrix units take 2-byte factors and keep 4-byte sums.
# - Sequential FP16 grows and then gets hopeless: terms below half a spacing of the sum are lost altogether.
# - The bound γₙ = nu/(1 − nu) holds always, and is pessimistic. It assumes that all n rounding errors pull
#   in one direction. Errors of random sign grow like √n instead. Under truncation they do all pull in one
#   direction, and the pessimist is right.
#
# ## Inside a tensor core
#
# A tensor core multiplies small matrices of FP16 (or BF16, FP8) numbers. On an NVIDIA H200 one FP16
# instruction computes, for each element of the result, d = c + a₁b₁ + … + a₁₆b₁₆ with c and d in FP32. No
# manual says how it rounds. It was found out by experiments (Fasi et al. 2021; Khattak and Mikaitis 2025),
# and it is not a loop of FP32 additions:
#
# 1. **Multiply** exactly. A product of two FP16 numbers has 22 bits.
# 2. **Align.** Take the largest exponent E among the products and c. The exponent of a product is taken as
#    the sum of its factors' exponents.
# 3. **Cut** every term, toward zero, to multiples of one unit, 2^(E − 25).
# 4. **Add** what is left exactly, as integers.
# 5. **Cut** the sum, toward zero, to FP32's 24 bits.
#
# So there is a single alignment and a single final cut for 17 terms. In Python integers it is short:


# %%
def exponent(x, smallest):
    """Exponent of the leading bit; subnormal numbers count with the format's smallest one."""
    return max(math.frexp(x)[1] - 1, smallest)


def tensor_core(a, b, c):
    """c + Σ a·b over 16 FP16 pairs, as one instruction of an H200 computes it.

    For finite results of ordinary size; `mp.numerics.tensor_core_matmul` has all the others, too.
    """
    pairs = [(float(x), float(y)) for x, y in zip(a, b, strict=True)]
    exponents = [exponent(x, -14) + exponent(y, -14) for x, y in pairs if x * y != 0]
    exponents += [exponent(float(c), -126)] if c != 0 else []
    unit = 2.0 ** (max([*exponents, -133]) - 25)
    whole = sum(math.trunc(x * y / unit) for x, y in pairs) + math.trunc(float(c) / unit)
    spare = max(abs(whole).bit_length() - 24, 0)  # bits beyond those of an FP32 number
    kept = abs(whole) >> spare << spare
    return math.copysign(kept, whole) * unit


# %% [markdown]
# Now the test that counts. With the package come eight tiles recorded on a real H200: 1,024 dot products,
# some with terms of widely different size, some that nearly cancel. We compare our function, and as a rival
# an ordinary FP32 loop, with the recorded bits. **Predict** the share of results that the loop gets right.


# %%
def loop(a, b, c):
    """c + Σ a·b in FP32, one rounding to nearest after each addition."""
    total = np.float32(c)
    for x, y in zip(a, b, strict=True):
        total = total + np.float32(x) * np.float32(y)
    return total


tiles = recorded_tiles()
agree = {"tensor_core": [], "loop": []}
for tile in range(2 if FAST else 8):
    a, b, c, d = (tiles[name][tile] for name in "abcd")
    for i, j in np.ndindex(d.shape):
        recorded = d[i, j].tobytes()  # the four bytes, so that -0 would not pass for +0
        ours = np.float32(tensor_core(a[i], b[:, j], c[i, j]))
        agree["tensor_core"].append(ours.tobytes() == recorded)
        agree["loop"].append(loop(a[i], b[:, j], c[i, j]).tobytes() == recorded)
for name, found in agree.items():
    print(f"{name:12} {sum(found):5,} of {len(found):,} as on the H200 ({np.mean(found):.0%})")
assert all(agree["tensor_core"])
assert np.mean(agree["loop"]) < 0.6

# %% [markdown]
# Every bit of every result. The loop is a reasonable way to compute these numbers, and yet the wrong model
# of the hardware. Some consequences you can now compute instead of guess:
#
# **The order inside an instruction does not matter**, because integers are added exactly. Shuffle the 16
# terms 200 times and count the different results:

# %%
a = rng.standard_normal(16).astype(np.float16)
b = rng.standard_normal(16).astype(np.float16)
shuffles = [rng.permutation(16) for _ in range(200)]
in_core = {tensor_core(a[s], b[s], 0.0) for s in shuffles}
in_loop = {float(loop(a[s], b[s], 0.0)) for s in shuffles}
print(f"different results: tensor core {len(in_core)}, loop {len(in_loop)}")
assert len(in_core) == 1 < len(in_loop)

# %% [markdown]
# **Small terms gang up.** Next to 2¹⁶ a single 2⁻⁹ is less than half a spacing of FP32 and is lost in a
# loop, fifteen times. The tensor core adds the fifteen before it cuts. **Predict** what becomes of fifteen
# terms of 2⁻¹⁰.

# %%
for power in (-9, -10):
    a = np.array([256.0] + [2.0 ** (power + 8)] * 15, np.float16)
    b = np.array([256.0] + [2.0**-8] * 15, np.float16)
    exact = 2**16 + 15 * 2.0**power
    core, single = tensor_core(a, b, 0.0), float(loop(a, b, 0.0))
    print(f"2^{power}: exact {exact:.6f}   tensor core {core:.6f}   loop {single:.6f}")
    assert single == 2**16
    assert core == (2**16 + 3 * 2**-7 if power == -9 else 2**16)

# %% [markdown]
# Terms of 2⁻¹⁰ lie below the unit 2^(16 − 25) = 2⁻⁹: each is cut to zero before the addition. So a tensor
# core can lose terms whose sum would have counted.
#
# **Cutting is biased.** Longer sums chain instructions, 16 products each, and every instruction cuts toward
# zero. When terms have one sign, the errors do, too. The plot compares the chain (the model that
# `mp.accumulation("tensor_core")` uses) with an FP32 loop, which rounds to nearest.

# %%
lengths = [2**k for k in range(4, 11 if FAST else 13)]
signed = {"tensor core": [], "FP32 loop": []}
for k in lengths:
    x = rng.uniform(0, 1, (16, k)).astype(np.float16)
    y = rng.uniform(0, 1, (k, 16)).astype(np.float16)
    exact = x.astype(np.float64) @ y.astype(np.float64)
    core = tensor_core_matmul(x.view(np.uint16), y.view(np.uint16), "float16")
    single = accumulator("sequential").matmul(x.astype(np.float32), y.astype(np.float32))
    signed["tensor core"].append(((core - exact) / exact).mean())
    signed["FP32 loop"].append(((single - exact) / exact).mean())

figure, axes = plt.subplots(figsize=(6.5, 3.6))
styles = {"tensor core": (PURPLE, "-", "o"), "FP32 loop": (BLACK, "--", "s")}
for name, (colour, line, marker) in styles.items():
    in_ulps = np.array(signed[name]) / 2.0**-24
    axes.semilogx(lengths, in_ulps, line, color=colour, marker=marker, label=name, base=2)
axes.set(
    xlabel="length K of the dot product",
    ylabel="mean signed error, in units of 2⁻²⁴",
    title="256 dot products of positive terms",
)
axes.legend(frameon=False)
plt.show()
assert signed["tensor core"][-1] < -10 * abs(signed["FP32 loop"][-1])
assert FAST or -600 < signed["tensor core"][-1] / 2.0**-24 < -200

# %% [markdown]
# The drift is small, about 400 · 2⁻²⁴ ≈ 2 · 10⁻⁵ at K = 4,096, and grows with K. A factor that is rounded
# to FP16 is off by up to 2⁻¹¹ ≈ 5 · 10⁻⁴; but those errors have both signs and largely cancel in a long
# sum, and a bias does not. Where the accumulator is much narrower, as for FP8 (lesson 13), it has to be
# reckoned with.
#
# ## What to remember
#
# - Sums stop when terms fall below half a spacing of the sum: ones at 2048 in FP16, at 256 in BF16.
# - Narrow terms, wide accumulator: that is the design of every matrix unit, and of mixed precision.
# - A narrow accumulator can be helped by order (chunks, pairs), by compensation, by stochastic rounding.
# - A tensor core aligns, cuts, adds exactly and cuts again. It is neither a loop nor correctly rounded.
#
# ## On your own
#
# 1. Find 16 products for which the tensor core and the exact sum differ by more than half of the exact sum.
#    (Let large terms cancel.)
# 2. `tensor_core_matmul(..., architecture="volta")` models an older generation. Which of the examples above
#    come out differently, and why? (Those parameters follow the papers; only Hopper's were checked here.)
# 3. Train the digits with `mp.accumulation("float16")` around the training loop. Which layer suffers first?
#
# Exercises: 3a (a compensated sum), 3b (Ampere's instruction), 3c (bug hunt: a running accuracy).
#
# ## Further reading
#
# - N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., 2002, chapter 4: summation;
#   section 3.1: γₙ.
# - N. J. Higham, T. Mary, *A new approach to probabilistic rounding error analysis*, SIAM J. Sci. Comput.
#   41(5), A2815–A2835, 2019: √n, and when it holds.
# - W. Kahan, *Further remarks on reducing truncation errors*, Commun. ACM 8(1), 1965.
# - M. Fasi, N. J. Higham, M. Mikaitis, S. Pranesh, *Numerical behavior of NVIDIA tensor cores*, PeerJ
#   Computer Science 7:e330, 2021.
# - F. A. Khattak, M. Mikaitis, *Accurate models of NVIDIA tensor cores*, arXiv 2512.07004, 2025.
# - P. Blanchard, N. J. Higham, F. Lopez, T. Mary, S. Pranesh, *Mixed precision block fused multiply-add:
#   error analysis and application to GPU tensor cores*, SIAM J. Sci. Comput. 42(3), C124–C141, 2020.
# - N. Wang, J. Choi, D. Brand, C.-Y. Chen, K. Gopalakrishnan, *Training deep neural networks with 8-bit
#   floating point numbers*, NeurIPS 2018, arXiv 1812.08011: chunked sums of 64 terms, and stochastic
#   rounding of the updated weights, so that 16 bits suffice for both.
# - P. Micikevicius et al., *Mixed precision training*, ICLR 2018, section 3.3: products in FP16, sums in
#   FP32.
