"""What the course needs travels with the package: pyproject.toml names every file of it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_lessons_exercises_and_recordings_are_packaged() -> None:
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("not in a checkout")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    tool = settings["tool"]["setuptools"]
    packaged = {
        path
        for patterns in tool["data-files"].values()
        for pattern in patterns
        for path in ROOT.glob(pattern)
    }
    folder = ROOT / "tutorials"
    needed = {*folder.glob("[0-9][0-9]_*"), *(folder / "exercises").glob("*.py")}
    needed |= {folder / name for name in ("README.md", "LICENSE", "CITATION.cff")}
    needed.add(folder / "float_explorer.html")
    assert needed <= packaged
    assert tool["package-data"]["tinymp.course"] == ["h200_tiles.npz"]
    assert (ROOT / "tinymp" / "course" / "h200_tiles.npz").exists()
