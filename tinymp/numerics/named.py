"""Which accumulators are there? The choices, by name.

    accumulator("float16").sum(np.ones(4096, np.float32))        2048: adding 1 changes nothing
    accumulator("kahan", dtype="float16").sum(...)               4096

The same name and options give the same object.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from tinymp.formats import active_rounding, bfloat16, dtype_of, float16
from tinymp.formats.rounding import check_mode
from tinymp.numerics.accumulators import (
    FLOAT32,
    Accumulator,
    Double,
    Native,
    Reproducible,
    TensorCore,
)
from tinymp.numerics.architectures import instruction
from tinymp.numerics.ordered import Chunked, Kahan, Pairwise, Sequential

# What each name means: a class, the attributes that the name fixes or sets, and the options.
_NAMES: dict[str, tuple[type[Accumulator], dict[str, Any], tuple[str, ...]]] = {
    "float32": (Native, {}, ()),
    "float64": (Double, {}, ()),
    "float16": (Sequential, {"dtype": float16}, ("rounding",)),
    "bfloat16": (Sequential, {"dtype": bfloat16}, ("rounding",)),
    "sequential": (Sequential, {}, ("dtype", "rounding")),
    "chunked": (Chunked, {}, ("size", "dtype", "rounding")),
    "pairwise": (Pairwise, {}, ("dtype", "rounding")),
    "kahan": (Kahan, {}, ("dtype", "rounding")),
    "stochastic": (Sequential, {"dtype": float16, "rounding": "stochastic"}, ("dtype",)),
    "tensor_core": (TensorCore, {}, ("architecture",)),
    "reproducible": (Reproducible, {}, ()),
}


def accumulator(name: str, **options: Any) -> Accumulator:
    """An accumulator by name.

        "float32"       float32 in the device's own order: the default
        "float64"       float64 in the device's own order
        "float16"       one term after the other, every sum rounded to float16
        "bfloat16"      the same in bfloat16
        "sequential"    the same in any format
        "chunked"       chunks of `size` terms (64), then their sums
        "pairwise"      halves, each summed by halves
        "kahan"         sequential, each addition giving the next what it lost
        "stochastic"    sequential, rounded stochastically, to float16
        "tensor_core"   the bits of tensor cores of an `architecture` ("hopper"), for products of
                        2-byte matrices; other products are refused
        "reproducible"  nothing is left to the device, so that a Hopper GPU and the CPU can give the
                        same bits: tensor cores for 2-byte matrices, a fixed order for everything
                        else, and exp, log and the like rounded from float64

    Args:
        options: those of the name. `dtype` is the format of partial sums; left out, it is that of
            the values: float32, or float64. `rounding` is how they are rounded to it; left out, by
            the mode that is active for the format now.

    Raises:
        ValueError: an unknown name, or a value that an option does not take.
        TypeError: an option that the accumulator does not have.
    """
    if name not in _NAMES:
        raise ValueError(f"unknown accumulator {name!r}; expected one of {', '.join(_NAMES)}")
    if name == "float32" and not options:
        return FLOAT32
    _, given, known = _NAMES[name]
    if unknown := [option for option in options if option not in known]:
        raise TypeError(
            f"accumulator {name!r} has no option {unknown[0]!r}; its options are "
            f"{', '.join(known) or 'none'}"
        )
    chosen = {**given, **options}
    if "architecture" in chosen:
        instruction(chosen["architecture"], float16)  # complains about an unknown one
    size = chosen.get("size", 1)
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"size must be a number of terms, 1 or more, but {size!r} was given")
    if chosen.get("dtype") is not None:
        dtype = chosen["dtype"] = dtype_of(chosen["dtype"])
        if not dtype.is_float:
            raise ValueError(f"sums are held in a floating-point format, and {dtype.name} is none")
        chosen.setdefault("rounding", active_rounding().mode(dtype))
    if chosen.get("rounding") is not None:
        check_mode(chosen["rounding"])
    return _accumulator(name, **chosen)


@cache
def _accumulator(name: str, **attributes: Any) -> Accumulator:
    return _NAMES[name][0](name, **attributes)
