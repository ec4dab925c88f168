"""`import tinymp` costs NumPy and little else."""

from __future__ import annotations

import subprocess
import sys

OPTIONAL = ("cupy", "matplotlib", "ml_dtypes", "rich", "safetensors", "scipy", "torch", "typer")


def test_import_loads_nothing_optional() -> None:
    """In a fresh interpreter: this one has loaded all of them."""
    program = f"import sys, tinymp; print([n for n in {OPTIONAL} if n in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
