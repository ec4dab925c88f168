# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1 · What a float is
#
# Read 25 min · run 1 s · practise 40 min · difficulty 1 of 3
#
# **You will** take a 16-bit number apart by hand, write a decoder of eight lines and check it on every
# number the format has, and see one value in five formats.
#
# **You will learn** what sign, exponent and significand are for; why the spacing of numbers doubles at each
# power of two; what infinities, NaNs and subnormal numbers are; and what FP16 and BF16 each gave up to fit
# into 16 bits.
#
# **You need** some Python. Nothing about floating point is taken for granted.
#
# Run the cells in order. Wherever a paragraph says **Predict**, write your guess down before you run what
# follows: a wrong guess that you remember teaches more than a right answer that you read.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np

import tinymp as mp
from tinymp.formats import decode, encode
from tinymp.formats.anatomy import examine
from tinymp.inspect.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, VERMILION

FAST = os.environ.get("TINYMP_FAST") == "1"
plt.rcParams.update({"figure.dpi": 80, "figure.constrained_layout.use": True, "font.size": 10})

# %% [markdown]
# ## Sixteen switches
#
# A computer stores a number as a row of switches, each 0 or 1. Take the half-precision format, *float16* or
# FP16. It has 16 of them, and splits them into three fields:
#
#     sign      exponent     significand
#     1 bit     5 bits       10 bits
#
# Think of scientific notation: −1.602 · 10⁻¹⁹ has a sign, digits, and an exponent. A float is the same in
# base 2: ± 1.digits · 2^exponent.
#
# **Predict.** Can one tenth be written exactly with finitely many binary digits after the point?

# %%
tenth = examine("0.1", mp.float16)  # exact arithmetic on one number; nothing is lost on the way
print("word       ", f"{tenth.word:016b}")
print("sign       ", tenth.sign_bit)
print("exponent   ", tenth.exponent_bits)
print("significand", tenth.significand_bits)
print("value      ", tenth.exact, "=", float(tenth.exact))

# %% [markdown]
# It cannot: one tenth has no finite binary expansion, just as one third has no finite decimal one. What is
# stored is the nearest number that FP16 has, 819/8192.
#
# ## Reading the word by hand
#
# The exponent field, `01011`, is 11 in decimal. To have negative exponents without a second sign, the
# format counts from a *bias*, 15 for FP16: the exponent is 11 − 15 = −4. The significand field holds the
# digits after the point; the 1 before the point is not stored, because it is always there.

# %%
exponent = int(tenth.exponent_bits, 2) - 15
significand = 1 + int(tenth.significand_bits, 2) / 2**10
by_hand = significand * 2.0**exponent
print(f"{significand} · 2^{exponent} = {by_hand}")
assert by_hand == float(np.float16(0.1)) == 819 / 8192

# %% [markdown]
# ## A decoder in eight lines
#
# Two values of the exponent field have a meaning of their own:
#
# - **All zeros**: zero and the *subnormal* numbers. There is no hidden 1, and the exponent is that of the
#   smallest normal number. They fill the gap around zero evenly.
# - **All ones**: infinity where the significand field is zero, otherwise *NaN*, "not a number", the result
#   of 0/0 or ∞ − ∞.


# %%
def value_of(word, exponent_bits, significand_bits):
    """The value of one word in a format of IEEE 754's kind."""
    bias = 2 ** (exponent_bits - 1) - 1
    sign = -1.0 if word >> (exponent_bits + significand_bits) else 1.0
    exponent = word >> significand_bits & (2**exponent_bits - 1)
    fraction = (word & (2**significand_bits - 1)) / 2**significand_bits
    if exponent == 2**exponent_bits - 1:
        return sign * float("inf") if fraction == 0 else float("nan")
    if exponent == 0:
        return sign * fraction * 2.0 ** (1 - bias)
    return sign * (1 + fraction) * 2.0 ** (exponent - bias)


# %% [markdown]
# A format of 16 bits has only 65,536 words. That is few enough to try every one of them, which is the best
# kind of test there is. The same function must read BF16, which has 8 exponent and 7 significand bits, and
# E5M2, an 8-bit format.

# %%
for dtype in (mp.float16, mp.bfloat16, mp.float8_e5m2):
    words = np.arange(2**dtype.bits).astype(dtype.words)
    ours = [value_of(int(w), dtype.exponent_bits, dtype.significand_bits) for w in words]
    assert np.array_equal(np.array(ours), decode(words, dtype), equal_nan=True)
    print(f"{dtype.name:12} all {len(words):6,} words agree")

# %% [markdown]
# **Predict.** Of the 65,536 words of FP16, how many are NaNs? How many are positive numbers below 1?

# %%
halves = decode(np.arange(2**16, dtype=np.uint16), mp.float16)
kinds = {
    "NaN": np.isnan(halves),
    "infinite": np.isinf(halves),
    "zero": halves == 0,
    "subnormal": (halves != 0) & (np.abs(halves) < 2.0**-14),
    "normal": np.isfinite(halves) & (np.abs(halves) >= 2.0**-14),
}
for name, mask in kinds.items():
    print(f"{name:10} {mask.sum():6,}")
below_one = ((halves > 0) & (halves < 1)).sum()
finite_positive = (np.isfinite(halves) & (halves > 0)).sum()
print(f"{below_one:,} of the {finite_positive:,} positive numbers are below 1")
assert [int(mask.sum()) for mask in kinds.values()] == [2046, 2, 2, 2046, 61440]
assert below_one == 15359 and 0.48 < below_one / finite_positive < 0.49

# %% [markdown]
# Almost half of all positive FP16 numbers lie between 0 and 1. Floats are dense near zero and thin out
# towards the ends, in steps: within one *binade*, from 2^e to 2^(e+1), they are evenly spaced, and at each
# power of two the spacing doubles. Here are all numbers of the 8-bit format E5M2 between 0 and 4, where it
# can be seen with the naked eye.

# %%
fives = decode(np.arange(256, dtype=np.uint8), mp.float8_e5m2)
shown = np.unique(fives[(fives >= 0) & (fives <= 4)])
figure, axes = plt.subplots(figsize=(8, 1.5))
axes.vlines(shown, 0, 1, color=BLUE, linewidth=1)
axes.vlines([0.25, 0.5, 1, 2, 4], 0, 1.35, color=BLACK, linewidth=1.5)
axes.set(yticks=[], xticks=[0, 0.25, 0.5, 1, 2, 3, 4], xlabel="value (long lines: powers of two)")
axes.set_title(f"the {len(shown)} numbers of E5M2 from 0 to 4")
axes.spines[["left", "right", "top"]].set_visible(False)
plt.show()

# %% [markdown]
# ## Neighbours
#
# For positive floats, read as whole numbers, the words are in the same order as the values. So the next
# larger float is the next word. This is not a coincidence but the reason for storing the exponent in front
# and with a bias.

# %%
positive = np.arange(0x7C01)  # from 0 to infinity
values = decode(positive.astype(np.uint16), mp.float16)
assert (np.diff(values[:-1]) > 0).all() and np.isinf(values[-1])
one = int(encode(np.float32(1.0), mp.float16))
print("after 1 comes ", decode(np.uint16(one + 1), mp.float16), "= 1 + 2^-10")
print("before 1 comes", decode(np.uint16(one - 1), mp.float16), "= 1 - 2^-11")
print("after 65504 comes", decode(np.uint16(0x7BFF + 1), mp.float16))
assert decode(np.uint16(one + 1), mp.float16) == 1 + 2**-10
assert decode(np.uint16(one - 1), mp.float16) == 1 - 2**-11
assert decode(np.uint16(0x7BFF), mp.float16) == 65504

# %% [markdown]
# The distance from 1 to the next number is the *machine epsilon* of the format, 2^−10 for FP16. The
# distance between neighbours at any value is called *ulp*, unit in the last place.
#
# ## Range or precision: who gave up what
#
# FP32 has 8 exponent and 23 significand bits. Half of its 32 bits must go. FP16 took from both fields;
# BF16, the "brain" format, took from the significand only.

# %%
formats = [mp.float32, mp.float16, mp.bfloat16, mp.float8_e4m3fn, mp.float8_e5m2]
print(f"{'':14}  bits        largest  smallest normal  smallest     epsilon")
for dtype in formats:
    fields = f"1+{dtype.exponent_bits}+{dtype.significand_bits}"
    print(
        f"{dtype.name:14} {fields:>6} {dtype.max:12.4g} {dtype.smallest_normal:16.3g} "
        f"{dtype.smallest_subnormal:10.2g} {dtype.eps:10.3g}"
    )
assert mp.float16.max == 65504 and mp.float16.smallest_subnormal == 2.0**-24
assert mp.bfloat16.emax == mp.float32.emax and mp.bfloat16.eps == 8 * mp.float16.eps

# %% [markdown]
# The plot shows both at once. The higher a line, the coarser the format at that value; where a line ends,
# the format ends. The flat part at the left of each is the subnormal range, where the spacing stays what it
# is and precision fades.

# %%
figure, axes = plt.subplots(figsize=(7.5, 4))
lines = zip(formats, (BLACK, ORANGE, GREEN, PURPLE, VERMILION), "- - -- -. :".split(), strict=True)
for dtype, colour, line in lines:
    smallest = dtype.emin - dtype.significand_bits
    exponents = np.arange(max(smallest, -40), min(dtype.emax, 40) + 1)
    spacing = np.maximum(exponents, dtype.emin) - dtype.significand_bits
    width = 3 if dtype is mp.float16 else 1.8
    axes.step(
        exponents, spacing, line, where="post", color=colour, linewidth=width, label=dtype.name
    )
axes.set_xlabel("magnitude of the number, as a power of two")
axes.set_ylabel("distance to the next number,\nas a power of two")
axes.set_title("spacing of numbers (FP32 and BF16 go on to ±126 and beyond)")
axes.legend(frameon=False)
axes.grid(alpha=0.3)
plt.show()

# %% [markdown]
# The two 16-bit formats are complements. FP16 is eight times finer, but its normal numbers end at 65504 and
# at 2^−14; BF16 has the whole range of FP32, at 8 bits of precision, about 2½ decimal digits.
#
# **Predict** what FP16 and BF16 make of 70000, of 2049, of 257, and of 1e−8. (BF16 is rounded to nearest
# here, as GPUs do. tinymp itself cuts by default; lesson 2 is about the difference.)

# %%
for number in ("70000", "2049", "257", "1e-8"):
    half = examine(number, mp.float16)
    brain = examine(number, mp.bfloat16, "nearest_even")
    print(f"{number:>6}   float16 {half.value!s:>8}   bfloat16 {brain.value:.8g}")
assert examine("70000", mp.float16).value == float("inf")
assert examine("2049", mp.float16).value == 2048 and examine("2047", mp.float16).value == 2047
assert examine("257", mp.bfloat16, "nearest_even").value == 256
assert examine("1e-8", mp.float16).value == 0
assert abs(examine("1e-8", mp.bfloat16, "nearest_even").value / 1e-8 - 1) < 2**-8

# %% [markdown]
# Three of these will come back as failures of training. Too large for FP16: infinity. Too fine for FP16 or
# BF16: a sum stops growing. Too small for FP16: a gradient becomes zero, and Adam's famous 1e−8 does, too.
#
# ## BF16 is the upper half of FP32
#
# Sign and exponent have the same widths in both. So a BF16 word is simply the first 16 bits of the FP32
# word, and storing an FP32 number as BF16 can be done by cutting.

# %%
rng = np.random.default_rng(1)
words = rng.integers(0, 2**32, 100_000 if FAST else 1_000_000, dtype=np.uint32)
singles = words.view(np.float32)
finite = np.isfinite(singles)
cut = encode(singles[finite], mp.bfloat16, "toward_zero")
assert np.array_equal(cut, (words[finite] >> 16).astype(np.uint16))
print(f"{finite.sum():,} arbitrary FP32 words: the BF16 word is the upper half of each")

# %% [markdown]
# ## A number in five formats
#
# The same tables as here are printed by `tinymp bits 0.1` in a terminal, and `float_explorer.html` beside
# this lesson is a page on which you flip the bits yourself.

# %%
for dtype in formats:
    seen = examine("0.1", dtype, "nearest_even")
    print(
        f"{dtype.name:14} {seen.sign_bit} {seen.exponent_bits:8} {seen.significand_bits:23} "
        f"{seen.value:.10f}  off by {float(seen.error_ulps):+.2f} ulp"
    )
    assert abs(seen.error_ulps) <= 0.5

# %% [markdown]
# E4M3 (the `fn` says: finite, with NaN) does without infinities and spends the saved words on larger
# numbers: its last exponent field holds ordinary values up to 448, and only the word of all ones is NaN.

# %%
assert mp.float8_e4m3fn.max == 448
assert np.isnan(decode(np.uint8(0x7F), mp.float8_e4m3fn))
assert decode(np.uint8(0x7E), mp.float8_e4m3fn) == 448

# %% [markdown]
# ## What to remember
#
# - A float is ± 1.significand · 2^exponent. Exponent bits buy range, significand bits precision.
# - The spacing is constant within a binade and doubles at each power of two; relative to the number it is
#   nearly constant. Below the smallest normal number it stays, and relative precision fades.
# - FP16: 11 bits of precision (one is implied), from 2^−24 to 65504. BF16: 8 bits, and the range of FP32.
#
# ## On your own
#
# 1. Which whole numbers up to 10,000 does FP16 have exactly? Count them with `encode` and `decode`, then
#    explain the count.
# 2. Take the reciprocal of every normal FP16 number. How many of the results are no longer normal FP16
#    numbers?
# 3. Look at `tinymp bits 0.1`, `tinymp bits 1/3` and `tinymp bits 1e-8`. Find a number whose error, in
#    ulps, is larger in FP32 than in FP16, and one that all formats hold exactly.
# 4. `mp.formats.float_format(3, 4)` makes a format of your own. Which numbers has it between 1 and 2?
#
# Exercises: `tinymp exercises init` writes them into a folder; this lesson's are 1a, 1b and 1c.
#
# ## Further reading
#
# - D. Goldberg, *What every computer scientist should know about floating-point arithmetic*, ACM Computing
#   Surveys 23(1), 1991. The classic; sections 1 and 2 cover this lesson and more.
# - *IEEE Standard for Floating-Point Arithmetic*, IEEE 754-2019, section 3. FP16 and FP32 are its binary16
#   and binary32.
# - D. Kalamkar et al., *A study of BFLOAT16 for deep learning training*, arXiv 1905.12322, 2019.
# - P. Micikevicius et al., *FP8 formats for deep learning*, arXiv 2209.05433, 2022. Its table 1 gives 448
#   and 57344 as the largest values of E4M3 and E5M2, which are `mp.float8_e4m3fn.max` and
#   `mp.float8_e5m2.max` here.

# %%
assert mp.float8_e5m2.max == 57344
