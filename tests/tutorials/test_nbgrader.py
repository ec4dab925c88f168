"""nbgrader makes the same stubs of the marked sources as `tinymp exercises` does."""

from __future__ import annotations

import pytest

from tinymp.course import Exercise, exercises
from tinymp.course.percent import cells


@pytest.mark.parametrize("exercise", exercises(), ids=lambda exercise: exercise.task)
def test_the_stubs_agree(exercise: Exercise) -> None:
    jupytext = pytest.importorskip("jupytext")
    preprocessors = pytest.importorskip("nbgrader.preprocessors")
    notebook = jupytext.read(exercise.path, fmt="py:percent")
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "language": "python",
        "display_name": "Python 3",
    }
    for preprocessor in (preprocessors.ClearSolutions(), preprocessors.ClearHiddenTests()):
        notebook, _ = preprocessor.preprocess(notebook, {})
    theirs = [cell.source.rstrip("\n") for cell in notebook.cells]
    assert theirs == [cell.text.rstrip("\n") for cell in cells(exercise.stub())]
