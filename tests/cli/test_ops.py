"""`tinymp ops` and the page of the documentation say what the engine does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tinymp as mp
from tinymp.autograd.op import OPS
from tinymp.cli import app
from tinymp.inspect import operations

PAGE = Path(__file__).parents[2] / "tutorials" / "operations.md"


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["ops", *arguments], env={"COLUMNS": "160"})


def test_the_page_is_up_to_date() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == operations.as_markdown(), (
        "run: tinymp ops --markdown > tutorials/operations.md"
    )
    assert run("--markdown").output == written


def test_every_operation_has_its_row() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in OPS:
        assert page.count(f"| `{name}(") == 1
    shown = run()
    assert shown.exit_code == 0
    assert all(f"{name}(" in shown.output for name in OPS)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda x: x @ x, "matmul"),
        (lambda x: x.tanh(), "tanh"),
        (lambda x: mp.linear(x, x), "linear"),
        (lambda x: x + x, "add"),
        (lambda x: mp.layer_norm(x, (2,)), "layer_norm"),
        (lambda x: x.logsumexp(1), "logsumexp"),
    ],
)
def test_a_row_is_what_the_engine_keeps(call: Any, name: str) -> None:
    x = mp.ones(2, 2, requires_grad=True)
    kept = [key for key, value in call(x).node.saved.items() if hasattr(value, "shape")]
    row = operations.describe(OPS[name])
    optional = set(OPS[name].optional)
    assert set(kept) - optional == set(row.keeps.replace("*", "").split(", ")) - optional - {""}


def test_one_row_by_its_name_and_near_ones_for_another() -> None:
    shown = run("matmul")
    assert "matmul(x, y)" in shown.output
    assert "linear(" not in shown.output
    wrong = run("matmull")
    assert wrong.exit_code == 2
    assert "there is no operation 'matmull'; try matmul" in wrong.output
    assert "linear(x, weight, [bias])" in run("linear").output
