"""Which accumulator is in force, and who decides?

The choice is a context variable, as rounding is: a graph node keeps what was in force in its
forward pass and uses it again in its backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tinymp.numerics.accumulators import FLOAT32, Accumulator
from tinymp.numerics.named import accumulator

ACCUMULATOR: ContextVar[Accumulator] = ContextVar("tinymp_accumulator", default=FLOAT32)


def active_accumulator() -> Accumulator:
    """The accumulator of the innermost `with accumulation` block, or float32's."""
    return ACCUMULATOR.get()


@contextmanager
def using_accumulator(chosen: Accumulator) -> Iterator[Accumulator]:
    """Run a block under an accumulator at hand, as recomputation does with that of the forward."""
    token = ACCUMULATOR.set(chosen)
    try:
        yield chosen
    finally:
        ACCUMULATOR.reset(token)


@contextmanager
def accumulation(name: str, **options: Any) -> Iterator[Accumulator]:
    """Make sums and matrix products accumulate in the named way; the innermost choice wins.

        with mp.accumulation("chunked", size=64, dtype="float16"):
            loss = model(x).sum()

    It reaches every operation that adds terms, forward and, wherever backward is called, its
    gradients. Names and options are those of `numerics.accumulator`.

    Raises:
        ValueError: an unknown name, or a value that an option does not take.
        TypeError: an option that the accumulator does not have. Inside the block, under
            `"tensor_core"`: a matrix product of anything but two tensors of one 2-byte float.
    """
    with using_accumulator(accumulator(name, **options)) as chosen:
        yield chosen
