"""Training: the loop, its checkpoints, and the folder that keeps a run."""

from __future__ import annotations

from tinymp.train.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from tinymp.train.compare import Run
from tinymp.train.configuration import Configuration
from tinymp.train.history import EpochRecord
from tinymp.train.loop import evaluate, fit, train_epoch, train_step
from tinymp.train.measure import measure
from tinymp.train.plot import plot_history
from tinymp.train.recipes import RECIPES, recipe
from tinymp.train.run_folder import RunFolder
from tinymp.train.samples import samples
from tinymp.train.step import StepRecord
from tinymp.train.task import Sample, Task
from tinymp.train.tasks import TASKS, make_task
from tinymp.train.training import Training

__all__ = [
    "RECIPES",
    "TASKS",
    "CheckpointError",
    "Configuration",
    "EpochRecord",
    "Run",
    "RunFolder",
    "Sample",
    "StepRecord",
    "Task",
    "Training",
    "evaluate",
    "fit",
    "make_task",
    "measure",
    "plot_history",
    "read_checkpoint",
    "recipe",
    "samples",
    "train_epoch",
    "train_step",
    "write_checkpoint",
]
