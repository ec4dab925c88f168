"""The README says nothing that does not work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import tinymp as mp
from tinymp.amp.policy import POLICIES
from tinymp.nn.functional import cross_entropy

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_the_first_two_shell_blocks_are_the_two_commands() -> None:
    run, test = blocks("sh")[:2]
    assert run.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert run.endswith(" .venv/bin/tinymp train digits --policy fp16\n")
    assert test == (
        'python3 -m venv .venv && .venv/bin/pip install -q -e ".[test]" '
        "&& .venv/bin/python -m pytest\n"
    )


def test_the_example_trains() -> None:
    example, *_ = blocks("python")
    assert len(example.splitlines()) <= 17
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    loss = names["loss"]
    assert isinstance(loss, mp.Tensor)
    assert loss.item() < 1.5  # it was log(10) = 2.3 before the first step
    assert names["model"].state_dict()["0.weight"].dtype is mp.float16  # type: ignore[attr-defined]


def test_the_program_is_that_of_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    _, example, program, _ = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out == program + "\n"  # print adds one


def test_the_captured_step_goes_on_where_the_lines_were() -> None:
    first, *_, captured = blocks("python")
    names: Any = {}
    exec(compile(first, "README.md", "exec"), names)
    model = names["model"]
    names["loss_of"] = lambda x, y: cross_entropy(model(x.half()).float(), y)
    names["loader"] = mp.data.DataLoader(mp.data.load_digits(), batch_size=32).epoch(1)
    before = names["loss"].item()
    exec(compile(captured, "README.md", "exec"), names)
    assert names["loss"].item() < before
    assert names["backward"].source.startswith("def forward(x, y, p_0_weight, ")


def test_every_policy_it_names_exists() -> None:
    named = re.findall(r"^\| `([a-z0-9-]+)`", README, flags=re.MULTILINE)
    policies = [name for name in named if name.startswith(("fp", "bf"))]
    assert len(policies) == 6 + 8  # of the two tables
    assert set(policies) <= set(POLICIES)


@pytest.mark.parametrize("path", re.findall(r"`((?:tinymp|tests)/[\w./]*)`", README))
def test_every_path_it_names_exists(path: str) -> None:
    assert (ROOT / path).exists() or path == "tinymp/"


@pytest.mark.parametrize("path", re.findall(r"!\[.*?\]\((.*?)\)", README))
def test_its_pictures_exist(path: str) -> None:
    assert (ROOT / path).read_bytes().startswith(b"\x89PNG")
    assert (ROOT / path).stat().st_size < 150_000
