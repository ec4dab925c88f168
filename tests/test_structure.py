"""The house: rooms stand on the floors below them, and the engine fits in an evening's reading."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tinymp"
FLOORS = [
    "devices", "formats", "numerics", "autograd", "ops", "transforms", "nn", "optim", "amp",
    "inspect", "data", "models", "train", "testing", "lab", "bench", "course", "cli",
]  # fmt: skip


def imports_at_run_time(tree: ast.Module) -> list[str]:
    """Modules of tinymp that a file imports, but for what only a type checker reads."""
    only_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in only_types and node.module:
            modules = [node.module]
            if node.module == "tinymp":
                modules = [f"tinymp.{alias.name}" for alias in node.names]
            found += [module for module in modules if module.startswith("tinymp.")]
    return found


@pytest.mark.parametrize("room", FLOORS)
def test_a_room_imports_only_from_floors_below(room: str) -> None:
    allowed = FLOORS[: FLOORS.index(room) + 1]
    files = sorted((PACKAGE / room).rglob("*.py"))
    assert files
    for file in files:
        for module in imports_at_run_time(ast.parse(file.read_text(encoding="utf-8"))):
            floor = module.split(".")[1]
            assert floor in allowed or floor not in FLOORS, f"{file} imports {module}"


def test_every_room_has_its_floor() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms == set(FLOORS)


def code_lines(source: str) -> int:
    """Lines with code on them: neither empty, nor comment, nor docstring."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            text = node.body[0]
            documented.update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    lines = enumerate(source.splitlines(), start=1)
    return sum(
        bool(line.strip()) and not line.strip().startswith("#") and number not in documented
        for number, line in lines
    )


def test_the_engine_can_be_read_in_an_evening() -> None:
    files = (PACKAGE / "autograd").glob("*.py")
    assert sum(code_lines(file.read_text(encoding="utf-8")) for file in files) <= 960


@pytest.mark.parametrize("room", FLOORS)
def test_a_file_fits_in_a_readers_head(room: str) -> None:
    for file in (PACKAGE / room).rglob("*.py"):
        if file.name == "__init__.py":
            continue  # an index is looked things up in, not read
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 320, file
