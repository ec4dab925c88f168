"""The syllabus says what the lessons and exercises say."""

from __future__ import annotations

import re

import tinymp
from tinymp.course import exercises, lessons, tutorials_folder

README = (tutorials_folder() / "README.md").read_text(encoding="utf-8")


def row(number: int) -> str:
    """The line of the syllabus for a lesson, as its own facts give it."""
    lesson = next(lesson for lesson in lessons() if lesson.number == number)
    points = sum(x.points for x in exercises() if x.lesson == number)
    return (
        f"| {number} | [{lesson.title}]({lesson.notebook.name}) | {lesson.read} | {lesson.run} | "
        f"{lesson.practise} | {lesson.difficulty} | {points} |"
    )


def test_the_syllabus_is_that_of_the_lessons() -> None:
    rows = re.findall(r"^\| \d+ \| \[.*$", README, re.MULTILINE)
    assert rows == [row(lesson.number) for lesson in lessons()]


def test_every_lesson_has_its_goals() -> None:
    for lesson in lessons():
        assert re.search(rf"^\| {lesson.number} \| [^\[]+ \|$", README, re.MULTILINE)


def test_the_points_are_those_of_the_exercises() -> None:
    points = sum(exercise.points for exercise in exercises())
    assert f"{len(exercises())} tasks are worth {points} points" in " ".join(README.split())


def test_the_citation_names_this_version() -> None:
    citation = (tutorials_folder() / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {tinymp.__version__}\n" in citation
    assert f"Version {tinymp.__version__}." in README
