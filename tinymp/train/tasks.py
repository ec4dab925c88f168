"""The tasks by the name of their data."""

from __future__ import annotations

from collections.abc import Callable

from tinymp.train.configuration import Configuration
from tinymp.train.digits_task import digits
from tinymp.train.gpt2_shape import gpt2_shape
from tinymp.train.spelling_task import spelling
from tinymp.train.task import Task
from tinymp.train.text_task import text

TASKS: dict[str, Callable[[Configuration], Task]] = {
    "digits": digits,
    "spelling": spelling,
    "text": text,
    "gpt2-shape": gpt2_shape,
}


def make_task(configuration: Configuration) -> Task:
    """The task that a configuration names.

    Raises:
        OSError, ValueError: a text that cannot be learned from.
    """
    return TASKS[configuration.data](configuration)
