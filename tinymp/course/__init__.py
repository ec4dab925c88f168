"""The course: its lessons, its exercises, and what checks a learner's answers.

The material itself is the folder `tutorials/` of the project; here is what finds and reads it.
"""

from __future__ import annotations

from tinymp.course.exercises import Exercise, exercises, find_exercise
from tinymp.course.folder import tutorials_folder
from tinymp.course.grading import CellResult, Report, check
from tinymp.course.lessons import Lesson, find_lesson, lessons

__all__ = [
    "CellResult",
    "Exercise",
    "Lesson",
    "Report",
    "check",
    "exercises",
    "find_exercise",
    "find_lesson",
    "lessons",
    "tutorials_folder",
]
