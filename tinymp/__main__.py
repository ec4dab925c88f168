"""`python -m tinymp`: the command line, where the `tinymp` command is not on the path."""

from __future__ import annotations

from tinymp.cli import main

main()
