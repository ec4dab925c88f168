"""Cells of a file in percent format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymp.course.percent import Cell, cells, joined

EXAMPLE = """# ---
# jupyter: {}
# ---

# %% [markdown]
# # Title
#
# Text.

# %%
x = 1

# %% nbgrader={"grade": true, "points": 2}
assert x == 1
"""


def test_reads_text_code_and_metadata() -> None:
    text, code, test = cells(EXAMPLE)
    assert text == Cell("markdown", "# # Title\n#\n# Text.")
    assert text.text == "# Title\n\nText."
    assert code.text == "x = 1"
    assert test.metadata == {"nbgrader": {"grade": True, "points": 2}}


LINES = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1)
SOURCES = LINES.filter(lambda line: not line.startswith("# %%") and line.strip())


@given(st.lists(st.builds(Cell, st.sampled_from(["code", "markdown"]), SOURCES)))
def test_what_is_joined_reads_back(parts: list[Cell]) -> None:
    assert cells(joined(parts)) == parts


def test_a_marker_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match=r'line 3 begins a cell, but .* expected "# %%"'):
        cells("# %%\nx = 1\n# %% nonsense\n")
