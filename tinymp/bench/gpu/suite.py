"""What can be measured on a GPU? Groups, by the names that the command line takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tinymp.bench.gpu import attention, kernels, mlp, products, updates
from tinymp.bench.gpu.memory import give_back
from tinymp.bench.gpu.race import GpuRace
from tinymp.bench.measure import Result

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


def results(group: str, rounds: int) -> Iterator[Result]:
    """What the races of a group gave, one after another; each leaves the GPU's memory."""
    for race in RACES[group]():
        give_back()
        yield race.run(rounds)
    give_back()
