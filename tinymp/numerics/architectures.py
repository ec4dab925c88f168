"""What does one tensor-core instruction do? A few integers for each architecture and format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tinymp.formats import DType, bfloat16, float8_e4m3fn, float16

#: What the models rest on; each architecture names its source.
KHATTAK = (
    "Khattak & Mikaitis, Accurate models of NVIDIA tensor cores, arXiv 2512.07004 (2025), and "
    "their north-numerical-computing/MATLAB-tensor-core"
)
FASI = "Fasi, Higham, Mikaitis & Pranesh, PeerJ Computer Science 7:e330 (2021)"


@dataclass(frozen=True)
class DotProduct:
    """The instruction that adds a few products to an accumulator.

    Attributes:
        products: how many products one instruction takes.
        fraction_bits: bits kept of every term below the leading bit of the largest exponent.
        precision: bits to which the sum is cut, 24 being all of a float32.
        run: without fast accumulation, how many products are summed on the tensor core before the
            sum moves to an ordinary float32; None where there is no such choice.
    """

    products: int
    fraction_bits: int
    precision: int = 24
    run: int | None = None


@dataclass(frozen=True)
class Architecture:
    """A generation of tensor cores: its instructions, and how well they are known.

    Attributes:
        name: as in `tensor_core_matmul(architecture=...)`.
        instructions: the dot product that each format has.
        checked: whether this project compared the model with recordings of the hardware.
        source: where the parameters were published.
    """

    name: str
    instructions: Mapping[DType, DotProduct]
    checked: bool
    source: str


#: The terms are never aligned to a smaller exponent. Probed on an H200, where it separates 2^-132
#: from 2^-134; taken over, unchecked, for the older architectures. (For Ampere others name -132.)
SMALLEST_EXPONENT = -133

_VOLTA = DotProduct(products=4, fraction_bits=23)
_AMPERE = DotProduct(products=8, fraction_bits=24)
_HOPPER = DotProduct(products=16, fraction_bits=25)
_HOPPER_FP8 = DotProduct(products=32, fraction_bits=13, precision=14, run=128)

ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            "hopper",
            {float16: _HOPPER, bfloat16: _HOPPER, float8_e4m3fn: _HOPPER_FP8},
            checked=True,
            source=f"{KHATTAK}; recordings of an H200",
        ),
        Architecture(
            "ampere",
            {float16: _AMPERE, bfloat16: _AMPERE},
            checked=False,
            source=f"{FASI}; {KHATTAK}",
        ),
        Architecture("volta", {float16: _VOLTA}, checked=False, source=f"{FASI}; {KHATTAK}"),
    )
}


def instruction(architecture: str, dtype: DType) -> DotProduct:
    """The dot product of an architecture for a format.

    Raises:
        ValueError: an unknown architecture.
        TypeError: a format that its tensor cores do not multiply, or not in a way that is known.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"unknown architecture {architecture!r}; expected one of {', '.join(ARCHITECTURES)}"
        )
    instructions = ARCHITECTURES[architecture].instructions
    if dtype not in instructions:
        raise TypeError(
            f"the model of {architecture}'s tensor cores was given {dtype.name}; it multiplies "
            f"{', '.join(d.name for d in instructions)}; encode the operands in one of these"
        )
    return instructions[dtype]
