"""Which races are there? Groups of them, by the names that the command line takes."""

from __future__ import annotations

from tinymp.bench import casts, convnet, gpt, mlp, operations
from tinymp.bench.measure import Race

GROUPS: dict[str, list[Race]] = {
    "mlp": mlp.RACES,
    "gpt": gpt.RACES,
    "convnet": convnet.RACES,
    "casts": casts.RACES,
    "ops": operations.RACES,
}
SCALING = "scaling"
NAMES = (*GROUPS, SCALING)


def check_names(names: list[str]) -> list[str]:
    """The groups to run: all where none is named.

    Raises:
        ValueError: an unknown name.
    """
    if unknown := [name for name in names if name not in NAMES]:
        raise ValueError(f"unknown group {unknown[0]!r}; expected one of {', '.join(NAMES)}")
    return names or list(NAMES)
