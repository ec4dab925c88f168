"""What can be measured on a GPU? Groups, by the names that the command line takes."""

from __future__ import annotations

from collections.abc import Callable

from tinymp.bench.gpu import attention, kernels, mlp, products, updates
from tinymp.bench.gpu.race import GpuRace

#: Groups of races.
RACES: dict[str, Callable[[], list[GpuRace]]] = {
    "products": products.races,
    "kernels": lambda: [*kernels.races(), *updates.races()],
    "attention": attention.races,
    "mlp": mlp.races,
}
GPT2, CURVES = "gpt2", "curves"
NAMES = (*RACES, GPT2, CURVES)


def check_names(names: list[str]) -> list[str]:
    """The groups to run: all where none is named.

    Raises:
        ValueError: an unknown name.
    """
    if unknown := [name for name in names if name not in NAMES]:
        raise ValueError(f"unknown group {unknown[0]!r} of gpu; expected one of {', '.join(NAMES)}")
    return names or list(NAMES)
