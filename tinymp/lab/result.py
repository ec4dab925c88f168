"""What does an experiment find? Figures, sentences that follow from them, a table and a plot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tinymp.devices import get_rng_state, manual_seed, set_rng_state
from tinymp.inspect.text import table


@dataclass(frozen=True)
class Curve:
    """One line of a plot.

    Attributes:
        label: its name in the key.
        x, y: its points; a y of None is a gap.
        kind: "measured", or "bound" for a line that follows from theory.
        style: curves of one style are drawn in one colour and with one marker.
        dashed: the second of two lines of one style.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    kind: Literal["measured", "bound"] = "measured"
    style: int = 0
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title, x_label, y_label: what is drawn, with units.
        curves: the lines.
        y_scale: "linear", or "log" for powers of ten.
        y_limits: lower and upper end; None leaves them to the data.
        x_scale: "powers of two" for x itself on a logarithmic axis, "linear" for exponents.
    """

    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    y_scale: Literal["linear", "log"] = "linear"
    y_limits: tuple[float, float] | None = None
    x_scale: Literal["powers of two", "linear"] = "powers of two"


@dataclass(frozen=True)
class Result:
    """What an experiment found.

    Attributes:
        name: of the experiment, and of the files that `save` writes.
        question: what it asks.
        settings: the arguments that give the same figures again.
        head, rows: the table.
        findings: what the figures say, in sentences.
        panels: the plot; `columns` of them stand side by side.
    """

    name: str
    question: str
    settings: Mapping[str, Any]
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    findings: tuple[str, ...]
    panels: tuple[Panel, ...]
    columns: int = 2

    def table(self) -> str:
        """The table as text, with the question above and the findings below."""
        rows = table(self.head, self.rows, right=range(1, len(self.head)))
        return "\n\n".join([self.question, rows, "\n".join(self.findings)])

    def plot(self, path: Path | str) -> None:
        """Draw the plot into a PNG file.

        Raises:
            ModuleNotFoundError: matplotlib is not installed; the message says how to get it.
        """
        from tinymp.lab.drawing import draw

        draw(self, Path(path))

    def as_json(self) -> str:
        """Every figure, with the settings: what the table and the plot are made of."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)

    def save(self, folder: Path | str) -> list[Path]:
        """Write name.json, name.txt and name.png into a folder, made if need be; their paths.

        What stood there under these names is replaced.

        Raises:
            ModuleNotFoundError: matplotlib is not installed; the other two files are written then.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{self.name}.{kind}" for kind in ("json", "txt", "png")]
        for path, text in zip(paths, (self.as_json(), self.table()), strict=False):
            path.write_text(text + "\n", encoding="utf-8", newline="\n")
        self.plot(paths[2])
        return paths


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Seed the default generator for a block, and give it its state back afterwards."""
    before = get_rng_state()
    manual_seed(seed)
    try:
        yield
    finally:
        set_rng_state(before)


def powers_of_two(first: int, last: int) -> list[int]:
    """The powers of two from `first` to `last`, both powers of two themselves.

    Raises:
        ValueError: one of them is no power of two, or the first is the larger.
    """
    for n in (first, last):
        if n < 1 or n & (n - 1):
            raise ValueError(f"lengths are powers of two, and {n} is none")
    if first > last:
        raise ValueError(f"the longest length must be at least {first}, but {last} was given")
    return [2**e for e in range(first.bit_length() - 1, last.bit_length())]


def relative(x: float) -> str:
    """A relative error or a share of one, in three digits."""
    return "0" if x == 0 else f"{x:.2e}"
