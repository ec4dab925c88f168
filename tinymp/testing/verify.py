"""Does this machine compute what tinymp promises? Its own laws, on the processor at hand.

Everything here works from an installed package and needs NumPy alone: the references are exact
fractions. `tinymp verify` prints what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from operator import add, mul, sub, truediv
from typing import Any

import numpy as np

from tinymp.autograd import Tensor
from tinymp.devices import Device, Generator, get_device
from tinymp.formats import (
    DTYPES,
    MODES,
    DType,
    bfloat16,
    decode,
    encode,
    float16,
    float32,
    float64,
    rounding,
)
from tinymp.numerics import ARCHITECTURES, accumulator, tensor_core_matmul
from tinymp.numerics.kit import kit
from tinymp.testing.exact_rounding import exact_value, exact_word
from tinymp.testing.exact_tensor_core import exact_dot_product
from tinymp.testing.laws import check_encoder, exactly

Array = Any


@dataclass(frozen=True)
class Finding:
    """One promise, looked at.

    Attributes:
        subject: what was looked at, such as "float16, nearest_even".
        promise: what should hold.
        checked: how many values were tried.
        problem: where it does not hold; None if it held everywhere.
    """

    subject: str
    promise: str
    checked: int
    problem: str | None


def verify(device: str = "cpu", seed: int = 0) -> Iterator[Finding]:
    """Look at every promise in turn, on a device; takes some seconds.

    Args:
        device: "cpu" or "cuda".
        seed: which values are tried.
    """
    on = get_device(device)
    floats = [dtype for dtype in DTYPES if dtype.is_float and dtype is not float64]
    for dtype in floats:
        for mode in MODES:
            yield _encoding(on, dtype, mode, seed)
    for dtype in floats:
        if dtype.bits <= 16:
            yield _decoding(on, dtype)
    for dtype in (float16, bfloat16):
        for name, operation in (("+", add), ("-", sub), ("×", mul), ("÷", truediv)):
            yield _arithmetic(on, dtype, name, operation, seed)
    yield _sums(on)
    yield _sum_by_halves(on, seed)
    yield _functions(on, seed)
    yield _random_words(on, seed)
    for dtype in ARCHITECTURES["hopper"].instructions:
        yield _tensor_core_model(on, dtype, seed)
    if on.name != "cpu" and on.xp.cuda.Device().compute_capability == "90":
        for dtype in (float16, bfloat16):
            yield _tensor_core(on, dtype, seed)


def _encoding(on: Device, dtype: DType, mode: str, seed: int) -> Finding:
    def encoder(values: Array, random: Array | None = None) -> Array:
        random = None if random is None else on.asarray(random)
        return on.to_numpy(encode(on.asarray(values), dtype, mode, random_words=random))

    broken = [
        str(violation)
        for source in (float32, float64)
        for violation in check_encoder(
            encoder, dtype, mode, source=source, seeds=range(seed, seed + 5)
        )
    ]
    return Finding(f"{dtype.name}, {mode}", "the laws of rounding", 10_000, _first(broken))


def _decoding(on: Device, dtype: DType) -> Finding:
    every = np.arange(1 << dtype.bits).astype(dtype.words)
    values = on.to_numpy(decode(on.asarray(every), dtype))
    chosen = range(0, len(every), max(1, len(every) >> 12))
    wrong = [
        f"{word:#x} is decoded to {values[word]!r}"
        for word in chosen
        if not _same(exactly(values[word]), exact_value(word, dtype))
    ]
    return Finding(dtype.name, "decoding is exact", len(chosen), _first(wrong))


def _arithmetic(
    on: Device, dtype: DType, name: str, operation: Callable[[Any, Any], Any], seed: int
) -> Finding:
    rng = np.random.default_rng(seed)
    words = rng.integers(0, dtype.max_word, (2, 2000)).astype(np.uint16)
    # Half of the exponents are equal or nearly so: sums cancel, ties come up.
    near = words[0] + rng.integers(-2 << dtype.significand_bits, 2 << dtype.significand_bits, 2000)
    words[1] = np.where(rng.random(2000) < 0.5, np.clip(near, 1, dtype.max_word), words[1] + 1)
    words |= (rng.integers(0, 2, words.shape) * dtype.sign_mask).astype(np.uint16)
    x, y = (Tensor(on.asarray(w.view(dtype.storage)), dtype) for w in words)
    with rounding("nearest_even"):
        result = on.to_numpy(operation(x, y).storage).view(np.uint16)
    wrong = []
    for a, b, word in zip(words[0].tolist(), words[1].tolist(), result.tolist(), strict=True):
        left, right = (Fraction(exact_value(w, dtype)) for w in (a, b))
        exact = operation(left, right)
        if exact != 0 and word != exact_word(exact, dtype, "nearest_even"):
            wrong.append(f"{a:#x} {name} {b:#x} gives {word:#x}")
    return Finding(f"{dtype.name} {name}", "the correctly rounded result", 2000, _first(wrong))


def _sums(on: Device) -> Finding:
    ones = on.asarray(np.ones(2100, np.float32))
    expected = {"float32": 2100, "float16": 2048, "float64": 2100}
    wrong = [
        f"{name} gives {float(total)}"
        for name, right in expected.items()
        if (total := accumulator(name).sum(ones)) != right
    ]
    return Finding("2100 ones", "float16 stops at 2048, float32 does not", 3, _first(wrong))


def _sum_by_halves(on: Device, seed: int) -> Finding:
    x = np.random.default_rng(seed).standard_normal((300, 16)).astype(np.float32)
    found = on.to_numpy(accumulator("reproducible").sum(on.asarray(x), 0))
    wrong = []
    for column, total in zip(x.T, found, strict=True):
        terms = [Fraction(float(term)) for term in column]
        while len(terms) > 1:
            half = len(terms) // 2
            sums = map(add, terms[:half], terms[half : 2 * half])
            terms = [Fraction(_in_float32(exact)) for exact in sums] + terms[2 * half :]
        if terms[0] != Fraction(float(total)):
            wrong.append(f"{float(terms[0])!r} is computed as {float(total)!r}")
    return Finding("reproducible sums", "added by halves, each rounded once", 4_800, _first(wrong))


def _functions(on: Device, seed: int) -> Finding:
    """Against 40 decimal digits: far more than decide how a float32 is rounded."""
    context = Context(prec=40)
    x = np.random.default_rng(seed).standard_normal(500).astype(np.float32) * np.float32(10)
    known = kit(on.name, accumulator("reproducible"))
    wrong = []
    for name, values in (("exp", x), ("log", np.abs(x))):
        found = on.to_numpy(getattr(known, name)(on.asarray(values)))
        for value, ours in zip(values.tolist(), found.tolist(), strict=True):
            exact = getattr(context, {"exp": "exp", "log": "ln"}[name])(Decimal(value))
            if ours != _in_float32(Fraction(exact)):
                wrong.append(f"{name} of {value!r} is computed as {ours!r}")
    return Finding("reproducible exp, log", "correctly rounded to float32", 1_000, _first(wrong))


def _in_float32(exact: Fraction) -> float:
    return float(exact_value(exact_word(exact, float32, "nearest_even"), float32))


def _random_words(on: Device, seed: int) -> Finding:
    here, there = (
        device.to_numpy(Generator(seed).words(device, 10_000)) for device in (get_device("cpu"), on)
    )
    wrong = [f"word {i}" for i in np.flatnonzero(here != there)]
    return Finding("random words", "the same on every device", 10_000, _first(wrong))


def _tensor_core_model(on: Device, dtype: DType, seed: int) -> Finding:
    core = ARCHITECTURES["hopper"].instructions[dtype]
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 1 << dtype.bits, (core.products, 12)).astype(dtype.words) for _ in "ab")
    c = rng.integers(0, 1 << 32, (12, 12), dtype=np.uint32)
    product = tensor_core_matmul(
        on.asarray(a.T), on.asarray(b), dtype, on.asarray(c.view(np.float32)), "hopper", True
    )
    words = on.to_numpy(product).view(np.uint32)
    wrong = [
        f"output {i}, {j} is {words[i, j]:#x}"
        for i, j in np.ndindex(words.shape)
        if words[i, j]
        != exact_dot_product(
            a[:, i].tolist(), b[:, j].tolist(), int(c[i, j]), dtype,
            core.fraction_bits, core.precision,
        )
    ]  # fmt: skip
    return Finding(f"{dtype.name} dot products", "the tensor core's bits", 144, _first(wrong))


def _tensor_core(on: Device, dtype: DType, seed: int) -> Finding:
    rng = np.random.default_rng(seed)
    a, b = (encode(rng.standard_normal((256, 256)), dtype).view(dtype.storage) for _ in "ab")
    theirs = on.to_numpy(on.matmul_words(on.asarray(a), on.asarray(b), dtype))
    differ = theirs.view(np.uint32) != tensor_core_matmul(a, b, dtype).view(np.uint32)
    wrong = [f"output {i}, {j}" for i, j in np.argwhere(differ)]
    return Finding(f"{dtype.name} products", "cuBLAS gives the model's bits", 65_536, _first(wrong))


def _same(x: Any, y: Any) -> bool:
    """Whether two exact values agree, NaNs of both signs being one."""
    return x == y or {x, y} <= {"nan", "-nan"}


def _first(wrong: list[str]) -> str | None:
    return f"{wrong[0]} ({len(wrong)} in all)" if wrong else None
