"""A file is replaced whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tinymp.data.atomic import write_atomically


def test_replaces_the_content_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("where", ["os.fsync", "pathlib.Path.replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(where, fail)
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_disk_before_it_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: (events.append("fsync"), fsync(file))[1])
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (events.append("replace"), replace(self, to))[1]
    )
    write_atomically(tmp_path / "file", b"content")
    assert events == ["fsync", "replace"]


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_a_reader_finds_whole_files_whenever_the_writer_is_killed(tmp_path: Path) -> None:
    """Killed at five moments while it writes 4 MB files of one letter over and over."""
    path = tmp_path / "file"
    write_atomically(path, b"a" * 4_000_000)
    program = textwrap.dedent("""
        import sys
        from itertools import cycle
        from pathlib import Path
        from tinymp.data.atomic import write_atomically
        print("ready", flush=True)
        for letter in cycle([b"a", b"b"]):
            write_atomically(Path(sys.argv[1]), letter * 4_000_000)
    """)
    for attempt in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.03 + 0.017 * attempt)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        content = path.read_bytes()
        assert len(content) == 4_000_000
        assert len(set(content)) == 1
