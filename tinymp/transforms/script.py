"""Lines of Python that are run as they are written, and become functions in the end."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from keyword import iskeyword
from math import isfinite
from typing import Any

from tinymp.formats import DType

_RESERVED = ("g", "kept")  # what backward is given
_LONG = 1 << 16  # bytes from which a variable is deleted when it is not needed any more


class Script:
    """Lines on variables and constants.

    Attributes:
        variables: what is in each, by name.
        lines: those written so far.
    """

    def __init__(self, **constants: Any) -> None:
        self.variables: dict[str, Any] = {}
        self.lines: list[str] = []
        self._constants: dict[str, Any] = constants
        self._names = {id(value): name for name, value in constants.items()}
        self._numbers: dict[str, int] = {}  # how many names have begun in this way

    def line(self, line: str, run: bool = True) -> None:
        """Write a line, and run it."""
        if run:
            exec(line, self._constants, self.variables)
        self.lines.append(line)

    def is_free(self, name: str) -> bool:
        """Whether something can be given this name."""
        taken = name in self.variables or name in self._constants or name in _RESERVED
        return name.isidentifier() and not iskeyword(name) and not taken

    def new_name(self, stem: str) -> str:
        """A name that begins with `stem` and has not been given yet."""
        stem = re.sub(r"\W", "_", stem)
        while True:
            self._numbers[stem] = number = self._numbers.get(stem, 0) + 1
            if self.is_free(name := f"{stem}_{number}"):
                return name

    def name(self, wish: str) -> str:
        """A name as wished, or one that begins so if that is taken."""
        return wish if self.is_free(wish) else self.new_name(wish)

    def constant(self, value: Any, name: str) -> str:
        """The name of something that is the same each time: `name`, or one that begins so."""
        if id(value) not in self._names:
            self._names[id(value)] = own = self.name(name)
            self._constants[own] = value
        return self._names[id(value)]

    def literal(self, value: Any) -> str:
        """How a value is written: as itself where that is possible, or as a constant."""
        if isinstance(value, tuple) and all(type(x) is int for x in value):
            return repr(value)
        if value is None or type(value) in (bool, int, str):
            return repr(value)
        if type(value) is float and isfinite(value):
            return repr(value)
        return self.constant(value, value.name if isinstance(value, DType) else "c")

    def functions(self, source: str) -> dict[str, Callable[..., Any]]:
        """The functions that a source defines, by name."""
        found: dict[str, Callable[..., Any]] = {}
        exec(compile(source, "<captured>", "exec"), self._constants, found)
        return found

    def body(self, lines: Sequence[str], kept: set[str]) -> list[str]:
        """The lines of a function, which deletes long variables after their last line.

        Those in `kept` are needed longer.
        """
        short = {name for name, x in self.variables.items() if getattr(x, "nbytes", 0) < _LONG}
        done = kept | short
        written: list[str] = []
        for line in reversed(lines):
            last = sorted((names_in([line]) & {*self.variables}) - done)
            done |= {*last}
            written += [f"    del {', '.join(last)}"] if last else []
            written.append(f"    {line}")
        return written[::-1]


def names_in(lines: Sequence[str]) -> set[str]:
    """All names in some lines."""
    return {node.id for node in _all_names(lines)}


def names_assigned_in(lines: Sequence[str]) -> set[str]:
    """The names that some lines assign."""
    return {node.id for node in _all_names(lines) if isinstance(node.ctx, ast.Store)}


def tuple_of(names: Sequence[str]) -> str:
    """A tuple, written down."""
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"


def _all_names(lines: Sequence[str]) -> list[ast.Name]:
    tree = ast.parse("\n".join(lines))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
