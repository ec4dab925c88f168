"""Where are the lessons and exercises?"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import tinymp

_INSTALLED = ("share", "tinymp", "tutorials", "LICENSE")  # where pyproject.toml puts them


def tutorials_folder() -> Path:
    """The folder of lessons: where the installed package put it, or `tutorials/` of a checkout.

    Raises:
        FileNotFoundError: it is in neither place.
    """
    try:
        installed = [file for file in files("tinymp") or [] if file.parts[-4:] == _INSTALLED]
    except PackageNotFoundError:
        installed = []
    places = [Path(str(file.locate())).resolve().parent for file in installed]
    places.append(Path(tinymp.__file__).parents[1] / "tutorials")
    for place in places:
        if (place / "exercises").is_dir():
            return place
    raise FileNotFoundError(
        f"the lessons were looked for in {' and '.join(map(str, places))} and are not there; "
        "install tinymp again, from a wheel or from its whole checkout"
    )
