"""Lessons are found, described and copied."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinymp.course import find_lesson, folder, lessons, tutorials_folder
from tinymp.course.lessons import copy_course, read_lesson


def test_a_lesson_is_found_by_number_name_or_part() -> None:
    first = lessons()[0]
    assert (first.number, first.name, first.title) == (1, "01_floats", "What a float is")
    for name in ("1", "01", "01_floats", "floats", "01_floats.py", "01_floats.ipynb"):
        assert find_lesson(name) == first


@pytest.mark.parametrize(("name", "said"), [("tensorflow", "no lesson"), ("_", "more than one")])
def test_what_is_no_lesson_is_refused(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=rf"{said} .*expected one of 01_floats"):
        find_lesson(name)


def test_of_several_lessons_only_those_are_named() -> None:
    with pytest.raises(ValueError, match="expected one of 01_floats, 08_float32_operations, 13_f"):
        find_lesson("float")


def test_a_lesson_without_its_facts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "99_none.py"
    path.write_text("# %% [markdown]\n# # 99 · Title\n#\n# Text.\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"99_none.py: the first cell must begin with '# N · Ti"):
        read_lesson(path)


def test_copies_go_to_a_new_folder_and_overwrite_nothing(tmp_path: Path) -> None:
    copied = copy_course(tmp_path / "course")
    assert {lesson.path.name for lesson in lessons()} < {path.name for path in copied}
    with pytest.raises(FileExistsError, match=r"already has 01_floats.py.*name a new folder"):
        copy_course(tmp_path / "course")


def test_the_folder_is_found_where_the_package_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Installed:
        parts = ("..", "..", "share", "tinymp", "tutorials", "LICENSE")

        def locate(self) -> Path:
            return tmp_path / "share" / "tinymp" / "tutorials" / "LICENSE"

    monkeypatch.setattr(folder, "files", lambda name: [Installed()])
    (tmp_path / "share" / "tinymp" / "tutorials" / "exercises").mkdir(parents=True)
    assert tutorials_folder() == (tmp_path / "share" / "tinymp" / "tutorials").resolve()


def test_a_missing_folder_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "files", lambda name: [])
    monkeypatch.setattr(folder.tinymp, "__file__", str(tmp_path / "tinymp" / "__init__.py"))
    with pytest.raises(FileNotFoundError, match=r"were looked for in .*install tinymp again"):
        tutorials_folder()
