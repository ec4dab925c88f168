"""`tinymp reference`: pages for the public names, without a warning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tinymp.cli import app


@pytest.mark.slow
def test_the_reference_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("pdoc")
    done = subprocess.run(
        [sys.executable, "-m", "tinymp", "reference", str(tmp_path)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "tinymp" / "amp.html").read_text(encoding="utf-8")
    for name in ("GradScaler", "MasterWeights", "autocast", "DynamicLossScale"):
        assert f'id="{name}"' in page
    assert 'id="Tensor.backward"' in (tmp_path / "tinymp.html").read_text(encoding="utf-8")


def test_a_missing_pdoc_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pdoc", None)
    result = CliRunner().invoke(app, ["reference", str(tmp_path)])
    assert result.exit_code == 2
    assert 'needs pdoc, which is not installed; install it with: pip install "tinymp[docs]"' in (
        result.stderr
    )
