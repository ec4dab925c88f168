"""Run the cells of one exercise and say how each went: a program of its own, for `grading`.

It reads a JSON object of `cells` and `seed` from standard input. When a cell has run it writes a
line to standard output: its error as a JSON string, "" where there was none. A process of its own,
because an answer may never end, or change what other answers rely on.
"""

from __future__ import annotations

import contextlib
import io
import json
import linecache
import sys
import traceback
from collections.abc import Iterator
from typing import Any

_LONGEST = 12  # lines of a message


def run_cells(cells: list[tuple[str, str]], seed: int | None = None) -> Iterator[str]:
    """The error of each cell, run in order in one namespace; "" for none.

    Args:
        cells: names and sources.
        seed: of the examples that hypothesis draws; None draws the same ones each time.
    """
    from hypothesis import Phase, core, settings

    settings.register_profile(
        "exercise",
        deadline=None,
        database=None,
        derandomize=seed is None,
        print_blob=False,
        report_multiple_bugs=False,  # one failure at a time, with its message
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )
    settings.load_profile("exercise")
    # What hypothesis's own plugin for pytest does with --hypothesis-seed.
    core.global_force_seed = seed  # type: ignore[assignment]
    namespace: dict[str, Any] = {"__name__": "exercise"}
    for name, source in cells:
        yield _run(source, name, namespace)


def _run(source: str, name: str, namespace: dict[str, Any]) -> str:
    place = f"cell {name}"
    # Where a traceback finds the lines of what is in no file.
    linecache.cache[place] = len(source), None, source.splitlines(keepends=True), place
    printed = io.StringIO()  # standard output itself belongs to the result
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(source, place, "exec"), namespace)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        last = printed.getvalue().splitlines()[-_LONGEST:]
        return "\n".join([_told(error), *(["printed last:"] if last else []), *last])
    return ""


def _told(error: BaseException) -> str:
    """The error's message, what hypothesis says of the example that failed, and the place."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename[:5] == "cell "]
    if isinstance(error, NotImplementedError):
        gap = frames[-1].name if frames and frames[-1].name != "<module>" else "the gap"
        return f"not solved yet: {gap} still raises NotImplementedError"
    lines = "".join(traceback.format_exception_only(error)).strip().splitlines()
    told = lines[:_LONGEST] + ["..."] * (len(lines) > _LONGEST)
    told += [f"line {f.lineno} of {f.filename}: {f.line}" for f in frames[-1:]]
    return "\n".join(told)


def main() -> None:
    """Do what standard input says."""
    task = json.load(sys.stdin)
    for error in run_cells(task["cells"], task["seed"]):
        print(json.dumps(error), flush=True)


if __name__ == "__main__":
    main()
