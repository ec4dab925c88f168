"""Which lessons are there, and what does each say about itself?"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tinymp.course.folder import tutorials_folder
from tinymp.course.percent import cells

# The second paragraph of every lesson, such as
# Read 20 min · run 5 s · practise 30 min · difficulty 1 of 3
_FACTS = re.compile(
    r"Read (?P<read>\d+) min · run (?P<run>\d+) s · practise (?P<practise>\d+) min · "
    r"difficulty (?P<difficulty>[123]) of 3"
)


@dataclass(frozen=True)
class Lesson:
    """One lesson, as its first cell describes it.

    Attributes:
        path: its source, `NN_name.py`.
        number: NN.
        title: its heading.
        read, practise: minutes that reading and the exercises take.
        run: seconds that it runs on two cores, about.
        difficulty: 1 to 3.
    """

    path: Path
    number: int
    title: str
    read: int
    run: int
    practise: int
    difficulty: int

    @property
    def name(self) -> str:
        """Name of the file without its ending: what `tinymp tutorials run` takes."""
        return self.path.stem

    @property
    def notebook(self) -> Path:
        """The executed notebook beside the source."""
        return self.path.with_suffix(".ipynb")


def read_lesson(path: Path) -> Lesson:
    """The lesson of a source file.

    Raises:
        ValueError: the first cell lacks the heading, or the line of minutes.
    """
    first = cells(path.read_text(encoding="utf-8"))[0].text
    title = re.match(r"# (?P<number>\d+) · (?P<title>.+)\n", first)
    facts = _FACTS.search(first)
    if title is None or facts is None:
        raise ValueError(
            f"{path.name}: the first cell must begin with '# N · Title' and hold a line "
            "'Read 20 min · run 5 s · practise 30 min · difficulty 1 of 3'"
        )
    numbers = {name: int(value) for name, value in facts.groupdict().items()}
    return Lesson(path, int(title["number"]), title["title"], **numbers)


def lessons() -> list[Lesson]:
    """All lessons, in order."""
    return [read_lesson(path) for path in sorted(tutorials_folder().glob("[0-9][0-9]_*.py"))]


def find_lesson(name: str) -> Lesson:
    """The lesson of this number (`3`), name (`03_sums`), or part of a name (`sums`).

    Raises:
        ValueError: none, or more than one; lists the names that it can be.
    """
    known = lessons()
    wanted = name.removesuffix(".py").removesuffix(".ipynb").lower()
    exact = [x for x in known if wanted in (x.name, str(x.number), f"{x.number:02}")]
    found = exact or [x for x in known if wanted in x.name]
    if len(found) != 1 or not wanted:
        raise ValueError(
            f"{'no' if not found else 'more than one'} lesson is called {name!r}; expected one of "
            f"{', '.join(lesson.name for lesson in found or known)}"
        )
    return found[0]


def copy_course(folder: Path) -> list[Path]:
    """Copy lessons, notebooks and the float explorer into a folder, which is made if need be.

    Raises:
        FileExistsError: a file of that name is there; nothing is copied then.
    """
    sources = [
        path for lesson in lessons() for path in (lesson.path, lesson.notebook) if path.exists()
    ]
    sources += [path for path in [tutorials_folder() / "float_explorer.html"] if path.exists()]
    taken = [path.name for path in sources if (folder / path.name).exists()]
    if taken:
        more = f" and {len(taken) - 3} more" if len(taken) > 3 else ""
        raise FileExistsError(
            f"{folder} already has {', '.join(taken[:3])}{more}, perhaps with your changes; name a "
            "new folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(path, folder / path.name)) for path in sources]
