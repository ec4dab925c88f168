"""The figures that the README quotes are in files that say where they come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

RESULTS = Path(__file__).parent / "results"


@pytest.mark.parametrize("name", ["cpu.json", "h200.json"])
def test_results_say_on_what_they_were_measured(name: str) -> None:
    found = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    assert found["rounds"] >= 11
    assert {"processor", "system", "python", "versions"} <= set(found["machine"])
    assert found["machine"]["versions"]["numpy"]
    assert found["races"]


def test_the_readme_quotes_them() -> None:
    readme = (RESULTS.parents[2] / "README.md").read_text(encoding="utf-8")
    steps = json.loads((RESULTS / "h200.json").read_text(encoding="utf-8"))["gpt2"]["contestants"]
    for step in steps:
        milliseconds = 1e3 * step["step_seconds"]["median"]
        shown = f"{milliseconds:.0f} ms" if milliseconds > 100 else f"{milliseconds:.1f} ms"
        assert f"| {shown} |" in readme, step["contestant"]
    races = json.loads((RESULTS / "cpu.json").read_text(encoding="utf-8"))["races"]
    for race in races[:2]:
        ratios = {
            name: f"{contestant['ratio']['median']:.1f}"
            for name, contestant in race["contestants"].items()
        }
        own = ("tinymp FP32", "tinymp BF16, truncated", "tinymp FP16, scaled")
        eager = [ratios[name] for name in (*own, "PyTorch")]
        captured = [ratios[f"{name}, captured"] for name in own]
        assert f"| eager | {' | '.join(eager)} |\n| | captured | {' | '.join(captured)} |" in readme
