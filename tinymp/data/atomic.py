"""Replacing a file so that whoever looks finds the old content or the new, never a part of it."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path`, or leave `path` as it was, whenever the process dies.

    The new content is complete on disk, under a name of its own in the same folder, before it takes
    over the old name in one step of the file system.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:  # an interrupt, too, should leave no half-written file behind
        partial.unlink(missing_ok=True)
        raise
