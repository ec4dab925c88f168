"""A data set: inputs and what belongs to them, as NumPy arrays, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples in the order of their first axis.

    Attributes:
        name: what messages call it.
        inputs: array of shape (n, ...).
        targets: array of shape (n, ...): a label, or a value to predict, for each input.

    Raises:
        ValueError: where the lengths differ, or a number is NaN or infinite; it says where.
    """

    name: str
    inputs: Array
    targets: Array

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise ValueError(
                f"data set {self.name!r}: {len(self.inputs)} inputs but {len(self.targets)} "
                "targets were given; each input needs one target"
            )
        check_finite(f"{self.name} inputs", self.inputs)
        check_finite(f"{self.name} targets", self.targets)

    def __len__(self) -> int:
        return len(self.inputs)


def check_finite(name: str, values: Array) -> None:
    """Raise a ValueError that names the first NaN or infinity in `values`, and its place.

    Rows and columns are counted from 0, as NumPy does. Integers are always finite.
    """
    wrong = ~np.isfinite(values)
    if not wrong.any():
        return
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    axes = ["row", "column"] if values.ndim <= 2 else [f"axis {i}" for i in range(values.ndim)]
    where = ", ".join(f"{axis} {index}" for axis, index in zip(axes, place, strict=False))
    count = int(wrong.sum())
    raise ValueError(
        f"data set {name!r} holds {values[place]} at {where} ({count} such number(s) in all); "
        "training on it would spread NaN everywhere: remove or replace the example first"
    )
