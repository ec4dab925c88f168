"""Which experiments are there, and what is the shortest form of each that still shows its point?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tinymp.lab.dots import dots
from tinymp.lab.matmul import matmul
from tinymp.lab.result import Result
from tinymp.lab.scale import scale
from tinymp.lab.sums import sums
from tinymp.lab.updates import updates


@dataclass(frozen=True)
class Experiment:
    """An experiment by name.

    Attributes:
        run: the function; every argument has a default.
        what: what it shows, in one line.
        quick: the arguments of its shortest honest form.
    """

    run: Callable[..., Result]
    what: str
    quick: Mapping[str, int]


EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        "sums": Experiment(
            sums,
            "n ones and n uniform numbers, by accumulator and rounding",
            {"longest": 4096, "repeats": 8},
        ),
        "dots": Experiment(
            dots, "the error of dot products against n, with its bounds", {"longest": 1024}
        ),
        "matmul": Experiment(
            matmul,
            "the error of matrix products, against float64 and the tensor core",
            {"longest": 256, "size": 16},
        ),
        "updates": Experiment(
            updates, "where w + δ is lost, exact or amplified, by format", {"count": 500}
        ),
        "scale": Experiment(
            scale, "the gradients that a loss scale saves, in a run made now", {"steps": 120}
        ),
    }
)


def get_experiment(name: str) -> Experiment:
    """The experiment of a name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"unknown experiment {name!r}; expected one of {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]
