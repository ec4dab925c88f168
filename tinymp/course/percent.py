"""What are the cells of a lesson? The percent format of jupytext, as far as the course uses it.

A cell begins with a line `# %%`, or `# %% [markdown]` for text, whose lines are comments. Behind
the marker may stand metadata in the form `key={"a": 1}`. What comes before the first cell is a
header in YAML, for jupytext.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

_MARKER = re.compile(r"# %%(?P<text> \[markdown\])?(?: (?P<key>\w+)=(?P<value>\{.*\}))?\s*")


@dataclass(frozen=True)
class Cell:
    """One cell: `kind` "code" or "markdown", its source, and the metadata behind its marker."""

    kind: str
    source: str
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def marker(self) -> str:
        """The line that begins the cell."""
        text = " [markdown]" if self.kind == "markdown" else ""
        return f"# %%{text}" + "".join(
            f" {key}={json.dumps(value)}" for key, value in self.metadata.items()
        )

    @property
    def text(self) -> str:
        """What a notebook shows: of text, the lines without their comment signs."""
        if self.kind == "code":
            return self.source
        return "\n".join(re.sub(r"^# ?", "", line) for line in self.source.split("\n"))


def cells(text: str) -> list[Cell]:
    """The cells of a file in percent format, without the header.

    Raises:
        ValueError: a marker that cannot be read; it says which line.
    """
    found: list[tuple[str, dict[str, Any], list[str]]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("# %%"):
            match = _MARKER.fullmatch(line)
            if match is None:
                raise ValueError(
                    f"line {number} begins a cell, but {line!r} cannot be read; expected "
                    '"# %%", "# %% [markdown]" or "# %% key={...}"'
                )
            kind = "markdown" if match["text"] else "code"
            metadata = {match["key"]: json.loads(match["value"])} if match["key"] else {}
            found.append((kind, metadata, []))
        elif found:
            found[-1][2].append(line)
    return [Cell(kind, "\n".join(lines).strip("\n"), metadata) for kind, metadata, lines in found]


def joined(parts: list[Cell]) -> str:
    """A file of these cells."""
    return "\n\n".join(f"{cell.marker}\n{cell.source}" for cell in parts) + "\n"
