"""Make the executed notebooks beside the lessons: `python -m tinymp.course.notebooks [NAME ...]`.

A lesson's source is the only thing to edit. Its notebook has the same cells, and what they print
and draw on this machine; running the command again changes nothing unless a result changed.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from tinymp.course.lessons import Lesson, find_lesson, lessons

_SECONDS = 600  # for one cell, on a busy machine
# Plots go into the notebook, in full length, whatever the shell that builds it is set to.
_ENVIRONMENT = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "TINYMP_FAST": "0"}


def build(lesson: Lesson) -> dict[str, Any]:
    """The notebook of a lesson, executed, without anything that differs from run to run.

    Raises:
        ModuleNotFoundError: jupytext, nbclient or ipykernel is missing.
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    import jupytext
    from nbclient import NotebookClient

    notebook: Any = jupytext.reads(lesson.path.read_text(encoding="utf-8"), fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # random otherwise
    client = NotebookClient(notebook, timeout=_SECONDS, kernel_name="python3", record_timing=False)
    client.execute(env={**os.environ, **_ENVIRONMENT})
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook.nbformat_minor = 5
    for cell in notebook.cells:
        cell["metadata"] = {}
        if "outputs" in cell:
            cell["outputs"] = _joined(cell["outputs"])
    return dict(notebook)


def _joined(outputs: list[Any]) -> list[Any]:
    """Outputs with printed text in one piece: a kernel sends it in parts that depend on timing."""
    joined: list[Any] = []
    for output in outputs:
        before = joined[-1] if joined else None
        if before is not None and output.get("name") == before.get("name", "") != "":
            before["text"] += output["text"]
        else:
            joined.append(output)
        if "metadata" in output:
            output["metadata"] = {}
    return joined


def main(names: list[str]) -> None:
    """Write the notebooks of the named lessons, of all if none is named."""
    import nbformat

    for lesson in [find_lesson(name) for name in names] or lessons():
        notebook = nbformat.from_dict(build(lesson))
        text = nbformat.writes(notebook) + "\n"
        lesson.notebook.write_text(text, encoding="utf-8", newline="\n")
        print(f"{lesson.notebook.name}: {len(text) / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
